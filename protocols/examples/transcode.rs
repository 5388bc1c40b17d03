//! Translates one message many times, for counting instructions:
//!
//! ```text
//! valgrind --tool=callgrind target/quick/examples/transcode plan up medium 1000
//! ```
//!
//! `plan` is the way of the gateway, `tree` goes through serde_json and the dynamic messages of prost-reflect; `up` is
//! JSON to protobuf, `down` protobuf to JSON. Two counts of repetitions and the difference between them leave out what
//! setting up costs.

use std::hint::black_box;
use std::process::ExitCode;

use causeway_protocols::transcode::{Schema, compile};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [way, direction, size, count] = &arguments[..] else {
        return ExitCode::from(2);
    };
    let (method, json) = match size.as_str() {
        "small" => ("GetBook", r#"{"name":"shelves/1/books/2","revision":7}"#.to_owned()),
        "medium" => ("Plain", BOOK.to_owned()),
        _ => (
            "Replies",
            format!("{{\"books\":[{}],\"next\":\"page-2\"}}", [BOOK; 100].join(",")),
        ),
    };
    let text = include_str!("../src/transcode/tests/library.proto").replace(
        "service Library {",
        "service Library { rpc Replies(ListBooksReply) returns (ListBooksReply);",
    );
    let set = compile(&[("library.proto".to_owned(), text)]).expect("the schema compiles");
    let schema = Schema::from_descriptor_set(&set).expect("the schema is sound");
    let method = schema
        .method(&format!("/library.v1.Library/{method}"))
        .expect("the service has it");
    let mut proto = Vec::new();
    method
        .request_from_json(json.as_bytes(), &mut proto)
        .expect("the JSON fits");
    let of = DescriptorPool::decode(&*set)
        .expect("the set is sound")
        .get_message_by_name(method.input().name());
    let of = of.expect("the pool has it");

    let mut out = Vec::new();
    for _ in 0..count.parse().unwrap_or(0_u32) {
        out.clear();
        match (way.as_str(), direction.as_str()) {
            ("plan", "up") => method
                .request_from_json(black_box(json.as_bytes()), &mut out)
                .expect("as before"),
            ("plan", _) => method.request_to_json(black_box(&proto), &mut out).expect("as before"),
            (_, "up") => {
                let mut reader = serde_json::Deserializer::from_slice(black_box(json.as_bytes()));
                let message = DynamicMessage::deserialize(of.clone(), &mut reader).expect("the JSON fits");
                message.encode(&mut out).expect("a vector has room");
            }
            _ => {
                let message = DynamicMessage::decode(of.clone(), black_box(&*proto)).expect("as before");
                serde_json::to_writer(&mut out, &message).expect("it has a JSON form");
            }
        }
        black_box(&out);
    }
    ExitCode::SUCCESS
}

const BOOK: &str = r#"{"name":"shelves/1/books/2","title":"The Left Hand of Darkness","author":{"firstName":"Ursula","lastName":"Le Guin","pupilOf":{"firstName":"Alfred","lastName":"Kroeber"}},"pages":"304","tags":["novel","winter","genre: science fiction"],"paper":"80 g/m² \"old white\""}"#;
