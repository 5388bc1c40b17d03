//! The protocol matrix: every client protocol with every backend protocol, for every kind of call, at the gateway that has
//! the backend and through a tunnel, with the same results.
//!
//! One service, `causeway.demo.v1.Chat`, is there three times: as gRPC (the demo's own), as HTTP by its rules, and as
//! WebSocket. Three clients make the same calls, and each feature names the one result that all of them must get.

#![expect(
    clippy::unwrap_used,
    reason = "a test may; the lint knows functions with `#[test]` only"
)]

mod backends;
mod clients;
mod mux;
mod place;

use serde_json::{Value, json};

use self::clients::{Ask, Protocol, Told};
use self::place::Place;

/// What a call must end as: its messages, as far as they are named here, its status and its message.
struct Expected {
    messages: Vec<Value>,
    code: u32,
    message: &'static str,
}

/// Whether `told` says at least what `expected` does.
fn covers(told: &Value, expected: &Value) -> bool {
    match (told, expected) {
        (Value::Object(told), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| told.get(key).is_some_and(|told| covers(told, value))),
        (told, expected) => told == expected,
    }
}

fn check(place: &Place, client: Protocol, backend: Protocol, ask: &Ask, expected: &Expected) {
    let told: Told = place.runtime.block_on(clients::call(place, client, backend, ask));
    let what = format!("{client:?} client, {backend:?} backend, {}: {told:?}", ask.method);
    assert_eq!(told.code, expected.code, "{what}");
    assert_eq!(told.messages.len(), expected.messages.len(), "{what}");
    for (told, expected) in told.messages.iter().zip(&expected.messages) {
        assert!(covers(told, expected), "{what} lacks {expected}");
    }
    assert_eq!(told.message, expected.message, "{what}");
}

/// Runs a feature in a cell, at one gateway and through two.
macro_rules! cell {
    ($name:ident: $client:ident, $backend:ident) => {
        mod $name {
            use super::*;

            fn everywhere(ask: &Ask, expected: &Expected) {
                for place in [place::local(), place::tunnel()] {
                    check(&place, Protocol::$client, Protocol::$backend, ask, expected);
                }
            }

            #[test]
            fn unary() {
                let (ask, expected) = super::unary();
                everywhere(&ask, &expected);
            }

            #[test]
            fn server_stream() {
                let (ask, expected) = super::server_stream();
                everywhere(&ask, &expected);
            }

            #[test]
            fn client_stream() {
                let (ask, expected) = super::client_stream();
                everywhere(&ask, &expected);
            }

            #[test]
            fn bidi() {
                let (ask, expected) = super::bidi();
                everywhere(&ask, &expected);
            }

            #[test]
            fn failure() {
                let (ask, expected) = super::failure();
                everywhere(&ask, &expected);
            }

            #[test]
            fn failure_after_messages() {
                let (ask, expected) = super::failure_after_messages();
                everywhere(&ask, &expected);
            }

            #[test]
            fn a_large_message() {
                let (ask, expected) = super::large();
                everywhere(&ask, &expected);
            }
        }
    };
}

cell!(grpc_to_grpc: Grpc, Grpc);
cell!(grpc_to_http: Grpc, Http);
cell!(grpc_to_websocket: Grpc, WebSocket);
cell!(http_to_grpc: Http, Grpc);
cell!(http_to_http: Http, Http);
cell!(http_to_websocket: Http, WebSocket);
cell!(websocket_to_grpc: WebSocket, Grpc);
cell!(websocket_to_websocket: WebSocket, WebSocket);
// A WebSocket client of an HTTP backend passes through as a WebSocket unless the service says how its messages become
// requests: that is `select`, which has tests of its own.

fn good(messages: Vec<Value>) -> Expected {
    Expected {
        messages,
        code: 0,
        message: "",
    }
}

fn unary() -> (Ask, Expected) {
    let ask = Ask::new("Say", "POST /v1/say", vec![json!({ "text": "größer" })]);
    (ask, good(vec![json!({ "text": "größer" })]))
}

fn server_stream() -> (Ask, Expected) {
    let ask = Ask::new("Count", "GET /v1/count/3", vec![json!({ "to": 3 })]);
    let numbers = (1..=3).map(|number| json!({ "number": number })).collect();
    (ask, good(numbers))
}

fn client_stream() -> (Ask, Expected) {
    // Beyond what a double holds exactly: 64-bit numbers are text in JSON.
    let asked = ["9007199254740993", "-1"].map(|number| json!({ "number": number }));
    let ask = Ask::new("Sum", "POST /v1/sum", asked.to_vec());
    (ask, good(vec![json!({ "total": "9007199254740992", "messages": 2 })]))
}

fn bidi() -> (Ask, Expected) {
    let asked: Vec<_> = ["a", "b", "c"].map(|text| json!({ "text": text })).to_vec();
    let ask = Ask::new("Chat", "POST /v1/chat", asked.clone());
    (ask, good(asked))
}

fn failure() -> (Ask, Expected) {
    let asked = json!({ "code": 7, "message": "not % you" });
    let ask = Ask::new("Fail", "POST /v1/fail", vec![asked]);
    let expected = Expected {
        messages: Vec::new(),
        code: 7,
        message: "not % you",
    };
    (ask, expected)
}

fn failure_after_messages() -> (Ask, Expected) {
    let asked = json!({ "to": 2, "code": 5 });
    let ask = Ask::new("Count", "GET /v1/count/2?code=5", vec![asked]);
    let expected = Expected {
        messages: vec![json!({ "number": 1 }), json!({ "number": 2 })],
        code: 5,
        message: "counted to the end",
    };
    (ask, expected)
}

fn large() -> (Ask, Expected) {
    let text = "x".repeat(1 << 20);
    let ask = Ask::new("Say", "POST /v1/say", vec![json!({ "text": text })]);
    (ask, good(vec![json!({ "text": text })]))
}
