use proptest::prelude::*;

use super::*;

pub(crate) fn head(path: &str) -> OpenHead {
    let authority = Authority::parse(b"api.example:8443").unwrap();
    OpenHead {
        call: CallHead {
            protocol: Protocol::Http,
            method: Method::GET,
            scheme: Scheme::Https,
            target: Target::parse(authority, path.as_bytes()).unwrap(),
            fields: Fields::new(),
            length: Length::Empty,
            hold: false,
        },
        export: "orders".to_owned(),
        left: None,
        attempts: 1,
        visited: Vec::new(),
        caller: None,
        trace: None,
        request_id: None,
        urgency: None,
    }
}

fn encoded(head: &OpenHead) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&head.into(), &mut out).unwrap();
    out.to_vec()
}

/// Debug shows every part but the values of fields.
fn same(a: &OpenHead, b: &OpenHead) -> bool {
    format!("{a:?}") == format!("{b:?}") && a.call.fields == b.call.fields
}

/// A payload of these values, then an empty field block.
fn payload(values: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = BytesMut::from(&[STATIC_TABLE][..]);
    for (key, value) in values {
        tlv(&mut out, *key, value).unwrap();
    }
    out.put_u8(0);
    out.to_vec()
}

const LEAST: [(u8, &[u8]); 6] = [
    (key::PROTOCOL, &[1]),
    (key::METHOD, b"GET"),
    (key::SCHEME, &[2]),
    (key::PATH, b"/"),
    (key::EXPORT, b"orders"),
    (key::ATTEMPTS, &[3]),
];

fn with(more: &[(u8, &[u8])]) -> Vec<u8> {
    payload(&[&LEAST, more].concat())
}

#[test]
fn the_wire_form_of_a_head_does_not_change() {
    let mut head = head("/a?b");
    head.call.fields.push(b"accept", b"x").unwrap();
    let expected = b"\x00\x01\x00\x01\x01\x02\x00\x03GET\x03\x00\x01\x02\x04\x00\x10api.example:8443\x05\x00\x04/a?b\
        \x06\x00\x06orders\x08\x00\x01\x01\x0e\x00\x00\x00\x01\x00\x01x";
    assert_eq!(encoded(&head), expected);
}

#[test]
fn a_call_needs_six_values() {
    assert!(decode(&payload(&LEAST)).is_ok());
    for (missing, (key, _)) in LEAST.iter().enumerate() {
        let mut rest = LEAST.to_vec();
        rest.remove(missing);
        assert_eq!(decode(&payload(&rest)).unwrap_err(), HeadError::Missing(*key));
    }
}

#[test]
fn no_value_is_taken_twice_except_visited_sites() {
    for value in LEAST {
        assert_eq!(decode(&with(&[value])).unwrap_err(), HeadError::Value(value.0));
    }
    let head = decode(&with(&[(key::VISITED, b"aws"), (key::VISITED, b"azure")])).unwrap();
    assert_eq!(head.visited, ["aws", "azure"]);
    let sites = [(key::VISITED, &b"aws"[..]); MAX_VISITED + 1];
    assert!(decode(&with(&sites[1..])).is_ok());
    assert_eq!(decode(&with(&sites)).unwrap_err(), HeadError::Value(key::VISITED));
}

#[test]
fn keys_from_0x40_up_are_ignored_and_unknown_ones_below_refuse_the_call() {
    assert!(decode(&with(&[(0x40, b"anything"), (0xff, b""), (0x40, b"again")])).is_ok());
    for unknown in [15, 0x3f] {
        assert_eq!(decode(&with(&[(unknown, b"")])).unwrap_err(), HeadError::Key(unknown));
    }
    assert_eq!(decode(&[1, 0]).unwrap_err(), HeadError::Encoding(1));
}

