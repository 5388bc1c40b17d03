//! Templates and the finding of rules. The cases are those that grpc-httpjson-transcoding publishes, where they apply.

use http::Method as Http;

use super::*;
use crate::transcode::template::Template;
use crate::transcode::trie::Trie;

/// Segments, verb and variables of a template, in one line.
fn parsed(text: &str) -> Result<String, &'static str> {
    let template = Template::parse(text)?;
    let variables = template.variables.iter();
    let variables: Vec<_> = variables.map(|of| format!(" {}={:?}", of.name, of.segments)).collect();
    Ok(format!("{template}{}", variables.concat()))
}

#[test]
fn t1_templates_are_taken_apart() {
    #[rustfmt::skip]
    let table = [
        ("/", "/"), ("/shelves/{shelf}/books/{book}", "/shelves/*/books/* shelf=1..2 book=3..4"), ("/shelves/**", "/shelves/**"), ("/**", "/**"),
        ("/a:foo", "/a:foo"), ("/a/b/c:foo", "/a/b/c:foo"), ("/*/**", "/*/**"), ("/*/a/**", "/*/a/**"), ("/a/{a.b.c}", "/a/* a.b.c=1..2"),
        ("/a/{a.b.c=*}", "/a/* a.b.c=1..2"), ("/a/{b=**}", "/a/** b=1..2"), ("/a/{b=c/*}", "/a/c/* b=1..3"), ("/a/{b=c/*/d}", "/a/c/*/d b=1..4"),
        ("/a/{b=c/**}", "/a/c/** b=1..3"), ("/a/{b=c/**}/d/e", "/a/c/**/d/e b=1..3"), ("/a/{b=c/**/d}/e:verb", "/a/c/**/d/e:verb b=1..4"),
        ("/{x.y.z=*/a/b}/c", "/*/a/b/c x.y.z=0..3"), ("/{x=**}:myverb", "/**:myverb x=0..1"), ("/a/{b=*}/**:verb", "/a/*/**:verb b=1..2"),
    ];
    for (text, parts) in table {
        assert_eq!(parsed(text).as_deref(), Ok(parts), "{text}");
    }
    #[rustfmt::skip]
    let wrong = [
        "", "//", "/{}", "/a/", "/a//b", ":verb", "/:verb", "/a/:verb", ":", "/:", "/*:", "/**:", "/{var}:", "/a/b/:", "/a/b/*:", "/a/b/**:", "/a/{", "/a/{var", "/a/{var.",
        "/a/{x=var:verb}", "a", "{x}", "{x=/a}", "a/b", "a/{x}/b:verb", "/a/{var=/b}", "/{var=a/{nested=b}}", "/a{x}", "/{x}a", "/a{x}b", "/{x}a{y}", "/a/b{x}/s", "/a/{x}b/s",
        "/a/**/*", "/a/**/foo/*", "/a/**/**", "/a/**/foo/**", "/{a=**}/{b}", "/{a}/{a}", "/a:b/c", "/***", "/a*", "/{1x}", "/{a b}", "/a?b", "/a#b",
    ];
    for text in wrong {
        assert!(parsed(text).is_err(), "{text}");
    }
}

