use proptest::prelude::*;

use super::*;

fn parse(raw: &str) -> Result<Target, TargetError> {
    Target::parse(Authority::parse(b"example.com").unwrap(), raw.as_bytes())
}

#[test]
fn paths_have_one_form() {
    #[rustfmt::skip]
    let table = [
        ("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("//", "/"), ("///a//b/", "/a/b/"), ("/./a/./b/.", "/a/b/"),
        ("/%61%2D%7e", "/a-~"), ("/%c3%a9", "/%C3%A9"), ("/a%20b", "/a%20b"), ("/a%3fb", "/a%3Fb"), ("/a%25", "/a%25"),
        ("/{x}|", "/%7Bx%7D%7C"), ("/a;v=1/b", "/a;v=1/b"), ("/...", "/..."), ("/.well-known/x", "/.well-known/x"),
        ("/a.b", "/a.b"), ("/%2e", "/"), ("/a/%2E/b", "/a/b"), ("/pkg.Service/Method", "/pkg.Service/Method"),
        ("/a%2525", "/a%2525"), ("/a:b@c", "/a:b@c"), ("/%3b", "/%3B"),
    ];
    for (raw, path) in table {
        assert_eq!(
            parse(raw).map(|target| target.path().to_owned()),
            Ok(path.to_owned()),
            "{raw}"
        );
    }
}

#[test]
fn s10_what_servers_read_differently_is_refused() {
    #[rustfmt::skip]
    let table = [
        ("", TargetError::Form), ("a", TargetError::Form), ("pkg.Service/Method", TargetError::Form), ("?a", TargetError::Form),
        ("/..", TargetError::Climbs), ("/a/..", TargetError::Climbs), ("/a/../b", TargetError::Climbs),
        ("/%2e%2e/b", TargetError::Climbs), ("/.%2E/b", TargetError::Climbs), ("/%2E./", TargetError::Climbs),
        ("/..;x=1/b", TargetError::Climbs), ("/..;/b", TargetError::Climbs), ("/%2e%2e;a/", TargetError::Climbs),
        ("/.;/b", TargetError::Climbs), ("/..%3b/b", TargetError::Climbs),
        ("/a%2fb", TargetError::Ambiguous), ("/a%2Fb", TargetError::Ambiguous), ("/a%5cb", TargetError::Ambiguous),
        ("/a%00", TargetError::Ambiguous), ("/a%0d%0ab", TargetError::Ambiguous), ("/a%7f", TargetError::Ambiguous),
        ("/a\\b", TargetError::Character), ("/a b", TargetError::Character), ("/a#b", TargetError::Character),
        ("/a\u{0}", TargetError::Character), ("/\u{e9}", TargetError::Character), ("/a\t", TargetError::Character),
        ("/a?b c", TargetError::Character), ("/a?b#c", TargetError::Character), ("/a?\u{e9}", TargetError::Character),
        ("/%", TargetError::Encoding), ("/%2", TargetError::Encoding), ("/%zz", TargetError::Encoding), ("/%u0041", TargetError::Encoding),
        ("/%c0%ae%c0%ae/", TargetError::Utf8), ("/%ff", TargetError::Utf8), ("/%c3", TargetError::Utf8), ("/%ed%a0%80", TargetError::Utf8),
    ];
    for (raw, error) in table {
        assert_eq!(parse(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn the_query_is_kept_as_it_came() {
    let target = parse("/a//b?x=%2f&y=/../?z").unwrap();
    assert_eq!(target.path(), "/a/b");
    assert_eq!(target.query(), Some("x=%2f&y=/../?z"));
    assert_eq!(target.path_and_query(), "/a/b?x=%2f&y=/../?z");
    assert_eq!(
        target.with_path("/c/{d}").unwrap().path_and_query(),
        "/c/%7Bd%7D?x=%2f&y=/../?z"
    );
    assert_eq!(parse("/a?").unwrap().query(), Some(""));
    assert_eq!(parse("/a").unwrap().query(), None);
    assert_eq!(parse("*").unwrap().path(), "*");
}

#[test]
fn s11_authorities_have_one_form() {
    for (raw, text, host) in [
        ("Example.COM", "example.com", "example.com"),
        ("example.com:8080", "example.com:8080", "example.com"),
        ("example.com.", "example.com", "example.com"),
        ("example.com:", "example.com", "example.com"),
        ("[::1]:80", "[::1]:80", "[::1]"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("a_b", "a_b", "a_b"),
    ] {
        let authority = Authority::parse(raw.as_bytes()).unwrap();
        assert_eq!((authority.as_str(), authority.host()), (text, host), "{raw}");
    }
    for raw in [
        "",
        ":80",
        ".",
        "a..b",
        "..",
        "a..",
        "user@host",
        "a b",
        "a/b",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:123456",
        "[::1",
        "::1",
        "[::1]x",
        "[zz]",
        "a%41",
        "a,b",
        "a?b",
        "a#b",
        "\u{e9}",
        "a..b",
        "..",
        "a..",
        "a\r\nb",
    ] {
        assert_eq!(Authority::parse(raw.as_bytes()), Err(TargetError::Authority), "{raw:?}");
    }
}

proptest! {
    #[test]
    fn normalising_twice_is_normalising_once(raw in "/[ -~]{0,40}") {
        if let Ok(once) = parse(&raw) {
            let twice = parse(once.path_and_query());
            prop_assert_eq!(twice.as_ref(), Ok(&once));
            let path = once.path();
            prop_assert!(path.starts_with('/'));
            prop_assert!(!path.contains("//") && !path.split('/').any(|segment| segment == "." || segment == ".."), "{}", path);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Target::parse(Authority::default(), &raw);
        let _ = Authority::parse(&raw);
    }
}
