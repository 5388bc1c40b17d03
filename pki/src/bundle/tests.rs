use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;
use crate::crl::Crls;
use crate::issue::{self, Level};
use crate::testing::{Forge, NOW, domain};

const AZURE: &str = "azure.acme.example";

#[test]
fn a_bundle_survives_both_of_its_forms() {
    let forges = [Forge::new(AZURE), Forge::new(AZURE)];
    let roots: Vec<_> = forges.iter().map(|forge| forge.root.clone()).collect();
    let bundle = TrustBundle::new(domain(AZURE), roots.clone()).unwrap();
    let certificates =
        |bundle: &TrustBundle| -> Vec<_> { bundle.anchors().iter().map(|a| a.certificate().clone()).collect() };
    let pem = TrustBundle::from_pem(domain(AZURE), bundle.to_pem().as_bytes()).unwrap();
    assert_eq!(certificates(&pem), roots);
    let jwks = TrustBundle::from_jwks(domain(AZURE), bundle.to_jwks().unwrap().as_bytes()).unwrap();
    assert_eq!(certificates(&jwks), roots);
    assert_eq!(jwks.sequence(), Some((NOW - issue::BACKDATE).unix_timestamp() as u64));
    assert_eq!(jwks.to_jwks().unwrap(), bundle.to_jwks().unwrap());
}

#[test]
fn the_jwks_form_is_that_of_the_standard_for_every_kind_of_key() {
    let params = issue::authority(Level::Root, &domain(AZURE), NOW, NOW + issue::ROOT_LIFETIME).unwrap();
    let keys = [
        (
            "EC",
            issue::new_key().unwrap(),
            vec![("crv", Some("P-256")), ("x", None), ("y", None)],
        ),
        (
            "EC",
            KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            vec![("crv", Some("P-384")), ("x", None), ("y", None)],
        ),
        (
            "OKP",
            KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            vec![("crv", Some("Ed25519")), ("x", None)],
        ),
        (
            "RSA",
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
            vec![("n", None), ("e", Some("AQAB"))],
        ),
    ];
    for (kty, key, members) in keys {
        let root = params.self_signed(&key).unwrap().der().clone();
        let text = TrustBundle::new(domain(AZURE), vec![root]).unwrap().to_jwks().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let jwk = &document["keys"][0];
        assert_eq!(jwk["kty"], kty);
        assert_eq!(jwk["use"], "x509-svid");
        assert_eq!(jwk["x5c"].as_array().unwrap().len(), 1);
        assert!(jwk.get("kid").is_none(), "the standard forbids kid here");
        assert!(document["spiffe_sequence"].is_u64() && document["spiffe_refresh_hint"].is_u64());
        for (member, value) in members {
            let found = jwk[member].as_str().unwrap_or_else(|| panic!("{kty} lacks {member}"));
            assert!(value.is_none_or(|value| value == found), "{member}: {found}");
            assert!(!found.contains(['=', '+', '/']), "base64url without padding: {found}");
        }
    }
}

