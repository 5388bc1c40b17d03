use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    ExtendedKeyUsagePurpose as Eku, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose as Usage,
    NameConstraints, PKCS_ED25519, RevokedCertParams, SanType,
};
use time::{Duration as Days, OffsetDateTime};

use super::*;
use crate::bundle::pem;
use crate::crl::Crls;
use crate::testing::{Forge, Forged, NOW, domain, not_a_ca, raw_names, raw_uris, serial, tlv};

const AWS: &str = "aws.acme.example";
const AZURE: &str = "azure.acme.example";

fn trust_of(forges: &[&Forge]) -> Trust {
    let sites = [("aws", AWS), ("azure", AZURE)].map(|(site, name)| (site.to_owned(), domain(name)));
    Trust::of_sites(forges.iter().map(|forge| forge.bundle()).collect(), sites)
}

fn verify_at(forged: &Forged, trust: &Trust, at: OffsetDateTime, role: Role) -> Result<Verified, VerifyError> {
    verify_peer(
        &forged.chain[0],
        &forged.chain[1..],
        certificate::unix_time(at),
        role,
        trust,
        None,
    )
}

/// Verifies in both roles, which have to agree.
fn verify(forged: &Forged, trust: &Trust) -> Result<Verified, VerifyError> {
    let client = verify_at(forged, trust, NOW, Role::Client);
    let server = verify_at(forged, trust, NOW, Role::Server);
    let label = |answer: &Result<Verified, VerifyError>| answer.as_ref().map_err(VerifyError::reason).cloned();
    assert_eq!(label(&client), label(&server));
    client
}

fn reason(answer: Result<Verified, VerifyError>) -> &'static str {
    match answer {
        Ok(verified) => panic!("{} was let in", verified.identity),
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.contains("refused: ") && message.contains("; "),
                "names the mend: {message}"
            );
            assert!(!message.contains('\n'), "one line: {message:?}");
            assert!(
                Fault::REASONS.contains(&error.reason()),
                "{} is a known label",
                error.reason()
            );
            error.reason()
        }
    }
}

fn set_uri(uri: &str) -> impl FnOnce(&mut CertificateParams) {
    let san = SanType::URI(uri.try_into().unwrap());
    move |params| params.subject_alt_names = vec![san]
}

#[test]
fn a_peer_with_a_good_certificate_is_let_in_in_both_roles() {
    let azure = Forge::new(AZURE);
    let forged = azure.leaf("azure", |_| {});
    let verified = verify(&forged, &trust_of(&[&azure])).unwrap();
    assert_eq!(
        verified.identity.as_str(),
        "spiffe://azure.acme.example/site/azure/gateway/gw-1"
    );
    assert_eq!(verified.skew, None);
    assert_eq!(identity_of(&forged.chain).unwrap(), verified.identity);
}

#[test]
fn dns_names_and_other_kinds_of_key_change_nothing() {
    let azure = Forge::new(AZURE);
    let named = azure.leaf("azure", |p| {
        p.subject_alt_names
            .push(SanType::DnsName("gw.azure.example".try_into().unwrap()))
    });
    assert!(verify(&named, &trust_of(&[&azure])).is_ok());
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let leaf = azure
        .params("azure")
        .signed_by(&key, &azure.issuer)
        .unwrap()
        .der()
        .clone();
    let forged = Forged {
        chain: vec![leaf, azure.issuing.clone()],
        key,
    };
    assert!(verify(&forged, &trust_of(&[&azure])).is_ok());
}

