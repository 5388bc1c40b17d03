//! Descriptor sets and `.proto` texts: what is completed, and what is refused.

use prost::Message as _;

use super::*;

#[test]
fn an_empty_set_has_the_well_known_types() {
    let schema = Schema::from_descriptor_set(&[]).unwrap();
    for name in [
        "google.protobuf.Any",
        "google.rpc.Status",
        "google.rpc.RetryInfo",
        "google.api.HttpBody",
    ] {
        assert!(schema.types.named(name).is_some(), "{name}");
    }
    assert_eq!(schema.methods().count(), 0);
    for (name, text) in WELL_KNOWN {
        compile(&[((*name).to_owned(), (*text).to_owned())]).unwrap();
    }
}

#[test]
fn editions_are_refused_with_the_file_and_the_way_out() {
    for text in [
        "edition = \"2023\";",
        "// x\n/* y */ edition=\"2024\";",
        "\u{feff}edition = \"2023\"; message M {}",
    ] {
        let error = compile(&[("new.proto".to_owned(), text.to_owned())])
            .unwrap_err()
            .to_string();
        assert!(error.contains("new.proto") && error.contains("proto3"), "{error}");
    }
    // name = "new.proto", syntax = "editions"
    let set = b"\x0a\x15\x0a\x09new.proto\x62\x08editions";
    let error = Schema::from_descriptor_set(set).unwrap_err().to_string();
    assert!(error.contains("new.proto") && error.contains("proto3"), "{error}");
    // edition = EDITION_PROTO3, as some tools write it
    assert!(Schema::from_descriptor_set(b"\x0a\x16\x0a\x09new.proto\x62\x06proto3\x70\xe7\x07").is_ok());
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    let table = [
        ("syntax = \"proto3\";\nmessage M { strin a = 1; }", "a.proto:2:"),
        ("syntax = \"proto3\";\nimport \"nope.proto\";", "a.proto:2:"),
        ("syntax = \"proto3\"; message", "a.proto"),
    ];
    for (text, place) in table {
        let error = schema(&[("a.proto", text)]).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
    assert!(Schema::from_descriptor_set(b"\xff\xff").is_err());
}

#[test]
fn a_set_may_bring_the_well_known_types_itself_even_under_another_name() {
    let text = WELL_KNOWN
        .iter()
        .find(|(name, _)| name.ends_with("http.proto"))
        .unwrap()
        .1;
    let annotations = WELL_KNOWN[0]
        .1
        .replace("google/api/http.proto", "third_party/http.proto");
    let user = "syntax = \"proto3\"; package t; import \"third_party/annotations.proto\"; message M {}
                service S { rpc A(M) returns (M) { option (google.api.http) = { get: \"/a\" }; } }";
    let schema = schema(&[
        ("third_party/http.proto", text),
        ("third_party/annotations.proto", &annotations),
        ("user.proto", user),
    ]);
    assert!(schema.unwrap().find(&http::Method::GET, "/a").is_ok());
}

#[test]
fn files_that_come_twice_count_once() {
    let set = compile(&[("a.proto".to_owned(), "syntax = \"proto3\"; message M {}".to_owned())]).unwrap();
    assert!(Schema::from_descriptor_set(&[set.clone(), set].concat()).is_ok());
}

#[test]
fn a_set_without_imports_of_google_is_completed() {
    let files = [("user.proto".to_owned(), include_str!("library.proto").to_owned())];
    let set = prost_types_of(&compile(&files).unwrap());
    let schema = Schema::from_descriptor_set(&set).unwrap();
    assert!(schema.find(&http::Method::GET, "/v1/books/x").is_ok());
}

/// Only the files that are not of Google.
fn prost_types_of(set: &[u8]) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Set {
        #[prost(bytes = "vec", repeated, tag = "1")]
        file: Vec<Vec<u8>>,
    }
    let mut set = Set::decode(set).unwrap();
    set.file.retain(|file| !file[2..].starts_with(b"google/"));
    assert_eq!(set.file.len(), 1);
    set.encode_to_vec()
}
