use proptest::prelude::*;

use super::*;
use crate::name;

fn sample() -> Fields {
    let mut fields = Fields::new();
    fields.push(b"Content-Type", b" text/plain ").unwrap();
    fields.push(b"X-One", b"1").unwrap();
    fields.push(b"Set-Cookie", b"a=1").unwrap();
    fields.push(b"x-two", b"").unwrap();
    fields.push(b"set-cookie", b"b=2").unwrap();
    fields
}

#[test]
fn names_are_lower_case_values_trimmed_and_order_kept() {
    let fields = sample();
    let seen: Vec<_> = fields
        .iter()
        .map(|field| (field.name.as_str(), field.text().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ("content-type", "text/plain"),
            ("x-one", "1"),
            ("set-cookie", "a=1"),
            ("x-two", ""),
            ("set-cookie", "b=2")
        ]
    );
    assert_eq!(fields.len(), 5);
    assert_eq!(fields.get_named("x-one"), Some(&b"1"[..]));
    assert_eq!(fields.all(name::SET_COOKIE).collect::<Vec<_>>(), [b"a=1", b"b=2"]);
}

#[test]
fn removing_keeps_the_others_in_order() {
    let mut fields = sample();
    fields.remove(name::SET_COOKIE);
    assert_eq!(
        fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(),
        ["content-type", "x-one", "x-two"]
    );
    fields.set(name::CONTENT_TYPE, b"a/b").unwrap();
    assert_eq!(fields.text(name::CONTENT_TYPE), Some("a/b"));
    assert_eq!(fields.len(), 3);
}

#[test]
fn bytes_that_could_split_a_head_are_refused() {
    for byte in 0..=255u8 {
        let value = [b'a', byte, b'b'];
        let legal = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        assert_eq!(
            Fields::new().push(b"x-a", &value).is_ok(),
            legal,
            "value byte {byte:#x}"
        );
        let name = [b'a', byte, b'b'];
        assert_eq!(
            Fields::new().push(&name, b"v").is_ok(),
            is_token(byte),
            "name byte {byte:#x}"
        );
    }
    assert_eq!(Fields::new().push(b"", b"v"), Err(FieldError::Name));
    assert_eq!(Fields::new().push(&[b'a'; 256], b"v"), Err(FieldError::Name));
    assert_eq!(Fields::new().push(b"a", &vec![b'a'; 65_536]), Err(FieldError::Value));
}

#[test]
fn a_block_that_is_cut_or_spells_a_known_name_is_refused() {
    let whole = sample();
    let wire = whole.as_wire();
    let mut ends = vec![0];
    let mut at = 0;
    while let Some((_, length)) = decode(&wire[at..]) {
        at += length;
        ends.push(at);
    }
    for cut in 0..=wire.len() {
        assert_eq!(
            Fields::from_wire(&wire[..cut]).is_ok(),
            ends.contains(&cut),
            "cut at {cut}"
        );
    }
    assert_eq!(Fields::from_wire(b"\0\x04host\0\x01a"), Err(FieldError::Block));
    assert_eq!(Fields::from_wire(b"\0\x03X-a\0\x01a"), Err(FieldError::Name));
    assert_eq!(Fields::from_wire(b"\xff\0\x01a"), Err(FieldError::Block));
}

#[test]
fn list_tokens_are_found_in_any_field_and_case() {
    let mut fields = Fields::new();
    fields.push(b"connection", b"keep-alive , Upgrade").unwrap();
    fields.push(b"connection", b"x-secret").unwrap();
    assert!(fields.has_token(name::CONNECTION, "upgrade"));
    assert!(fields.has_token(name::CONNECTION, "x-secret"));
    assert!(!fields.has_token(name::CONNECTION, "keep"));
}

proptest! {
    #[test]
    fn any_block_is_refused_or_survives_a_round_trip(block in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(fields) = Fields::from_wire(&block) {
            prop_assert_eq!(fields.as_wire(), &block[..]);
            let mut again = Fields::new();
            for field in &fields {
                prop_assert!(again.push(field.name.as_str().as_bytes(), field.value).is_ok());
            }
            prop_assert_eq!(again.len(), fields.len());
        }
    }
}