#[test]
fn i2_every_bad_certificate_is_refused_with_its_own_reason() {
    let azure = Forge::new(AZURE);
    let trust = trust_of(&[&azure]);
    type Edit = Box<dyn FnOnce(&mut CertificateParams)>;
    #[rustfmt::skip]
    let table: Vec<(&str, &str, Edit)> = vec![
        ("expired",                    "expired",       Box::new(|p| p.not_after = NOW - Days::minutes(2))),
        ("not yet valid",              "not_yet_valid", Box::new(|p| p.not_before = NOW + Days::minutes(2))),
        ("no extended usage",          "bad_eku",       Box::new(|p| p.extended_key_usages.clear())),
        ("server usage only",          "bad_eku",       Box::new(|p| p.extended_key_usages = vec![Eku::ServerAuth])),
        ("client usage only",          "bad_eku",       Box::new(|p| p.extended_key_usages = vec![Eku::ClientAuth])),
        ("any usage",                  "bad_eku",       Box::new(|p| p.extended_key_usages = vec![Eku::Any])),
        ("code signing",               "bad_eku",       Box::new(|p| p.extended_key_usages = vec![Eku::CodeSigning])),
        ("an authority",               "ca_leaf",       Box::new(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("no key usage",               "bad_key_usage", Box::new(|p| p.key_usages.clear())),
        ("no digitalSignature",        "bad_key_usage", Box::new(|p| p.key_usages = vec![Usage::KeyEncipherment])),
        ("keyCertSign too",            "bad_key_usage", Box::new(|p| p.key_usages.push(Usage::KeyCertSign))),
        ("cRLSign too",                "bad_key_usage", Box::new(|p| p.key_usages.push(Usage::CrlSign))),
        ("no name at all",             "no_san",        Box::new(|p| p.subject_alt_names.clear())),
        ("a DNS name only",            "no_san",        Box::new(|p| p.subject_alt_names = vec![SanType::DnsName("azure.acme.example".try_into().unwrap())])),
        ("a DNS name that looks so",   "no_san",        Box::new(|p| raw_names(p, &tlv(0x30, &tlv(0x82, b"spiffe://azure.acme.example/site/azure/gateway/gw-1"))))),
        ("two URI names",              "two_sans",      Box::new(|p| p.subject_alt_names.push(SanType::URI("spiffe://aws.acme.example/site/aws/gateway/gw-1".try_into().unwrap())))),
        ("the same name twice",        "two_sans",      Box::new(|p| p.subject_alt_names.push(p.subject_alt_names[0].clone()))),
        ("a second name, not UTF-8",   "two_sans",      Box::new(|p| raw_uris(p, &[b"spiffe://azure.acme.example/site/azure/gateway/gw-1", b"\xff\xfe"]))),
        ("a first name, not UTF-8",    "two_sans",      Box::new(|p| raw_uris(p, &[b"\xff", b"spiffe://azure.acme.example/site/azure/gateway/gw-1"]))),
        ("an empty second name",       "two_sans",      Box::new(|p| raw_uris(p, &[b"spiffe://azure.acme.example/site/azure/gateway/gw-1", b""]))),
        ("one name, not UTF-8",        "malformed",     Box::new(|p| raw_uris(p, &[b"spiffe://azure.acme.example/\xff"]))),
        ("NUL in the name",            "bad_id",        Box::new(|p| raw_uris(p, &[b"spiffe://azure.acme.example/site/azure\0/gateway/gw-1"]))),
        ("broken names",               "malformed",     Box::new(|p| raw_names(p, b"\x30\x05\x86\x20ab"))),
        ("bytes after the names",      "malformed",     Box::new(|p| raw_names(p, &[tlv(0x30, &tlv(0x86, b"spiffe://azure.acme.example/site/azure/gateway/gw-1")), tlv(0x30, b"")].concat()))),
        ("two name extensions",        "malformed",     Box::new(|p| { let names = p.subject_alt_names.clone(); raw_uris(p, &[b"spiffe://aws.acme.example/site/aws/gateway/gw-1"]); p.subject_alt_names = names; })),
        ("unknown critical extension", "bad_chain",     Box::new(|p| { let mut e = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![5, 0]); e.set_criticality(true); p.custom_extensions.push(e); })),
        ("larger than is read",        "too_large",     Box::new(|p| p.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 9999, 1], tlv(4, &[0; 20_000]))))),
        ("another kind of workload",   "not_a_gateway", Box::new(set_uri("spiffe://azure.acme.example/workload/billing"))),
        ("a site that is no peer",     "unknown_site",  Box::new(set_uri("spiffe://azure.acme.example/site/gcp/gateway/gw-1"))),
        ("a site of another domain",   "wrong_trust_domain", Box::new(set_uri("spiffe://azure.acme.example/site/aws/gateway/gw-1"))),
        ("an unknown trust domain",    "unknown_trust_domain", Box::new(set_uri("spiffe://gcp.acme.example/site/azure/gateway/gw-1"))),
    ];
    for (what, label, edit) in table {
        assert_eq!(reason(verify(&azure.leaf("azure", edit), &trust)), label, "{what}");
    }
}