#[test]
fn malformed_values_are_named() {
    let long = [b'a'; MAX_CALLER + 1];
    #[rustfmt::skip]
    let table: &[(u8, &[u8])] = &[
        (key::LEFT, &[0; 7]), (key::LEFT, &[0; 9]),
        (key::LENGTH, &[0; 4]),
        (key::URGENCY, &[8]), (key::URGENCY, &[]),
        (key::TRACE, b"00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        (key::TRACE, b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
        (key::REQUEST_ID, b""), (key::REQUEST_ID, b"a b"), (key::REQUEST_ID, &long[..129]),
        (key::VISITED, b""), (key::VISITED, b"a/b"), (key::VISITED, b"\xff"),
        (key::CALLER, &long),
    ];
    for (key, value) in table {
        assert_eq!(
            decode(&with(&[(*key, *value)])).unwrap_err(),
            HeadError::Value(*key),
            "{value:?}"
        );
    }
}

/// What the other site authorised is byte for byte what is forwarded here, or nothing is.
#[test]
fn a_target_that_is_not_normalised_is_refused() {
    let paths: &[&[u8]] = &[
        b"/a//b", b"/%61", b"/a/../b", b"/a/./b", b"/%2f", b"a", b"", b"/ ", b"/%c3%28",
    ];
    for path in paths {
        let mut values = LEAST;
        values[3].1 = path;
        let error = decode(&payload(&values)).unwrap_err();
        assert!(
            matches!(error, HeadError::NotNormalised | HeadError::Target(_)),
            "{path:?}: {error:?}"
        );
    }
    for authority in [&b"API.example"[..], b"api.example.", b"u@api", b"", b"api:"] {
        assert!(decode(&with(&[(key::AUTHORITY, authority)])).is_err(), "{authority:?}");
    }
}

#[test]
fn a_field_that_frames_a_body_or_describes_a_hop_is_refused() {
    for id in OF_ONE_HOP {
        let mut wire = payload(&LEAST);
        wire.extend_from_slice(&[id.wire(), 0, 1, b'5']);
        assert_eq!(decode(&wire).unwrap_err(), HeadError::HopField, "{}", id.as_str());
        let mut spelled = payload(&LEAST);
        spelled.extend_from_slice(&[0, id.as_str().len() as u8]);
        spelled.extend_from_slice(id.as_str().as_bytes());
        spelled.extend_from_slice(&[0, 1, b'5']);
        assert_eq!(decode(&spelled).unwrap_err(), HeadError::Field(FieldError::Block));
    }
    let mut wire = payload(&LEAST);
    wire.extend_from_slice(b"\x01\x00\x03a\r\n");
    assert_eq!(decode(&wire).unwrap_err(), HeadError::Field(FieldError::Value));
}

#[test]
fn more_fields_than_the_limit_are_neither_sent_nor_taken() {
    let mut head = head("/");
    for _ in 0..MAX_FIELDS {
        head.call.fields.push(b"x-a", b"1").unwrap();
    }
    let mut wire = encoded(&head);
    assert_eq!(decode(&wire).unwrap().call.fields.len(), MAX_FIELDS);
    wire.extend_from_slice(b"\x00\x01a\x00\x01b");
    assert_eq!(decode(&wire).unwrap_err(), HeadError::TooManyFields);
    head.call.fields.push(b"x-a", b"1").unwrap();
    assert_eq!(encode(&(&head).into(), &mut BytesMut::new()), Err(TooLarge));
}

#[test]
fn a_request_id_that_no_log_should_hold_stays_here() {
    let mut head = head("/");
    head.request_id = Some("two words".to_owned());
    assert_eq!(decode(&encoded(&head)).unwrap().request_id, None);
}

prop_compose! {
    fn any_head()(
        protocol in prop::sample::select(&Protocol::ALL[..]),
        method in prop::sample::select(vec!["GET", "POST", "M-SEARCH"]),
        secure in any::<bool>(),
        host in prop::option::of("[a-z][a-z0-9-]{0,20}(:[1-9][0-9]{0,3})?"),
        path in "/[a-zA-Z0-9_~-]{0,30}(/[a-z]{1,8}){0,3}(\\?[a-z=&%/]{0,40})?",
        fields in prop::collection::vec(("(accept|cookie|x-[a-z]{1,20})", "[ -~]{0,60}"), 0..20),
        length in prop::option::of(prop::option::of(any::<u64>())),
        names in ("[a-z0-9._-]{1,60}", prop::collection::vec("[a-z0-9._-]{1,60}", 0..5)),
        left in prop::option::of(any::<u64>()),
        attempts in any::<u8>(),
        caller in prop::option::of(prop::collection::vec(any::<u8>(), 0..400)),
        traced in any::<bool>(),
        rest in (prop::option::of("[!-~]{1,128}"), prop::option::of(0u8..8)),
    ) -> OpenHead {
        let mut head = head("/");
        let authority = host.map_or_else(Authority::default, |host| Authority::parse(host.as_bytes()).unwrap());
        head.call.target = Target::parse(authority, path.as_bytes()).unwrap();
        head.call.protocol = protocol;
        head.call.method = Method::from_bytes(method.as_bytes()).unwrap();
        head.call.scheme = if secure { Scheme::Https } else { Scheme::Http };
        for (name, value) in fields {
            head.call.fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head.call.length = match length {
            None => Length::Empty,
            Some(None) => Length::Streamed,
            Some(Some(bytes)) => Length::Exactly(bytes),
        };
        (head.export, head.visited) = names;
        head.left = left.map(Duration::from_micros);
        head.attempts = attempts;
        head.caller = caller;
        head.trace = traced
            .then(|| TraceParent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap());
        (head.request_id, head.urgency) = rest;
        head
    }
}

proptest! {
    #[test]
    fn a_head_arrives_as_it_was_sent(head in any_head()) {
        let arrived = decode(&encoded(&head)).unwrap();
        prop_assert!(same(&head, &arrived), "{head:?}\n{arrived:?}");
    }

    #[test]
    fn a_head_that_is_cut_or_changed_never_panics(head in any_head(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut wire = encoded(&head);
        let at = cut.index(wire.len());
        let _ = decode(&wire[..at]);
        wire[at] = byte;
        let _ = decode(&wire);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
        let _ = super::super::reply::decode(&bytes);
        let _ = super::super::reply::decode_end(&bytes);
        let _ = super::super::control::Hello::decode(&bytes);
        let _ = super::super::control::GoAway::decode(&bytes);
    }
}