#[test]
fn what_is_no_bundle_is_refused_with_its_place_and_its_fault() {
    let azure = Forge::new(AZURE);
    let leaf = azure.leaf("azure", |_| {});
    let root_then_leaf = azure.bundle().to_pem() + &leaf.chain_pem();
    let many = azure.bundle().to_pem().repeat(MAX_ANCHORS + 1);
    let large = " ".repeat(MAX_BUNDLE + 1);
    #[rustfmt::skip]
    let pem = [
        ("",                                                                        "holds no certificate"),
        ("hello",                                                                   "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n",                                     "not PEM"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",          "certificate 1: not a readable X.509"),
        (&root_then_leaf,                                                           "certificate 2 is not an authority"),
        (&many,                                                                     "too large"),
        (&large,                                                                    "too large"),
    ];
    for (text, why) in pem {
        let error = TrustBundle::from_pem(domain(AZURE), text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!error.hint().is_empty());
    }
    let error = TrustBundle::from_pem(domain("aws.acme.example"), azure.bundle().to_pem().as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate 1 is an authority of `spiffe://azure.acme.example`, this bundle is for spiffe://aws.acme.example"
    );
    #[rustfmt::skip]
    let jwks = [
        ("",                                                                 "not a SPIFFE bundle"),
        ("[]",                                                               "not a SPIFFE bundle"),
        ("{}",                                                               "missing field `keys`"),
        (r#"{"keys": [{"use": "x509-svid"}]}"#,                              "has 0 certificates in x5c"),
        (r#"{"keys": [{"use": "x509-svid", "x5c": ["MAA=", "MAA="]}]}"#,     "has 2 certificates in x5c"),
        (r#"{"keys": [{"use": "x509-svid", "x5c": ["%%%%"]}]}"#,             "x5c of key 1"),
        (r#"{"keys": [{"use": "x509-svid", "x5c": ["MAA="]}]}"#,             "certificate 1: not a readable X.509"),
        (r#"{"keys": [{"use": "jwt-svid"}, {"kty": "EC"}]}"#,                "no key has the use x509-svid"),
    ];
    for (text, why) in jwks {
        let error = TrustBundle::from_jwks(domain(AZURE), text.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn keys_of_other_uses_are_passed_over_and_no_keys_revoke() {
    let azure = Forge::new(AZURE);
    let mut document: serde_json::Value = serde_json::from_str(&azure.bundle().to_jwks().unwrap()).unwrap();
    let other = serde_json::json!({"kty": "EC", "use": "jwt-svid", "kid": "1"});
    document["keys"].as_array_mut().unwrap().insert(0, other);
    document["unknown"] = true.into();
    let bundle = TrustBundle::from_jwks(domain(AZURE), document.to_string().as_bytes()).unwrap();
    assert_eq!(bundle.anchors().len(), 1);
    assert!(!bundle.is_revoked());
    assert!(
        TrustBundle::from_jwks(domain(AZURE), br#"{"keys": []}"#)
            .unwrap()
            .is_revoked()
    );
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(directory.join(name), content).unwrap();
}

#[test]
fn a_directory_gives_every_good_bundle_and_names_every_bad_file() {
    let (aws, azure) = (Forge::new("aws.acme.example"), Forge::new(AZURE));
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "aws.acme.example.pem", aws.bundle().to_pem());
    write(at, "azure.acme.example.jwks", azure.bundle().to_jwks().unwrap());
    write(at, ".hidden.pem", "rubbish");
    write(at, "Upper.pem", "");
    write(at, "gcp.example.pem", "rubbish");
    write(at, "swapped.example.pem", aws.bundle().to_pem());
    write(at, "notes.txt", "");
    write(at, "lonely.example.crl", "rubbish");
    fs::create_dir(at.join("folder.pem")).unwrap();
    let loaded = TrustBundles::load(at);
    let good: Vec<_> = loaded
        .bundles
        .iter()
        .map(|bundle| bundle.trust_domain().to_string())
        .collect();
    assert_eq!(good, ["aws.acme.example", "azure.acme.example"]);
    let bad: Vec<_> = loaded
        .problems
        .iter()
        .map(|p| p.path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        bad,
        [
            "Upper.pem",
            "gcp.example.pem",
            "lonely.example.crl",
            "notes.txt",
            "swapped.example.pem"
        ]
    );
    for problem in &loaded.problems {
        let line = problem.to_string();
        assert!(
            line.contains(problem.path.to_str().unwrap()) && !line.contains('\n'),
            "{line}"
        );
        assert!(!problem.hint().is_empty());
    }
}

#[test]
fn two_bundles_of_one_trust_domain_are_neither_used() {
    let azure = Forge::new(AZURE);
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "azure.acme.example.pem", azure.bundle().to_pem());
    write(
        directory.path(),
        "azure.acme.example.json",
        azure.bundle().to_jwks().unwrap(),
    );
    let loaded = TrustBundles::load(directory.path());
    assert!(loaded.bundles.get(&domain(AZURE)).is_none());
    assert!(matches!(loaded.problems[0].what, ProblemKind::Duplicate));
}

#[test]
fn a_directory_that_is_not_there_is_one_problem() {
    let loaded = TrustBundles::load(Path::new("/nonexistent/bundles"));
    assert_eq!(loaded.problems.len(), 1);
    assert!(matches!(loaded.problems[0].what, ProblemKind::Read(_)));
}

#[test]
fn i7_a_bad_file_keeps_what_was_known_and_a_removed_one_does_not() {
    let (aws, azure) = (Forge::new("aws.acme.example"), Forge::new(AZURE));
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "aws.acme.example.pem", aws.bundle().to_pem());
    write(at, "azure.acme.example.pem", azure.bundle().to_pem());
    let first = TrustBundles::load(at).bundles;
    let known = |bundles: &TrustBundles| bundles.iter().map(|b| b.trust_domain().to_string()).collect::<Vec<_>>();

    // A half-written revocation list takes its trust domain out at the start, and changes nothing later.
    write(at, "azure.acme.example.crl", "-----BEGIN X509 CRL-----\nAAAA");
    assert_eq!(known(&TrustBundles::load(at).bundles), ["aws.acme.example"]);
    let second = TrustBundles::load(at).or_last_good(&first);
    assert_eq!(known(&second), ["aws.acme.example", "azure.acme.example"]);

    fs::remove_file(at.join("azure.acme.example.crl")).unwrap();
    write(at, "aws.acme.example.pem", "half");
    assert_eq!(
        known(&TrustBundles::load(at).or_last_good(&second)),
        ["aws.acme.example", "azure.acme.example"]
    );
    fs::remove_file(at.join("aws.acme.example.pem")).unwrap();
    assert_eq!(
        known(&TrustBundles::load(at).or_last_good(&second)),
        ["azure.acme.example"]
    );
    fs::remove_dir_all(at).unwrap();
    assert_eq!(known(&TrustBundles::load(at).or_last_good(&second)), known(&second));
}

proptest! {
    #[test]
    fn i7_no_bytes_at_all_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Crls::parse(&bytes);
        let _ = Crls::parse(pem("X509 CRL", &bytes).as_bytes());
        let _ = Crls::parse(&[&[0x30][..], &bytes].concat());
        let _ = TrustBundle::from_pem(domain(AZURE), &bytes);
        let _ = TrustBundle::from_pem(domain(AZURE), pem("CERTIFICATE", &bytes).as_bytes());
        let _ = TrustBundle::from_jwks(domain(AZURE), &bytes);
    }

    #[test]
    fn i7_a_revocation_list_with_changed_bytes_makes_no_reader_panic(at in 0usize..400, flip in 1u8..) {
        thread_local! {
            static LIST: Vec<u8> = {
                let directory = tempfile::tempdir().unwrap();
                let authority = crate::authority::Authority::create(directory.path(), &domain(AZURE), NOW).unwrap();
                let identity = crate::identity::Identity::gateway_of(&domain(AZURE), "azure", "gw").unwrap();
                let leaf = issue::Leaf { identity, dns_names: vec![], lifetime: issue::LEAF_LIFETIME };
                let serial = authority.issue(&leaf, NOW).unwrap().issued.serial;
                let list = fs::read(authority.revoke(&serial, NOW).unwrap().list).unwrap();
                use rustls_pki_types::pem::PemObject as _;
                rustls_pki_types::CertificateRevocationListDer::from_pem_slice(&list).unwrap().to_vec()
            };
        }
        LIST.with(|list| {
            let mut list = list.clone();
            let at = at % list.len();
            list[at] ^= flip;
            let _ = Crls::parse(&list);
        });
    }
}
