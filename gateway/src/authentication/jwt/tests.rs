use causeway_config::{Algorithm, Issuer, IssuerKeys};
use serde_json::json;

use super::*;
use crate::authentication::testing::SigningKey;

const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn issuer(algorithm: Algorithm) -> Issuer {
    Issuer {
        name: "acme".into(),
        issuer: "https://idp.example".to_owned(),
        audiences: vec!["orders".to_owned(), "stock".to_owned()],
        algorithms: vec![algorithm],
        keys: IssuerKeys::Inline(String::new()),
        skew: Duration::from_secs(60),
        max_lifetime: Some(Duration::from_secs(7200)),
        max_token: 8192,
        plan_claim: Some("acme.plan".to_owned()),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "aud": "orders", "sub": "alice", "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600,
        "scope": "orders.read orders.write", "acme": { "plan": "gold" },
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn verify(token: &str, issuer: &Issuer, keys: &KeySet) -> Result<Principal, TokenError> {
    Unverified::parse(token)?.verify(issuer, keys, now())
}

#[test]
fn a_good_token_says_who_it_is_in_every_algorithm() {
    for algorithm in [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
        Algorithm::Rs256,
        Algorithm::Ps256,
    ] {
        let key = SigningKey::new(algorithm, "k1");
        let keys = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
        let principal = verify(&key.token(&claims()), &issuer(algorithm), &keys).unwrap();
        assert_eq!(
            (&*principal.issuer, &*principal.subject),
            ("https://idp.example", "alice")
        );
        assert!(principal.has_scope("orders.write"));
        assert_eq!(principal.plan.as_deref(), Some("gold"));
        assert_eq!(principal.left(now()), Some(Duration::from_secs(600)));
    }
    let secret = [7; 32];
    let key = SigningKey::secret(Algorithm::Hs256, &secret);
    let keys = KeySet::of_secret(&secret).unwrap();
    assert!(verify(&key.token(&claims()), &issuer(Algorithm::Hs256), &keys).is_ok());
}

#[test]
fn a1_claims_that_do_not_fit_are_refused() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let keys = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
    let issuer = issuer(Algorithm::Es256);
    #[rustfmt::skip]
    let table = [
        ("exp", json!(NOW - 61),          Err(TokenError::Expired)),
        ("exp", json!(NOW - 60),          Err(TokenError::Expired)),
        ("exp", json!(NOW - 59),          Ok(())),
        ("exp", json!(null),              Err(TokenError::Claims)),
        ("exp", json!("1800000600"),      Err(TokenError::Claims)),
        ("exp", json!(-1),                Err(TokenError::Claims)),
        ("exp", json!(1e300),             Err(TokenError::Claims)),
        ("exp", json!(NOW + 7191),        Err(TokenError::Lifetime)),
        ("exp", json!(NOW as f64 + 0.5),  Ok(())),
        ("iat", json!(null),              Err(TokenError::Lifetime)),
        ("iat", json!(NOW + 61),          Err(TokenError::NotYet)),
        ("iat", json!([]),                Err(TokenError::Claims)),
        ("nbf", json!(NOW + 61),          Err(TokenError::NotYet)),
        ("nbf", json!(NOW + 60),          Ok(())),
        ("nbf", json!(null),              Ok(())),
        ("aud", json!("other"),           Err(TokenError::Audience)),
        ("aud", json!("orders "),         Err(TokenError::Audience)),
        ("aud", json!(null),              Err(TokenError::Audience)),
        ("aud", json!([]),                Err(TokenError::Audience)),
        ("aud", json!({"orders": 1}),     Err(TokenError::Audience)),
        ("aud", json!(["x", "stock"]),    Ok(())),
        ("aud", json!([["orders"]]),      Err(TokenError::Audience)),
        ("iss", json!("https://idp.example/"), Err(TokenError::Issuer)),
        ("iss", json!(null),              Err(TokenError::Issuer)),
        ("iss", json!(["https://idp.example"]), Err(TokenError::Issuer)),
        ("sub", json!(""),                Err(TokenError::Claims)),
        ("sub", json!("a\nb"),            Err(TokenError::Claims)),
        ("sub", json!(7),                 Err(TokenError::Claims)),
        ("sub", json!(null),              Err(TokenError::Claims)),
    ];
    for (name, value, expected) in table {
        let claims = with(name, value);
        let verified = verify(&key.token(&claims), &issuer, &keys).map(drop);
        assert_eq!(verified, expected, "{claims}");
    }
}

#[test]
fn a1_headers_that_attack_are_refused() {
    let key = SigningKey::new(Algorithm::Rs256, "k1");
    let keys = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
    let issuer = issuer(Algorithm::Rs256);
    let attacker = SigningKey::new(Algorithm::Rs256, "k1");
    #[rustfmt::skip]
    let table = [
        (json!({"alg": "none"}),                              TokenError::Algorithm),
        (json!({"alg": "None"}),                              TokenError::Algorithm),
        (json!({"alg": ""}),                                  TokenError::Algorithm),
        (json!({"alg": "rs256"}),                             TokenError::Algorithm),
        (json!({"alg": ["RS256"]}),                           TokenError::Header),
        (json!({}),                                           TokenError::Header),
        (json!({"alg": "HS256", "kid": "k1"}),                TokenError::Algorithm),
        (json!({"alg": "PS256", "kid": "k1"}),                TokenError::Algorithm),
        (json!({"alg": "RS256", "crit": ["exp"]}),            TokenError::Header),
        (json!({"alg": "RS256", "crit": []}),                 TokenError::Header),
        (json!({"alg": "RS256", "b64": false}),               TokenError::Header),
        (json!({"alg": "RS256", "zip": "DEF"}),               TokenError::Header),
        (json!({"alg": "RS256", "enc": "A128GCM"}),           TokenError::Header),
        (json!({"alg": "RS256", "cty": "JWT"}),               TokenError::Header),
        (json!({"alg": "RS256", "kid": 1}),                   TokenError::Header),
        (json!({"alg": "RS256", "kid": "../../dev/null"}),    TokenError::UnknownKey),
        (json!({"alg": "RS256", "kid": "' OR 1=1 --"}),       TokenError::UnknownKey),
        (json!({"alg": "RS256", "kid": "http://evil/key"}),   TokenError::UnknownKey),
        (json!({"alg": "RS256", "kid": ""}),                  TokenError::UnknownKey),
        // The attacker's key, brought along in every way there is.
        (json!({"alg": "RS256", "jwk": attacker.jwk()}),      TokenError::Signature),
        (json!({"alg": "RS256", "jku": "http://127.0.0.1:1/"}), TokenError::Signature),
        (json!({"alg": "RS256", "x5u": "http://127.0.0.1:1/"}), TokenError::Signature),
        (json!({"alg": "RS256", "x5c": ["AAAA"]}),            TokenError::Signature),
    ];
    for (header, expected) in table {
        let token = attacker.token_of(&header, &claims());
        assert_eq!(verify(&token, &issuer, &keys).map(drop), Err(expected), "{header}");
    }
}

#[test]
fn a1_a_public_key_is_no_shared_secret() {
    let key = SigningKey::new(Algorithm::Rs256, "k1");
    let keys = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
    for secret in [key.jwks(), key.jwk()["n"].as_str().unwrap().to_owned()] {
        let forged = SigningKey::secret(Algorithm::Hs256, secret.as_bytes());
        let token = forged.token_of(&json!({"alg": "HS256", "kid": "k1"}), &claims());
        assert_eq!(
            verify(&token, &issuer(Algorithm::Rs256), &keys).map(drop),
            Err(TokenError::Algorithm)
        );
        // Even where the issuer is configured for secrets, there is no secret in a set of public keys.
        assert_eq!(
            verify(&token, &issuer(Algorithm::Hs256), &keys).map(drop),
            Err(TokenError::UnknownKey)
        );
    }
}

#[test]
fn a1_what_is_not_exactly_a_token_is_malformed() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let keys = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
    let issuer = issuer(Algorithm::Es256);
    let good = key.token(&claims());
    let parts: Vec<_> = good.split('.').collect();
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    let mut bad = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        good.replace('.', ""),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{good}.AAAA"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}==.{}", parts[0], parts[1], parts[2]),
        format!("{} .{}.{}", parts[0], parts[1], parts[2]),
        good.replacen('.', "+.", 1),
        key.token_of_text(r#"{"alg":"ES256","alg":"none"}"#, &claims().to_string()),
        key.token_of_text(header, r#"{"iss":"https://idp.example","iss":"other"}"#),
        key.token_of_text(header, "[]"),
        key.token_of_text(header, "null"),
        key.token_of_text(header, "{\"a\":"),
        key.token_of_text("\u{feff}{}", "{}"),
    ];
    let deep = "[".repeat(2000) + &"]".repeat(2000);
    bad.push(key.token_of_text(header, &format!("{{\"a\":{deep}}}")));
    for token in bad {
        assert_eq!(
            verify(&token, &issuer, &keys).map(drop),
            Err(TokenError::Malformed),
            "{token}"
        );
    }
    // No signature, or another's.
    for signature in ["", "AAAA", parts[1]] {
        let token = format!("{}.{}.{signature}", parts[0], parts[1]);
        assert_eq!(verify(&token, &issuer, &keys).map(drop), Err(TokenError::Signature));
    }
    // The last character of the signature has spare bits: a second spelling of one signature is none.
    let last = good.chars().last().unwrap();
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let token = good.strip_suffix(last).unwrap().to_owned() + &other.to_string();
        assert_eq!(verify(&token, &issuer, &keys).is_ok(), other == last, "{other}");
    }
    let zeros = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86));
    assert_eq!(verify(&zeros, &issuer, &keys).map(drop), Err(TokenError::Signature));
}

#[test]
fn who_comes_within_the_skew_has_what_is_left_of_it() {
    let key = SigningKey::new(Algorithm::Es256, "k1");
    let keys = KeySet::of_jwks(key.jwks().as_bytes()).unwrap();
    let token = key.token(&with("exp", json!(NOW - 20)));
    let principal = verify(&token, &issuer(Algorithm::Es256), &keys).unwrap();
    assert_eq!(principal.left(now()), Some(Duration::from_secs(40)));
}
