//! Input that is hostile, huge or half there (threat F1).

use std::fs;

use proptest::prelude::*;

use super::*;

#[test]
fn a_file_of_100_megabytes_is_refused_without_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.toml");
    fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let problems = load_with(std::slice::from_ref(&path), &[], &[])
        .unwrap_err()
        .to_string();
    let wanted = format!(
        "configuration has 1 problem\n  {}: is larger than 4MiB\n    hint: split it into files under `conf.d`",
        path.display()
    );
    assert_eq!(problems, wanted);
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_problem() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let problems = load_with(std::slice::from_ref(&missing), &[], &[])
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("none.toml: reading the file: No such file"),
        "{problems}"
    );
    assert!(problems.starts_with("configuration has 1 problem\n"), "{problems}");
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"a = 1\nb = '\xe9'").unwrap();
    let problems = load_with(&[latin], &[], &[]).unwrap_err().to_string();
    assert!(problems.contains("latin.toml:2:6: is not UTF-8 text"), "{problems}");
    let null = load_with(&[PathBuf::from("/dev/null")], &[], &[])
        .unwrap_err()
        .to_string();
    assert!(null.contains("/dev/null: is not a regular file"), "{null}");
}

#[test]
fn deep_nesting_is_refused() {
    let dotted = format!("{}a = 1", "a.".repeat(200_000));
    let header = format!("[{}a]", "a.".repeat(200_000));
    let quoted = format!("x = {{ {}a = 1 }}", "\"a\" . ".repeat(100_000));
    let lists = format!("a = {}{}", "[".repeat(200_000), "]".repeat(200_000));
    let tables = format!("a = {}{}", "{a=".repeat(60), "}".repeat(60));
    for text in [dotted, header, quoted, lists, tables] {
        let problems = crate::load_str("deep.toml", &text).unwrap_err();
        assert!(problems.problems().len() < 10, "{problems}");
    }
    let key = "a.".repeat(100_000);
    let problems = load_with(&[], &[], &[(&key, "1")]).unwrap_err();
    assert!(problems.to_string().contains("is not a key"), "{problems}");
}

#[test]
fn thousands_of_problems_are_counted_but_not_all_shown() {
    let text: String = (0..5000)
        .map(|number| format!("[[routes]]\nnam{number} = 1\n"))
        .collect();
    let problems = crate::load_str("many.toml", &text).unwrap_err();
    assert!(problems.problems().len() > 5000);
    let text = problems.to_string();
    assert!(text.lines().count() < 250 && text.contains("\n  and "), "{text}");
}

/// Lines that are nearly right, so that more than the parser is reached.
fn lines() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "site",
        "name",
        "trust_domain",
        "bind",
        "match",
        "path",
        "to",
        "endpoints",
        "export_to",
        "tls",
        "retry",
        "attempts",
        "otlp_headers",
        "rewrite",
        "redirect",
        "fixed",
        "body",
        "limits.head",
        "dns.servers",
        "origins",
        "path_regex",
        "sample_ratio",
        "match.headers",
        "location",
        "timeout",
        "listeners",
        "routes",
    ]);
    let values = prop::sample::select(vec![
        "1",
        "-1",
        "'a'",
        "'10s'",
        "'/a/{b*}'",
        "'{'",
        "[]",
        "[1]",
        "[[1]]",
        "{}",
        "{ name = 1 }",
        "['a', { site = 'b' }]",
        "'dns:a:1'",
        "'orders@azure'",
        "1e308",
        "nan",
        "9223372036854775807",
        "1979-05-27",
        "true",
        "'(('",
        "'ä'",
        "''",
        "{ status = 1, location = '/{x}' }",
        "[{ service = 'a', weight = 0 }]",
        "'9999999999999999h'",
        "\"\\u0000\"",
    ]);
    let headers = prop::sample::select(vec![
        "[site]",
        "[[listeners]]",
        "[[services]]",
        "[[routes]]",
        "[[peers]]",
        "[telemetry]",
        "[limits]",
        "[admin]",
        "[identity]",
        "[federation]",
        "[routes]",
        "[[site]]",
        "[drain]",
        "[dns]",
    ]);
    let line = prop_oneof![
        6 => (keys, values).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => headers.prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        if let Err(problems) = crate::load_str("any.toml", &text) {
            prop_assert!(!problems.problems().is_empty());
            drop(problems.to_string());
        }
    }

    #[test]
    fn nearly_right_text_never_panics(text in lines()) {
        let first = crate::load_str("any.toml", &text).map(|_| ()).map_err(|problems| problems.to_string());
        let again = crate::load_str("any.toml", &text).map(|_| ()).map_err(|problems| problems.to_string());
        prop_assert_eq!(first, again, "the same problems each time");
    }

    #[test]
    fn arbitrary_variables_and_arguments_never_panic(key in "[a-zA-Z_.\\[\\]\"0-9]{0,40}", value in any::<String>()) {
        let name = format!("CAUSEWAY_{key}");
        drop(load_with(&[], &[(&name, &value)], &[(&key, &value)]));
    }
}

#[test]
fn a_configuration_of_thousands_of_routes_loads() {
    let service = "[[services]]\nname = 'a'\nprotocol = 'http'\nendpoints = '10.0.0.1:80'\n";
    let routes: String = (0..4000)
        .map(|number| {
            format!(
                "[[routes]]\nmatch = {{ path = '/{{id}}', host = 'h{}.example' }}\nto = 'a'\n",
                number % 2
            )
        })
        .collect();
    let config = crate::load_str("many.toml", &format!("{LEAST}{service}{routes}")).unwrap();
    assert_eq!(config.routes.len(), 4000);
}
