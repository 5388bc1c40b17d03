use proptest::prelude::*;

use super::*;

/// The grammar written a second time, as plainly as the standard has it.
fn spec_accepts(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap_or("");
    let segments: Vec<_> = parts.collect();
    text.len() <= 2048
        && (1..=255).contains(&domain.len())
        && domain
            .bytes()
            .all(|b| b"abcdefghijklmnopqrstuvwxyz0123456789.-_".contains(&b))
        && !segments.is_empty()
        && segments.iter().all(|segment| {
            !matches!(*segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        })
}

#[test]
fn i3_every_malformed_spiffe_id_is_refused_and_the_refusal_says_why() {
    let long_domain = format!("spiffe://{}/a", "a".repeat(256));
    let long_id = format!("spiffe://a/{}", "a".repeat(2048));
    #[rustfmt::skip]
    let table = [
        ("",                                         "does not start with spiffe://"),
        ("https://aws.example/site/a",               "does not start with spiffe://"),
        ("SPIFFE://aws.example/site/a",              "does not start with spiffe://"),
        ("spiffe:/aws.example/site/a",               "does not start with spiffe://"),
        (" spiffe://aws.example/a",                  "does not start with spiffe://"),
        ("spiffe://",                                "empty trust domain"),
        ("spiffe:///site/a",                         "empty trust domain"),
        ("spiffe://aws.example",                     "names a trust domain only"),
        ("spiffe://aws.example/",                    "names a trust domain only"),
        ("spiffe://aws.example:443/site/a",          "has ':' in its trust domain"),
        ("spiffe://user@aws.example/site/a",         "has '@' in its trust domain"),
        ("spiffe://user:pw@aws.example/site/a",      "in its trust domain"),
        ("spiffe://AWS.example/site/a",              "has 'A' in its trust domain"),
        ("spiffe://aws%2eexample/site/a",            "has '%' in its trust domain"),
        ("spiffe://aws.example?x=1/site/a",          "has '?' in its trust domain"),
        ("spiffe://[::1]/site/a",                    "has '[' in its trust domain"),
        ("spiffe://bücher.example/site/a",           "has 'ü' in its trust domain"),
        ("spiffe://аws.example/site/a",              "in its trust domain"), // Cyrillic а
        ("spiffe://aws..example/site/a",             "empty trust domain label"),
        ("spiffe://.aws/site/a",                     "empty trust domain label"),
        ("spiffe://aws./site/a",                     "empty trust domain label"),
        ("spiffe://aws.example\0/site/a",            "has '\\0' in its trust domain"),
        ("spiffe://aws.example/site/a\0.evil",       "has '\\0' in its path"),
        ("spiffe://aws.example/site/a?x=1",          "has '?' in its path"),
        ("spiffe://aws.example/site/a#x",            "has '#' in its path"),
        ("spiffe://aws.example/site/%61",            "has '%' in its path"),
        ("spiffe://aws.example/site/a b",            "has ' ' in its path"),
        ("spiffe://aws.example/site/a\n",            "has '\\n' in its path"),
        ("spiffe://aws.example/site\\a",             "has '\\\\' in its path"),
        ("spiffe://aws.example/site/é",              "has 'é' in its path"),
        ("spiffe://aws.example/site/../a",           "dot segment"),
        ("spiffe://aws.example/./a",                 "dot segment"),
        ("spiffe://aws.example//a",                  "empty path segment"),
        ("spiffe://aws.example/site//a",             "empty path segment"),
        ("spiffe://aws.example/site/a/",             "ends with a slash"),
        (&long_domain,                               "the longest trust domain has 255"),
        (&long_id,                                   "the longest identity has 2048"),
    ];
    for (text, why) in table {
        let error = Identity::parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
        assert!(
            !error.contains(['\n', '\0']),
            "{text:?}: an error is one clean line: {error:?}"
        );
        assert!(error.len() < 420, "{text:?}: an error is short: {}", error.len());
        // Empty labels are the one thing that is stricter here than in the standard.
        assert!(!spec_accepts(text) || why.contains("label"), "{text:?} is a fine id");
    }
}

#[test]
fn a_gateway_identity_gives_back_its_parts() {
    let domain = TrustDomain::parse("aws.acme.example").unwrap();
    let gateway = Identity::gateway_of(&domain, "aws-use1", "gw-1").unwrap();
    assert_eq!(
        gateway.to_string(),
        "spiffe://aws.acme.example/site/aws-use1/gateway/gw-1"
    );
    assert_eq!(gateway.trust_domain(), &domain);
    assert_eq!(gateway.path(), "/site/aws-use1/gateway/gw-1");
    assert_eq!((gateway.site(), gateway.gateway()), (Some("aws-use1"), Some("gw-1")));
    assert_eq!(Identity::parse(gateway.as_str()), Ok(gateway));
}

#[test]
fn other_paths_are_identities_of_no_site() {
    for path in [
        "workload",
        "site/aws",
        "site/aws/gateway",
        "site/aws/gateway/gw-1/more",
        "site/aws/worker/gw-1",
        "Site/aws/gateway/gw-1",
        "x/site/aws/gateway/gw-1",
    ] {
        let identity = Identity::parse(&format!("spiffe://acme.example/{path}")).unwrap();
        assert_eq!((identity.site(), identity.gateway()), (None, None), "{path}");
    }
}

#[test]
fn names_that_would_leave_their_segment_make_no_identity() {
    let domain = TrustDomain::parse("acme.example").unwrap();
    for name in ["", ".", "..", "a/b", "a b", "a%2fb", "ä", "a\0"] {
        assert!(Identity::gateway_of(&domain, name, "gw").is_err(), "site {name:?}");
        assert!(Identity::gateway_of(&domain, "aws", name).is_err(), "gateway {name:?}");
    }
    assert!(Identity::gateway_of(&domain, "aws", &"g".repeat(2048)).is_err());
}

#[test]
fn names_survive_serde_and_bad_ones_do_not_enter() {
    let identity: Identity = serde_json::from_str("\"spiffe://a/b\"").unwrap();
    assert_eq!(serde_json::to_string(&identity).unwrap(), "\"spiffe://a/b\"");
    assert!(serde_json::from_str::<Identity>("\"spiffe://a\"").is_err());
    assert!(serde_json::from_str::<TrustDomain>("\"A\"").is_err());
}

proptest! {
    #[test]
    fn i3_what_is_accepted_is_within_the_grammar_of_the_standard(text in "(spiffe://)?[a-cA./%@:_-]{0,12}(/[a-c.%/-]{0,4}){0,3}") {
        if let Ok(identity) = Identity::parse(&text) {
            prop_assert!(spec_accepts(&text));
            prop_assert_eq!(identity.to_string(), text);
        }
    }

    #[test]
    fn i3_any_text_is_answered_without_a_panic(text in any::<String>()) {
        let _ = Identity::parse(&text);
        let _ = Identity::parse(&format!("spiffe://{text}"));
        let _ = TrustDomain::parse(&text);
    }

    #[test]
    fn i3_every_good_gateway_name_is_accepted_and_read_back(site in "[a-zA-Z0-9_-]{1,20}", name in "[a-zA-Z0-9_-]{1,20}") {
        let domain = TrustDomain::parse("acme.example").unwrap();
        let identity = Identity::gateway_of(&domain, &site, &name).unwrap();
        prop_assert_eq!(identity.site(), Some(&*site));
        prop_assert_eq!(identity.gateway(), Some(&*name));
    }
}
