use proptest::prelude::*;

use super::*;

const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

fn fields(protocols: &[&str], extensions: &[&str]) -> Fields {
    let mut fields = Fields::new();
    for value in protocols {
        fields
            .push_known(name::SEC_WEBSOCKET_PROTOCOL, value.as_bytes())
            .expect("a value");
    }
    for value in extensions {
        fields
            .push_known(name::SEC_WEBSOCKET_EXTENSIONS, value.as_bytes())
            .expect("a value");
    }
    fields
}

#[test]
fn the_answer_to_the_key_of_the_rfc_is_that_of_the_rfc() {
    let key = ClientKey::parse(KEY).expect("the example of RFC 6455, section 1.3");
    assert_eq!(key.accept().as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(key.is_answered_by(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(!key.is_answered_by(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo"));
    assert_eq!(ClientKey::from_random(*b"the sample nonce"), key);
}

#[test]
fn w7_keys_that_are_not_the_base64_of_16_bytes_are_refused() {
    #[rustfmt::skip]
    let bad: &[&[u8]] = &[
        b"", b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZQ===",
        b"dGhlIHNhbXBsZSBub25jZR==", b"dGhlIHNhbXBsZSBub25j", b"dGhlIHNhbXBsZSBub25jZWVl", b"dGhlIHNhbXBsZSBub25jZWU=",
        b"dGhlIHNhbXBsZSBub25j Q==", b"dGhlIHNhbXBsZSBub25-ZQ==", b"dGhlIHNhbXBsZSBub25_ZQ==", b"========================",
        b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==", b"\xc3\xa4hlIHNhbXBsZSBub25jZQ==", b"x",
    ];
    for key in bad {
        assert_eq!(
            ClientKey::parse(key),
            Err(HandshakeError::Key),
            "{}",
            key.escape_ascii()
        );
    }
}

#[test]
fn w7_handshakes_are_checked_field_by_field() {
    use HandshakeError as E;
    let many = (0..40).map(|at| format!("p{at}")).collect::<Vec<_>>().join(",");
    let long = format!("x;y={}", "z".repeat(2000));
    type Case<'a> = (
        Option<&'a [u8]>,
        Option<&'a [u8]>,
        Vec<&'a str>,
        Vec<&'a str>,
        Result<(), E>,
    );
    #[rustfmt::skip]
    let table: Vec<Case<'_>> = vec![
        (Some(KEY), Some(b"13"), vec![], vec![], Ok(())),
        (Some(KEY), Some(b"13"), vec!["chat, superchat"], vec![], Ok(())),
        (Some(KEY), Some(b"13"), vec!["chat", "superchat"], vec![], Ok(())),
        (Some(KEY), Some(b"13"), vec![], vec!["permessage-deflate; client_max_window_bits"], Ok(())),
        (Some(KEY), Some(b"13"), vec![], vec!["permessage-deflate; server_max_window_bits=10, permessage-deflate"], Ok(())),
        (Some(KEY), Some(b"13"), vec![], vec!["foo; bar=\"baz\"", "x"], Ok(())),
        (None, Some(b"13"), vec![], vec![], Err(E::Key)),
        (Some(b"short"), Some(b"13"), vec![], vec![], Err(E::Key)),
        (Some(KEY), None, vec![], vec![], Err(E::Version)),
        (Some(KEY), Some(b"8"), vec![], vec![], Err(E::Version)),
        (Some(KEY), Some(b"013"), vec![], vec![], Err(E::Version)),
        (Some(KEY), Some(b"13, 8"), vec![], vec![], Err(E::Version)),
        (Some(KEY), Some(b"+13"), vec![], vec![], Err(E::Version)),
        (Some(KEY), Some(b"13"), vec![""], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["chat,"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["chat, chat"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["chat", "chat"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["a b"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["a;b"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["\"chat\""], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["http://x/"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec!["ch\u{e4}t"], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec![&many], vec![], Err(E::Protocol)),
        (Some(KEY), Some(b"13"), vec![], vec![""], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec![","], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec!["a;"], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec!["a;=b"], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec!["a; b="], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec!["a; b=\"\""], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec!["a; b=\"c"], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec!["a b"], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec![&many], Err(E::Extensions)),
        (Some(KEY), Some(b"13"), vec![], vec![&long], Err(E::Extensions)),
    ];
    for (at, (key, version, protocols, extensions, expected)) in table.into_iter().enumerate() {
        let result = accept_request(key, version, &fields(&protocols, &extensions)).map(|_| ());
        assert_eq!(result, expected, "row {at}");
    }
    assert_eq!(E::Version.status(), 426, "the client learns which version there is");
    assert_eq!(E::Key.status(), 400);
}

#[test]
fn w7_a_backend_lets_in_only_with_the_right_answer_and_one_subprotocol() {
    let key = ClientKey::parse(KEY).expect("a key");
    let accept = key.accept();
    let right = Some(accept.as_bytes());
    assert_eq!(
        accept_reply(&key, right, &fields(&["chat"], &["permessage-deflate"])),
        Ok(())
    );
    assert_eq!(accept_reply(&key, None, &fields(&[], &[])), Err(HandshakeError::Accept));
    assert_eq!(
        accept_reply(&key, Some(KEY), &fields(&[], &[])),
        Err(HandshakeError::Accept)
    );
    for protocols in [&["chat", "other"][..], &["chat, other"], &[""]] {
        let reply = accept_reply(&key, right, &fields(protocols, &[]));
        assert_eq!(reply, Err(HandshakeError::Protocol), "{protocols:?}");
    }
    assert_eq!(
        accept_reply(&key, right, &fields(&[], &[";"])),
        Err(HandshakeError::Extensions)
    );
}

#[test]
fn w7_an_answer_chooses_only_from_the_offer() {
    let offer = fields(
        &["chat, v2", "v3"],
        &["permessage-deflate; client_max_window_bits, x-a"],
    );
    #[rustfmt::skip]
    let table = [
        (fields(&[], &[]), Ok(()), false),
        (fields(&["v2"], &[]), Ok(()), false),
        (fields(&["v3"], &["permessage-deflate; server_max_window_bits=10"]), Ok(()), true),
        (fields(&[], &["x-a"]), Ok(()), false),
        (fields(&["V2"], &[]), Err(HandshakeError::Protocol), false),
        (fields(&["v4"], &[]), Err(HandshakeError::Protocol), false),
        (fields(&[], &["x-b"]), Err(HandshakeError::Extensions), false),
        (fields(&[], &["permessage-deflate", "x-b"]), Err(HandshakeError::Extensions), true),
    ];
    for (answer, expected, rsv1) in table {
        assert_eq!(check_choice(&offer, &answer), expected);
        assert_eq!(uses_rsv1(&answer), rsv1);
    }
}

proptest! {
    #[test]
    fn w7_our_own_keys_are_keys(random: [u8; 16]) {
        let key = ClientKey::from_random(random);
        prop_assert_eq!(ClientKey::parse(key.as_bytes()), Ok(key));
        prop_assert!(key.is_answered_by(key.accept().as_bytes()));
    }

    #[test]
    fn w7_arbitrary_offers_never_panic(key: Vec<u8>, version: Vec<u8>, offer in "[\\PC]{0,60}", extension in "[a-z;=\", \t]{0,60}") {
        let mut fields = Fields::new();
        let _ = fields.push_known(name::SEC_WEBSOCKET_PROTOCOL, offer.as_bytes());
        let _ = fields.push_known(name::SEC_WEBSOCKET_EXTENSIONS, extension.as_bytes());
        let _ = accept_request(Some(&key), Some(&version), &fields);
        let _ = accept_request(Some(KEY), Some(b"13"), &fields);
    }
}