#[test]
fn i2_a_weak_key_is_refused() {
    let azure = Forge::new(AZURE);
    let numbers = [tlv(2, &[&[0x00, 0xc1][..], &[0x55; 127]].concat()), tlv(2, &[1, 0, 1])].concat();
    let key = tlv(3, &[&[0][..], &tlv(0x30, &numbers)].concat());
    let rsa = tlv(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00");
    let spki = rcgen::SubjectPublicKeyInfo::from_der(&tlv(0x30, &[rsa, key].concat())).unwrap();
    let leaf = azure
        .params("azure")
        .signed_by(&spki, &azure.issuer)
        .unwrap()
        .der()
        .clone();
    let key = crate::issue::new_key().unwrap();
    let forged = Forged {
        chain: vec![leaf, azure.issuing.clone()],
        key,
    };
    assert_eq!(reason(verify(&forged, &trust_of(&[&azure]))), "weak_key");
}

#[test]
fn i3_a_certificate_with_a_malformed_id_is_refused() {
    let azure = Forge::new(AZURE);
    let trust = trust_of(&[&azure]);
    for uri in [
        "spiffe://azure.acme.example",
        "spiffe://azure.acme.example/",
        "spiffe://azure.acme.example:443/site/azure/gateway/gw-1",
        "spiffe://user@azure.acme.example/site/azure/gateway/gw-1",
        "spiffe://AZURE.acme.example/site/azure/gateway/gw-1",
        "SPIFFE://azure.acme.example/site/azure/gateway/gw-1",
        "spiffe://azure.acme.example/site/azure/gateway/gw-1?x",
        "spiffe://azure.acme.example/site/azure/gateway/gw-1#x",
        "spiffe://azure.acme.example/site/%61zure/gateway/gw-1",
        "spiffe://azure.acme.example/site/../site/azure/gateway/gw-1",
        "spiffe://azure.acme.example//site/azure/gateway/gw-1",
        "spiffe://azure.acme.example/site/azure/gateway/gw-1/",
        "https://azure.acme.example/site/azure/gateway/gw-1",
        "",
    ] {
        assert_eq!(
            reason(verify(&azure.leaf("azure", set_uri(uri)), &trust)),
            "bad_id",
            "{uri}"
        );
    }
    let long = format!("spiffe://azure.acme.example/{}", "a".repeat(2048));
    assert_eq!(reason(verify(&azure.leaf("azure", set_uri(&long)), &trust)), "bad_id");
}

#[test]
fn i4_an_authority_vouches_for_its_own_trust_domain_only() {
    let (aws, azure) = (Forge::new(AWS), Forge::new(AZURE));
    let trust = trust_of(&[&aws, &azure]);
    let forged = azure.leaf("azure", set_uri("spiffe://aws.acme.example/site/aws/gateway/gw-1"));
    let error = verify(&forged, &trust).unwrap_err();
    assert_eq!(error.reason(), "wrong_trust_domain");
    assert!(
        error.to_string().contains("but by those of azure.acme.example"),
        "the message says who did it: {error}"
    );
}

#[test]
fn i4_a_stranger_with_the_names_of_our_authority_is_refused() {
    let azure = Forge::new(AZURE);
    let stranger = Forge::new(AZURE);
    assert_eq!(
        reason(verify(&stranger.leaf("azure", |_| {}), &trust_of(&[&azure]))),
        "wrong_trust_domain"
    );
    // The same names and key identifiers, and only another key.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "same");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![Usage::KeyCertSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
    let keys = [crate::issue::new_key().unwrap(), crate::issue::new_key().unwrap()];
    let root = params.self_signed(&keys[0]).unwrap().der().clone();
    let bundle = TrustBundle::new(domain(AZURE), vec![root]).unwrap();
    let trust = Trust::new([bundle].into_iter().collect(), Peers::AnyKnown);
    let [own, other] = keys.map(|key| {
        let issuer = Issuer::from_params(&params, key);
        let key = crate::issue::new_key().unwrap();
        Forged {
            chain: vec![azure.params("azure").signed_by(&key, &issuer).unwrap().der().clone()],
            key,
        }
    });
    assert!(verify(&own, &trust).is_ok());
    assert_eq!(reason(verify(&other, &trust)), "wrong_trust_domain");
}

#[test]
fn i4_a_root_that_is_signed_across_does_not_carry_trust_across() {
    let (aws, azure) = (Forge::new(AWS), Forge::new(AZURE));
    // azure's root signs aws's issuing authority, and the other way round.
    let key = crate::issue::new_key().unwrap();
    let params = crate::issue::authority(crate::issue::Level::Issuing, &domain(AWS), NOW, NOW + Days::days(9)).unwrap();
    let crossed = params.signed_by(&key, &azure.root_issuer).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    let key = crate::issue::new_key().unwrap();
    let leaf = aws.params("aws").signed_by(&key, &issuer).unwrap().der().clone();
    let forged = Forged {
        chain: vec![leaf, crossed, azure.root.clone(), aws.root.clone(), azure.issuing],
        key,
    };
    let trust = Trust::of_sites(
        [
            aws.bundle(),
            TrustBundle::new(domain(AZURE), vec![azure.root.clone()]).unwrap(),
        ]
        .into_iter()
        .collect(),
        [("aws".to_owned(), domain(AWS))],
    );
    assert_eq!(reason(verify(&forged, &trust)), "wrong_trust_domain");
}

#[test]
fn i2_a_leaf_cannot_sign_and_an_issuing_authority_cannot_make_another() {
    let azure = Forge::new(AZURE);
    let trust = trust_of(&[&azure]);
    // A gateway signs for another gateway.
    let params = azure.params("azure");
    let key = crate::issue::new_key().unwrap();
    let mut signer = params.clone();
    signer.distinguished_name.push(rcgen::DnType::CommonName, "gw");
    let middle = signer.signed_by(&key, &azure.issuer).unwrap().der().clone();
    let issuer = Issuer::new(signer, key);
    let key = crate::issue::new_key().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap().der().clone();
    let forged = Forged {
        chain: vec![leaf, middle, azure.issuing.clone()],
        key,
    };
    assert!(["bad_chain", "wrong_trust_domain"].contains(&reason(verify(&forged, &trust))));
    // An authority below the issuing one, whose path length is 0.
    let key = crate::issue::new_key().unwrap();
    let below =
        crate::issue::authority(crate::issue::Level::Issuing, &domain(AZURE), NOW, NOW + Days::days(9)).unwrap();
    let middle = below.signed_by(&key, &azure.issuer).unwrap().der().clone();
    let issuer = Issuer::new(below, key);
    let key = crate::issue::new_key().unwrap();
    let leaf = azure.params("azure").signed_by(&key, &issuer).unwrap().der().clone();
    let forged = Forged {
        chain: vec![leaf, middle, azure.issuing.clone()],
        key,
    };
    assert!(["bad_chain", "wrong_trust_domain"].contains(&reason(verify(&forged, &trust))));
}

#[test]
fn i2_faults_of_the_chain_are_refused() {
    let azure = Forge::new(AZURE);
    let trust = trust_of(&[&azure]);
    let mut forged = azure.leaf("azure", |_| {});
    forged.chain.truncate(1);
    assert_eq!(
        reason(verify(&forged, &trust)),
        "wrong_trust_domain",
        "the issuing certificate is missing"
    );
    forged.chain.extend(vec![azure.issuing.clone(); MAX_INTERMEDIATES + 1]);
    assert_eq!(reason(verify(&forged, &trust)), "too_large", "too many certificates");
    forged.chain.truncate(1);
    forged.chain.push(vec![0x30; certificate::MAX_CERTIFICATE + 1].into());
    assert_eq!(reason(verify(&forged, &trust)), "too_large", "a huge certificate");
    forged.chain = vec![vec![0x30, 0x80, 0, 0].into()];
    assert_eq!(reason(verify(&forged, &trust)), "malformed");
    assert_eq!(identity_of(&[]).unwrap_err().reason(), "no_certificate");
    // An issuing authority that has ended, and one with the URI constraints that path building refuses.
    let ended = Forge::with(AZURE, NOW, |params| {
        (params.not_before, params.not_after) = (NOW - Days::days(9), NOW - Days::days(1));
    });
    let error = verify(&ended.leaf("azure", |_| {}), &trust_of(&[&ended])).unwrap_err();
    assert_eq!(error.reason(), "expired");
    assert!(error.to_string().contains("authority"), "{error}");
    let constrained = Forge::with(AZURE, NOW, |params| {
        let only = GeneralSubtree::DnsName("azure.acme.example".into());
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![only],
            excluded_subtrees: vec![],
        });
    });
    let named = |p: &mut CertificateParams| {
        p.subject_alt_names
            .push(SanType::DnsName("evil.example".try_into().unwrap()))
    };
    assert_eq!(
        reason(verify(&constrained.leaf("azure", named), &trust_of(&[&constrained]))),
        "bad_chain"
    );
}

