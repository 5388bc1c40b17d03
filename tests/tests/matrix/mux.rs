//! Many calls over one WebSocket: `causeway.mux.v1`.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::place::{self, Place};

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn open(place: &Place) -> Self {
        let stream = TcpStream::connect(place.address).await.unwrap();
        let mut request = "ws://grpc.test/anything".into_client_request().unwrap();
        let offer = "causeway.mux.v1, other".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", offer);
        let (socket, reply) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(reply.headers()["sec-websocket-protocol"], "causeway.mux.v1");
        Self(socket)
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        match self.0.next().await.unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(text.as_str()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// All frames up to the end of a call; those of others are left out.
    async fn end_of(&mut self, id: u64) -> (Vec<Value>, Value) {
        let mut messages = Vec::new();
        loop {
            let frame = self.hear().await;
            if frame["id"] != id {
                continue;
            }
            if let Some(status) = frame.get("status") {
                return (messages, status.clone());
            }
            messages.extend(frame.get("message").cloned());
        }
    }
}

fn method(name: &str) -> String {
    format!("causeway.demo.v1.Chat/{name}")
}

fn everywhere(test: impl AsyncFn(&Place)) {
    for place in [place::local(), place::tunnel()] {
        place.runtime.block_on(test(&place));
    }
}

#[test]
fn calls_of_every_kind_share_a_socket() {
    everywhere(async |place| {
        let mut client = Client::open(place).await;
        client
            .say(json!({ "id": 1, "method": method("Chat"), "message": { "text": "a" } }))
            .await;
        client
            .say(json!({ "id": 2, "method": method("Count"), "message": { "to": 3 }, "end": true }))
            .await;
        client
            .say(json!({ "id": 3, "method": method("Sum"), "message": { "number": "4" } }))
            .await;
        client
            .say(json!({ "id": 3, "message": { "number": "5" }, "end": true }))
            .await;
        let say = json!({ "id": 4, "method": method("Say"), "metadata": { "x-mine": "7" }, "message": { "text": "x" }, "end": true });
        client.say(say).await;
        let (mut ended, mut counted, mut said) = (0, 0, false);
        while ended < 3 {
            let frame = client.hear().await;
            match frame["id"].as_u64().unwrap() {
                1 => said |= frame["message"]["text"] == "a",
                2 if frame.get("message").is_some() => counted += 1,
                3 if frame.get("message").is_some() => assert_eq!(frame["message"]["total"], "9"),
                4 if frame.get("message").is_some() => {
                    assert_eq!(frame["message"]["metadata"]["x-mine"], "7");
                }
                _ => {
                    assert_eq!(frame["status"]["code"], 0, "{frame}");
                    ended += 1;
                }
            }
        }
        assert_eq!(counted, 3);
        // The first call is open all the while.
        client
            .say(json!({ "id": 1, "message": { "text": "b" }, "end": true }))
            .await;
        let (messages, status) = client.end_of(1).await;
        assert_eq!(messages.last().unwrap()["text"], "b");
        assert!(said || messages[0]["text"] == "a");
        assert_eq!(status["code"], 0);
    });
}

#[test]
fn a_call_that_fails_or_breaks_a_rule_leaves_the_others_alone() {
    everywhere(async |place| {
        let mut client = Client::open(place).await;
        client
            .say(json!({ "id": 1, "method": method("Chat"), "message": { "text": "a" } }))
            .await;
        let failing = json!({ "code": 7, "message": "no" });
        client
            .say(json!({ "id": 2, "method": method("Fail"), "message": failing, "end": true }))
            .await;
        let (messages, status) = client.end_of(2).await;
        assert!(messages.is_empty());
        assert_eq!((&status["code"], &status["message"]), (&json!(7), &json!("no")));
        client
            .say(json!({ "id": 3, "method": method("Say"), "message": { "nope": 1 }, "end": true }))
            .await;
        let (_, status) = client.end_of(3).await;
        assert_eq!(status["code"], 3, "{status}");
        assert!(status["message"].as_str().unwrap().contains("nope"), "{status}");
        client
            .say(json!({ "id": 4, "method": method("Nothing"), "message": {}, "end": true }))
            .await;
        let (_, status) = client.end_of(4).await;
        assert_eq!(status["code"], 12, "{status}");
        let slow = json!({ "for_ms": 60_000 });
        client
            .say(json!({ "id": 5, "method": method("Sleep"), "timeout_ms": 50, "message": slow, "end": true }))
            .await;
        let (_, status) = client.end_of(5).await;
        assert_eq!(status["code"], 4, "{status}");
        client
            .say(json!({ "id": 1, "message": { "text": "b" }, "end": true }))
            .await;
        let (messages, status) = client.end_of(1).await;
        assert_eq!(messages.last().unwrap()["text"], "b");
        assert_eq!(status["code"], 0);
    });
}

#[test]
fn a_reader_that_gives_no_credit_stops_only_its_own_call() {
    everywhere(async |place| {
        let mut client = Client::open(place).await;
        client
            .say(json!({ "id": 1, "method": method("Count"), "message": { "to": 100 }, "end": true }))
            .await;
        let mut numbers = 0;
        while numbers < 16 {
            let frame = client.hear().await;
            assert_eq!(frame["id"], 1);
            numbers += 1;
        }
        client
            .say(json!({ "id": 2, "method": method("Say"), "message": { "text": "x" }, "end": true }))
            .await;
        let (messages, _) = client.end_of(2).await;
        assert_eq!(messages[0]["text"], "x");
        client.say(json!({ "id": 1, "credit": 84 })).await;
        let (messages, status) = client.end_of(1).await;
        assert_eq!((messages.len(), &status["code"]), (84, &json!(0)));
    });
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_backend() {
    everywhere(async |place| {
        let mut client = Client::open(place).await;
        let counters = async |client: &mut Client, id: u64| {
            client
                .say(json!({ "id": id, "method": method("Counters"), "message": {}, "end": true }))
                .await;
            let (messages, _) = client.end_of(id).await;
            let count = |name: &str| {
                messages[0]
                    .get(name)
                    .and_then(Value::as_str)
                    .map_or(0, |text| text.parse().unwrap())
            };
            (count("sleeping"), count("cancelled"))
        };
        let (_, before) = counters(&mut client, 100).await;
        client
            .say(json!({ "id": 1, "method": method("Sleep"), "message": { "for_ms": 60_000 }, "end": true }))
            .await;
        let mut id = 101;
        while counters(&mut client, id).await.0 == 0 {
            id += 1;
        }
        client.say(json!({ "id": 1, "cancel": true })).await;
        while counters(&mut client, id).await.1 == before {
            id += 1;
        }
    });
}

#[test]
fn a_frame_that_nobody_can_read_closes_the_socket() {
    everywhere(async |place| {
        for (frame, code) in [("{\"id\":1", 1007), ("{\"id\":1,\"nope\":2}", 1007), ("[]", 1007)] {
            let mut client = Client::open(place).await;
            client.0.send(Message::text(frame)).await.unwrap();
            let Message::Close(Some(close)) = client.0.next().await.unwrap().unwrap() else {
                panic!("no close for {frame}")
            };
            assert_eq!(u16::from(close.code), code, "{frame}: {}", close.reason);
        }
    });
}
