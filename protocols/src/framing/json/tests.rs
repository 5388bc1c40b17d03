use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn j1_values_are_taken_and_their_end_is_found() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "10",
        "-1.5",
        "1e5",
        "1E+5",
        "0.1e-2",
        "1e400",
        "\"\"",
        "\"a\\n\\\"\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "[]",
        "{}",
        "[1,2]",
        "{\"a\":1,\"a\":[{}]}",
        " [ 1 , {\"x\" : \"]}\" } ] ",
        "\"é\u{10ffff}\"",
    ] {
        assert_eq!(check(text.as_bytes(), 16), Ok(()), "{text}");
        let start = text.trim_start();
        let value = start.trim_end();
        let mut scanner = Scanner::new(16);
        let followed = format!("{value},1");
        assert_eq!(scanner.scan(followed.as_bytes()), Ok(Some(value.len())), "{text}");
    }
}

#[test]
fn j1_what_is_no_json_is_refused_at_its_place() {
    #[rustfmt::skip]
    let table: &[(&[u8], usize, JsonFault)] = &[
        (b"", 0, JsonFault::Truncated), (b"  ", 2, JsonFault::Truncated), (b"[", 1, JsonFault::Truncated),
        (b"\"a", 2, JsonFault::Truncated), (b"{\"a\"", 4, JsonFault::Truncated), (b"-", 1, JsonFault::Truncated),
        (b"tru", 3, JsonFault::Truncated), (b"1.", 2, JsonFault::Truncated),
        (b"]", 0, JsonFault::Unexpected), (b"[1}", 2, JsonFault::Unexpected), (b"{]", 1, JsonFault::Unexpected),
        (b"[,1]", 1, JsonFault::Unexpected), (b"[1,]", 3, JsonFault::Unexpected), (b"{\"a\":1,}", 7, JsonFault::Unexpected),
        (b"{a:1}", 1, JsonFault::Unexpected), (b"{\"a\" 1}", 5, JsonFault::Unexpected), (b"{1:1}", 1, JsonFault::Unexpected),
        (b"[1 2]", 3, JsonFault::Unexpected), (b"'a'", 0, JsonFault::Unexpected), (b"NaN", 0, JsonFault::Unexpected),
        (b"+1", 0, JsonFault::Unexpected), (b".5", 0, JsonFault::Unexpected), (b"\xef\xbb\xbf1", 0, JsonFault::Unexpected),
        (b"\0", 0, JsonFault::Unexpected), (b"1 2", 2, JsonFault::Trailing), (b"[]]", 2, JsonFault::Trailing),
        (b"nul1", 3, JsonFault::Literal), (b"01", 1, JsonFault::Literal), (b"1.e1", 2, JsonFault::Literal),
        (b"1e", 2, JsonFault::Truncated), (b"[-]", 2, JsonFault::Literal), (b"1x", 1, JsonFault::Literal),
        (b"\"\n\"", 1, JsonFault::String), (b"\"\x1f\"", 1, JsonFault::String), (b"\"\\x\"", 2, JsonFault::String),
        (b"\"\\u12g4\"", 5, JsonFault::String),
        (b"\"\\ud800\"", 7, JsonFault::Surrogate), (b"\"\\udc00\"", 6, JsonFault::Surrogate),
        (b"\"\\ud800\\u0041\"", 12, JsonFault::Surrogate), (b"\"\\ud800\\n\"", 8, JsonFault::Surrogate),
        (b"\"\xff\"", 1, JsonFault::Utf8), (b"\"\xc0\x80\"", 1, JsonFault::Utf8), (b"\"\xed\xa0\x80\"", 2, JsonFault::Utf8),
        (b"\"\xf4\x90\x80\x80\"", 2, JsonFault::Utf8), (b"\"\xe9\"", 2, JsonFault::Utf8),
    ];
    for (text, at, fault) in table {
        assert_eq!(check(text, 16), Err((*at, *fault)), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn j1_depth_is_bounded_whatever_is_asked_for() {
    for (limit, allowed) in [(0, 0), (3, 3), (128, 128), (255, 128)] {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        if allowed > 0 {
            assert_eq!(check(nested(allowed).as_bytes(), limit), Ok(()), "{limit}");
        }
        assert_eq!(
            check(nested(allowed + 1).as_bytes(), limit),
            Err((allowed, JsonFault::Depth)),
            "{limit}"
        );
    }
    assert_eq!(check(b"1", 0), Ok(()));
    let deep = "{\"a\":".repeat(100_000);
    assert_eq!(check(deep.as_bytes(), 128), Err((128 * 5, JsonFault::Depth)));
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"a\"",
        "1",
        "-",
        ".",
        "e",
        "0",
        "true",
        "null",
        " ",
        "\\u",
        "d83d",
        "\\ud83d\\ude00",
        "é",
        "\u{7f}",
        "\n",
    ]);
    vec(pieces, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    /// Where both judge; serde_json refuses numbers that it cannot hold, and takes lone surrogates when it only skips.
    #[test]
    fn j1_the_verdict_is_that_of_serde_json(text in texts()) {
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        let ours = check(&text, 128);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?} {:?}", String::from_utf8_lossy(&text), ours, theirs);
    }

    #[test]
    fn j1_where_a_value_ends_does_not_depend_on_the_pieces(text in texts(), at in any::<usize>()) {
        let at = at % (text.len() + 1);
        let whole = Scanner::new(128).scan(&text);
        let mut scanner = Scanner::new(128);
        let cut = match scanner.scan(&text[..at]) {
            Ok(None) => match scanner.scan(&text[at..]) {
                Ok(end) => Ok(end.map(|end| end + at)),
                Err((offset, fault)) => Err((offset + at, fault)),
            },
            done => done,
        };
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn no_bytes_make_it_panic(text in vec(any::<u8>(), 0..100)) {
        let _ = check(&text, 128);
    }
}