#[test]
fn an_anchor_that_has_ended_vouches_for_nobody() {
    let old = Forge::at(AZURE, NOW - crate::issue::ROOT_LIFETIME - Days::days(1));
    let mut params = old.params("azure");
    (params.not_before, params.not_after) = (NOW - Days::days(1), NOW + Days::days(1));
    let key = crate::issue::new_key().unwrap();
    let leaf = params.signed_by(&key, &old.root_issuer).unwrap().der().clone();
    let error = verify(&Forged { chain: vec![leaf], key }, &trust_of(&[&old])).unwrap_err();
    assert_eq!(error.reason(), "expired", "{error}");
    assert!(error.to_string().contains("authority"), "{error}");
}

#[test]
fn clocks_that_differ_by_up_to_a_minute_are_forgiven_and_reported() {
    let azure = Forge::new(AZURE);
    let trust = trust_of(&[&azure]);
    let forged = azure.leaf("azure", |params| {
        (params.not_before, params.not_after) = (NOW, NOW + Days::days(1));
    });
    let second = Duration::from_secs;
    #[rustfmt::skip]
    let table = [
        (NOW - Days::seconds(61),                 Err("not_yet_valid")),
        (NOW - Days::seconds(60),                 Ok(Some(Skew::NotYetValid(second(60))))),
        (NOW - Days::seconds(1),                  Ok(Some(Skew::NotYetValid(second(1))))),
        (NOW,                                     Ok(None)),
        (NOW + Days::days(1),                     Ok(None)),
        (NOW + Days::days(1) + Days::seconds(1),  Ok(Some(Skew::Expired(second(1))))),
        (NOW + Days::days(1) + Days::seconds(60), Ok(Some(Skew::Expired(second(60))))),
        (NOW + Days::days(1) + Days::seconds(61), Err("expired")),
    ];
    for (at, expected) in table {
        for role in [Role::Client, Role::Server] {
            let answer = verify_at(&forged, &trust, at, role);
            assert_eq!(
                answer.map(|v| v.skew).map_err(|e| e.reason()),
                expected,
                "{at} {role:?}"
            );
        }
    }
}