/// A tree of templates, for GET where nothing else is said, whose rules are the templates themselves.
fn tree(templates: &[&'static str]) -> Trie<(Template, &'static str)> {
    let mut trie = Trie::default();
    for text in templates {
        let template = Template::parse(text).unwrap();
        assert!(
            trie.insert(&template, Some(Http::GET), (template.clone(), *text))
                .is_ok(),
            "{text}"
        );
    }
    trie
}

/// The template of a path and its variables, as `template a b`.
fn found(trie: &Trie<(Template, &'static str)>, path: &str) -> Option<String> {
    let ((template, text), segments) = trie.find(&Http::GET, path).ok()?;
    let mut line = (*text).to_owned();
    for variable in &template.variables {
        let mut decoded = Vec::new();
        let value = segments[template.span(variable, segments.len())].join("/");
        template::decode(&value, !template.is_multi(variable), &mut decoded).unwrap();
        line = format!("{line} {}", String::from_utf8(decoded).unwrap());
    }
    Some(line)
}

fn check(templates: &[&'static str], table: &[(&str, &str)]) {
    let trie = tree(templates);
    for (path, expected) in table {
        let expected = Some(*expected).filter(|expected| !expected.is_empty());
        assert_eq!(found(&trie, path).as_deref(), expected, "{path}");
    }
}

#[test]
fn t1_the_more_literal_rule_wins() {
    check(
        &["/**"],
        &[("/", "/**"), ("/a", "/**"), ("/a/", "/**"), ("", ""), ("a", "")],
    );
    #[rustfmt::skip]
    check(
        &["/a/**", "/b/*", "/c/*/d/**", "/c/*/d/e", "/c/f/d/e", "/"],
        &[("/a/b", "/a/**"), ("/a/b/c", "/a/**"), ("/a", "/a/**"), ("/b/c", "/b/*"), ("b/c/d", ""), ("/c/u/d/v", "/c/*/d/**"), ("/c/v/d/w/x", "/c/*/d/**"),
          ("/c/x/y/d/z", ""), ("/c//v/d/w/x", ""), ("/c/x/d/e", "/c/*/d/e"), ("/c/f/d/e", "/c/f/d/e"), ("/", "/"), ("/b/", ""), ("/b", "")],
    );
}

#[test]
fn t1_variables_span_the_segments_that_they_say() {
    #[rustfmt::skip]
    check(
        &["/a/{x}/c/d/e", "/{x=a/*}/b/{y=*}/c", "/a/{x=b/*}/{y=d/**}", "/alpha/{x=*}/beta/{y=**}/gamma", "/{x=*}/a", "/{x=**}/a/b", "/a/b/{x=*}", "/a/b/c/{x=**}", "/{x=*}/d/e/f/{y=**}"],
        &[("/a/book/c/d/e", "/a/{x}/c/d/e book"), ("/a/hello/b/world/c", "/{x=a/*}/b/{y=*}/c a/hello world"), ("/a/b/zoo/d/animal/tiger", "/a/{x=b/*}/{y=d/**} b/zoo d/animal/tiger"),
          ("/alpha/dog/beta/eat/bones/gamma", "/alpha/{x=*}/beta/{y=**}/gamma dog eat/bones"), ("/foo/a", "/{x=*}/a foo"), ("/foo/bar/a/b", "/{x=**}/a/b foo/bar"),
          ("/a/b/foo", "/a/b/{x=*} foo"), ("/a/b/c/foo/bar/baz", "/a/b/c/{x=**} foo/bar/baz"), ("/foo/d/e/f/bar/baz", "/{x=*}/d/e/f/{y=**} foo bar/baz")],
    );
    #[rustfmt::skip]
    check(
        &["/a/{x=b/**}", "/a/{x=b/**}/z", "/a/{x=b/**}/y/z", "/a/{x=b/**}:verb", "/a/{x=**}", "/c/{x=*}/{y=d/**}/e", "/c/{x=*}/{y=d/**}/e:verb", "/f/{x=*}/{y=**}/g", "/f/{x=*}/{y=**}/g:verb",
          "/a/{x=b/*/y/z/**}/foo", "/a/{x=b/*/**/y/z}/foo"],
        &[("/a/b/hello/world/c", "/a/{x=b/**} b/hello/world/c"), ("/a/b/world/c/z", "/a/{x=b/**}/z b/world/c"), ("/a/b/world/c/y/z", "/a/{x=b/**}/y/z b/world/c"),
          ("/a/b/world/c:verb", "/a/{x=b/**}:verb b/world/c"), ("/a/hello/b/world/c", "/a/{x=**} hello/b/world/c"), ("/c/hello/d/esp/world/e", "/c/{x=*}/{y=d/**}/e hello d/esp/world"),
          ("/c/hola/d/esp/mundo/e:verb", "/c/{x=*}/{y=d/**}/e:verb hola d/esp/mundo"), ("/f/foo/bar/baz/g", "/f/{x=*}/{y=**}/g foo bar/baz"), ("/f/foo/bar/baz/g:verb", "/f/{x=*}/{y=**}/g:verb foo bar/baz"),
          ("/a/b/foo/y/z/bar/baz/foo", "/a/{x=b/*/y/z/**}/foo b/foo/y/z/bar/baz"), ("/a/b/foo/bar/baz/y/z/foo", "/a/{x=b/*/**/y/z}/foo b/foo/bar/baz/y/z")],
    );
}

#[test]
fn t1_a_slash_stays_encoded_where_there_are_several_segments() {
    check(&["/a/{x}/c"], &[("/a/p%20q%2Fr/c", "/a/{x}/c p q/r")]);
    check(
        &["/a/{x=p/*/q/*}/c"],
        &[("/a/p/foo%20foo/q/bar%2Fbar/c", "/a/{x=p/*/q/*}/c p/foo foo/q/bar%2Fbar")],
    );
    check(
        &["/a/{x=**}/c"],
        &[("/a/p/foo%20foo/q/bar%2fbar/c", "/a/{x=**}/c p/foo foo/q/bar%2fbar")],
    );
    let reserved = "%21%23%24%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D";
    let path = format!("/a/{reserved}/{reserved}/c");
    let both = "/a/{x=*}/{y=**}/c !#$&'()*+,/:;=?@[] !#$&'()*+,%2F:;=?@[]";
    check(&["/a/{x=*}/{y=**}/c"], &[(&path, both)]);
    for byte in 0..0x7f {
        for path in [format!("/%{byte:02x}"), format!("/%{byte:02X}")] {
            let expected = format!("/{{x}} {}", char::from(byte));
            check(&["/{x}"], &[(&path, &expected)]);
        }
    }
    check(
        &["/caf\u{e9}/x"],
        &[("/caf%C3%A9/x", "/caf\u{e9}/x"), ("/caf%C3/x", "")],
    );
}

#[test]
fn t1_only_registered_verbs_are_verbs() {
    #[rustfmt::skip]
    check(
        &["/person", "/person/{id=*}", "/{x=**}:verb"],
        &[("/person:verb", "/{x=**}:verb person"), ("/person/jason:verb", "/{x=**}:verb person/jason"), ("/animal/cat:verb", "/{x=**}:verb animal/cat"), ("/person", "/person"),
          ("/person/jason", "/person/{id=*} jason"), ("/animal", ""), ("/animal/cat", ""), ("/person:other", ""), ("/person/jason:other", "/person/{id=*} jason:other"), ("/animal:other", "")],
    );
    #[rustfmt::skip]
    check(
        &["/a/{y=*}:verb", "/a/{y=d/**}:verb", "/{x=*}/a:verb", "/{x=**}/b:verb", "/e/{x=*}/f:verb", "/g/{x=**}/h:verb"],
        &[("/a/world:verb", "/a/{y=*}:verb world"), ("/a/d/animal/tiger:verb", "/a/{y=d/**}:verb d/animal/tiger"), ("/foo/a:verb", "/{x=*}/a:verb foo"),
          ("/foo/bar/baz/b:verb", "/{x=**}/b:verb foo/bar/baz"), ("/e/foo/f:verb", "/e/{x=*}/f:verb foo"), ("/g/foo/bar/h:verb", "/g/{x=**}/h:verb foo/bar")],
    );
    #[rustfmt::skip]
    check(
        &["/some/const:verb", "/some/*:verb", "/some/*/foo:verb", "/other/**:verb", "/other/**/const:verb"],
        &[("/some/const:verb", "/some/const:verb"), ("/some/other:verb", "/some/*:verb"), ("/some/other:verb/", ""), ("/some/bar/foo:verb", "/some/*/foo:verb"),
          ("/some/foo1/foo2/foo:verb", ""), ("/some/foo/bar:verb", ""), ("/other/bar/foo:verb", "/other/**:verb"), ("/other/bar/foo/const:verb", "/other/**/const:verb")],
    );
    check(
        &["/{a=*}/{b=*}:verb"],
        &[("/some:verb/const:verb", "/{a=*}/{b=*}:verb some:verb const")],
    );
    check(&["/foo/{a=*}"], &[("/foo/other:verb", "/foo/{a=*} other:verb")]);
    check(&["/foo/*/hello"], &[("/foo/other:verb/hello", "/foo/*/hello")]);
    #[rustfmt::skip]
    check(
        &["/{a=**}:verb", "/{a=**}"],
        &[("/some:verb/const:verb", "/{a=**}:verb some:verb/const"), ("/some:verb/const", "/{a=**} some:verb/const"), ("/some:verb2/const:verb2", "/{a=**} some:verb2/const:verb2")],
    );
}

#[test]
fn t1_a_path_must_match_to_its_end() {
    #[rustfmt::skip]
    check(
        &["/prefix/middle/suffix", "/prefix/middle", "/prefix"],
        &[("/prefix/middle/suffix", "/prefix/middle/suffix"), ("/prefix/middle", "/prefix/middle"), ("/prefix", "/prefix"), ("/prefix/middle/suffix/other", ""), ("/prefix/middle/other", ""),
          ("/prefix/other", ""), ("/other", "")],
    );
    check(&[], &[("/a/b", ""), ("/", "")]);
}

#[test]
fn t1_the_same_request_for_two_rules_is_ambiguous() {
    let mut trie = Trie::default();
    let template = |text| Template::parse(text).unwrap();
    assert!(trie.insert(&template("/a/{x}"), Some(Http::GET), 1).is_ok());
    assert_eq!(trie.insert(&template("/a/{y=*}"), Some(Http::GET), 2), Err(&1));
    assert!(trie.insert(&template("/a/{y}"), Some(Http::PUT), 3).is_ok());
    assert!(trie.insert(&template("/a/{y}"), None, 4).is_ok());
    assert!(trie.insert(&template("/a/{y}:v"), Some(Http::GET), 5).is_ok());
    let rule = |method: &Http, path| trie.find(method, path).map(|(rule, _)| *rule);
    assert_eq!(rule(&Http::GET, "/a/b"), Ok(1));
    assert_eq!(
        rule(&Http::PATCH, "/a/b"),
        Ok(4),
        "any method, where no other rule has it"
    );
    let allow = vec![Http::GET];
    assert_eq!(rule(&Http::POST, "/a/b:v"), Err(Missed::Method { allow }));
}

#[test]
fn t1_many_wildcards_do_not_make_matching_slow() {
    let templates: Vec<String> = (0..200).map(|at| format!("{}/{at}", "/*".repeat(at))).collect();
    let mut trie = Trie::default();
    for text in &templates {
        assert!(trie.insert(&Template::parse(text).unwrap(), Some(Http::GET), 0).is_ok());
    }
    let path = "/x".repeat(30_000);
    for _ in 0..100 {
        assert_eq!(
            trie.find(&Http::GET, &path).map(|(rule, _)| *rule),
            Err(Missed::NotFound)
        );
    }
}