#[test]
fn a_bundle_without_keys_revokes_its_trust_domain() {
    let azure = Forge::new(AZURE);
    let empty = TrustBundle::from_jwks(domain(AZURE), br#"{"keys": []}"#).unwrap();
    let trust = Trust::new([empty].into_iter().collect(), Peers::AnyKnown);
    assert_eq!(reason(verify(&azure.leaf("azure", |_| {}), &trust)), "trust_revoked");
}

#[test]
fn a_revoked_identity_is_refused_and_its_neighbour_is_not() {
    let azure = Forge::new(AZURE);
    let revoked = Identity::gateway_of(&domain(AZURE), "azure", "gw-1").unwrap();
    let trust = trust_of(&[&azure]).without([revoked]);
    assert_eq!(reason(verify(&azure.leaf("azure", |_| {}), &trust)), "revoked");
    let other = azure.leaf("azure", set_uri("spiffe://azure.acme.example/site/azure/gateway/gw-2"));
    assert!(verify(&other, &trust).is_ok());
}

fn list(issuer: &Issuer<'_, KeyPair>, serials: &[u64], next_update: OffsetDateTime) -> Crls {
    let params = CertificateRevocationListParams {
        this_update: NOW - Days::days(2),
        next_update,
        crl_number: serial(1),
        issuing_distribution_point: None,
        revoked_certs: serials
            .iter()
            .map(|number| RevokedCertParams {
                serial_number: serial(*number),
                revocation_time: NOW - Days::days(2),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Crls::parse(pem("X509 CRL", params.signed_by(issuer).unwrap().der()).as_bytes()).unwrap()
}

#[test]
fn i2_a_certificate_on_the_list_of_its_authority_is_refused() {
    let azure = Forge::new(AZURE);
    let with = |crls: Crls| {
        let mut bundles: TrustBundles = [azure.bundle()].into_iter().collect();
        bundles.set_crls(&domain(AZURE), crls);
        Trust::new(bundles, Peers::AnyKnown)
    };
    let later = NOW + Days::days(1);
    let number_7 = azure.leaf("azure", |params| params.serial_number = Some(serial(7)));
    let number_8 = azure.leaf("azure", |params| params.serial_number = Some(serial(8)));
    let trust = with(list(&azure.issuer, &[7], later));
    assert_eq!(reason(verify(&number_7, &trust)), "revoked");
    assert!(verify(&number_8, &trust).is_ok());
    // An old list still revokes, an empty one does not, and a list of the root alone says nothing about leaves.
    let old = list(&azure.issuer, &[7], NOW - Days::days(1));
    assert_eq!(old.next_update(), Some(NOW - Days::days(1)));
    assert_eq!(reason(verify(&number_7, &with(old))), "revoked");
    assert!(verify(&number_7, &with(list(&azure.issuer, &[], later))).is_ok());
    assert!(verify(&number_7, &with(list(&azure.root_issuer, &[7], later))).is_ok());
    // The root revokes the issuing authority.
    let other = Forge::with(AZURE, NOW, |params| params.serial_number = Some(serial(99)));
    let mut bundles: TrustBundles = [other.bundle()].into_iter().collect();
    bundles.set_crls(&domain(AZURE), list(&other.root_issuer, &[99], later));
    let trust = Trust::new(bundles, Peers::AnyKnown);
    assert_eq!(reason(verify(&other.leaf("azure", |_| {}), &trust)), "revoked");
}

#[test]
fn i2_a_list_that_somebody_else_signed_in_the_name_of_the_authority_lets_nobody_in() {
    let azure = Forge::new(AZURE);
    let mut params = CertificateParams::default();
    let parsed = certificate::parse(&azure.issuing).unwrap();
    let name = parsed
        .subject()
        .iter_common_name()
        .next()
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, AZURE);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.key_usages = vec![Usage::CrlSign];
    let forger = Issuer::new(params, crate::issue::new_key().unwrap());
    let mut bundles: TrustBundles = [azure.bundle()].into_iter().collect();
    bundles.set_crls(&domain(AZURE), list(&forger, &[], NOW + Days::days(1)));
    let trust = Trust::new(bundles, Peers::AnyKnown);
    assert_eq!(reason(verify(&azure.leaf("azure", |_| {}), &trust)), "bad_crl");
}

#[test]
fn the_site_that_answers_has_to_be_the_one_that_was_dialled() {
    let (aws, azure) = (Forge::new(AWS), Forge::new(AZURE));
    let trust = trust_of(&[&aws, &azure]);
    let forged = aws.leaf("aws", |_| {});
    let dialled = |site| {
        let now = certificate::unix_time(NOW);
        verify_peer(
            &forged.chain[0],
            &forged.chain[1..],
            now,
            Role::Server,
            &trust,
            Some(site),
        )
    };
    assert!(dialled("aws").is_ok());
    let error = dialled("azure").unwrap_err();
    assert_eq!(error.reason(), "wrong_site");
    assert!(error.to_string().contains("site `azure` was dialled"), "{error}");
}

#[test]
fn a_refusal_names_the_peer_the_fault_and_the_mend() {
    let azure = Forge::new(AZURE);
    let forged = azure.leaf("azure", |params| {
        (params.not_before, params.not_after) = (NOW - Days::days(9), NOW - Days::hours(1));
    });
    let error = verify(&forged, &trust_of(&[&azure])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spiffe://azure.acme.example/site/azure/gateway/gw-1 refused: its certificate expired at \
         2026-11-21T11:00:00Z; renew it at its site with `causeway pki renew`"
    );
    let nameless = azure.leaf("azure", |params| {
        params.subject_alt_names.clear();
        params.serial_number = Some(serial(0x1234));
    });
    let error = verify(&nameless, &trust_of(&[&azure])).unwrap_err().to_string();
    assert!(
        error.starts_with("certificate with serial 1234 refused: its certificate has no URI name; "),
        "{error}"
    );
}

#[test]
fn a_certificate_without_basic_constraints_is_fine_and_one_that_says_no_too() {
    let azure = Forge::new(AZURE);
    assert!(verify(&azure.leaf("azure", not_a_ca), &trust_of(&[&azure])).is_ok());
    assert!(
        verify(
            &azure.leaf("azure", |params| params.is_ca = IsCa::NoCa),
            &trust_of(&[&azure])
        )
        .is_ok()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn i2_no_bytes_at_all_make_the_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let trust = Trust::new(TrustBundles::default(), Peers::AnyKnown);
        let leaf = CertificateDer::from(bytes);
        let _ = verify_peer(&leaf, &[], certificate::unix_time(NOW), Role::Client, &trust, None);
    }

    #[test]
    fn i2_a_certificate_with_changed_bytes_is_never_let_in(at in 0usize..520, flip in 1u8..) {
        thread_local! {
            static FORGED: (Forged, Trust) = {
                let azure = Forge::new(AZURE);
                (azure.leaf("azure", |_| {}), trust_of(&[&azure]))
            };
        }
        FORGED.with(|(forged, trust)| {
            let mut leaf = forged.chain[0].to_vec();
            let at = at % leaf.len();
            leaf[at] ^= flip;
            let changed = Forged { chain: vec![leaf.into(), forged.chain[1].clone()], key: crate::issue::new_key().unwrap() };
            assert!(verify_at(&changed, trust, NOW, Role::Client).is_err(), "byte {at} ^ {flip}");
        });
    }
}
