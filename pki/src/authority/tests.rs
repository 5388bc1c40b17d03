use std::process::{Command, Output};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use time::Duration;
use x509_parser::certificate::X509Certificate;

use super::*;
use crate::bundle::TrustBundles;
use crate::crl::Crls;
use crate::testing::{NOW, domain};
use crate::verify::{Verified, verify_peer};

const AZURE: &str = "azure.acme.example";

fn authority() -> (tempfile::TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(directory.path(), &domain(AZURE), NOW).unwrap();
    (directory, authority)
}

fn leaf(gateway: &str) -> Leaf {
    let identity = Identity::gateway_of(&domain(AZURE), "azure", gateway).unwrap();
    Leaf {
        identity,
        dns_names: vec!["gw.azure.acme.example".into()],
        lifetime: issue::LEAF_LIFETIME,
    }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(Result::unwrap)
        .collect()
}

fn verify(pem: &str, bundle: TrustBundle, crls: Option<&Path>, at: OffsetDateTime) -> Result<Verified, &'static str> {
    let mut bundles: TrustBundles = [bundle].into_iter().collect();
    if let Some(path) = crls {
        bundles.set_crls(&domain(AZURE), Crls::parse(&store::read(path).unwrap()).unwrap());
    }
    let trust = Trust::new(bundles, Peers::AnyKnown);
    let chain = chain(pem);
    let at = certificate::unix_time(at);
    verify_peer(&chain[0], &chain[1..], at, Role::Server, &trust, None).map_err(|error| error.reason())
}

/// Every extension: its dotted name, whether it is critical, and its content for those that are always the same.
fn extensions(certificate: &X509Certificate<'_>) -> Vec<(String, bool, String)> {
    let varying = ["2.5.29.14", "2.5.29.35"];
    let extension = |e: &x509_parser::extensions::X509Extension<'_>| {
        let id = e.oid.to_id_string();
        let content = if varying.contains(&&*id) {
            "*".into()
        } else {
            data_encoding::HEXLOWER.encode(e.value)
        };
        (id, e.critical, content)
    };
    let mut all: Vec<_> = certificate.iter_extensions().map(extension).collect();
    all.sort();
    all
}

fn expected(rows: &[(&str, bool, String)]) -> Vec<(String, bool, String)> {
    rows.iter()
        .map(|(id, critical, content)| ((*id).to_owned(), *critical, content.clone()))
        .collect()
}

#[test]
fn i9_certificates_carry_exactly_the_extensions_that_the_standard_wants() {
    use crate::testing::tlv;
    let (directory, authority) = authority();
    let pair = authority.issue(&leaf("gw-1"), NOW).unwrap();
    let chain = chain(&pair.issued.chain_pem);
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);

    let parsed = certificate::parse(&chain[0]).unwrap();
    let uri = tlv(0x86, b"spiffe://azure.acme.example/site/azure/gateway/gw-1");
    let names = tlv(0x30, &[uri, tlv(0x82, b"gw.azure.acme.example")].concat());
    #[rustfmt::skip]
    assert_eq!(extensions(&parsed), expected(&[
        ("2.5.29.14", false, "*".into()),                                                // subject key identifier
        ("2.5.29.15", true,  "03020780".into()),                                         // digitalSignature
        ("2.5.29.17", true,  hex(&names)),                                               // critical: no subject
        ("2.5.29.19", true,  "3000".into()),                                             // not an authority
        ("2.5.29.35", false, "*".into()),                                                // authority key identifier
        ("2.5.29.37", false, "301406082b0601050507030106082b06010505070302".into()),     // server and client
    ]));
    assert_eq!(parsed.subject().iter().count(), 0);
    assert_eq!(parsed.validity().not_before.to_datetime(), NOW - Duration::minutes(5));
    assert_eq!(parsed.validity().not_after.to_datetime(), NOW + Duration::days(90));
    assert_eq!(pair.issued.serial.len(), 32, "128 bits");

    let uri = hex(&tlv(0x30, &tlv(0x86, b"spiffe://azure.acme.example")));
    let root = CertificateDer::from_pem_slice(&store::read(&directory.path().join("1/root.crt")).unwrap()).unwrap();
    for (der, path_length, lifetime) in [
        (&chain[1], "30060101ff020100", 3 * 365),
        (&root, "30060101ff020101", 3650),
    ] {
        let parsed = certificate::parse(der).unwrap();
        #[rustfmt::skip]
        assert_eq!(extensions(&parsed), expected(&[
            ("2.5.29.14", false, "*".into()),
            ("2.5.29.15", true,  "03020106".into()),                                     // keyCertSign, cRLSign
            ("2.5.29.17", false, uri.clone()),
            ("2.5.29.19", true,  path_length.into()),
            ("2.5.29.35", false, "*".into()),
        ]));
        assert_eq!(
            parsed.validity().not_after.to_datetime(),
            NOW + Duration::days(lifetime)
        );
    }
}

#[test]
fn i9_serial_numbers_do_not_repeat_and_every_certificate_is_on_record() {
    let (directory, authority) = authority();
    let serials: std::collections::BTreeSet<_> = (0..20)
        .map(|_| authority.issue(&leaf("gw-1"), NOW).unwrap().issued.serial)
        .collect();
    assert_eq!(serials.len(), 20);
    for serial in serials {
        assert!(directory.path().join("issued").join(format!("{serial}.crt")).exists());
    }
}

#[test]
fn i9_an_authority_is_never_made_over_another() {
    let (directory, authority) = authority();
    let error = Authority::create(directory.path(), &domain("other.example"), NOW).unwrap_err();
    assert!(
        matches!(error, AuthorityError::Store(StoreError::Exists { .. })),
        "{error}"
    );
    assert_eq!(
        Authority::open(directory.path()).unwrap().trust_domain(),
        authority.trust_domain()
    );
}

#[cfg(unix)]
#[test]
fn i9_all_private_keys_of_an_authority_are_0600() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, _) = authority();
    for key in ["1/root.key", "1/issuing.key"] {
        let mode = fs::metadata(directory.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn issuing_needs_no_root_key() {
    let (directory, _) = authority();
    fs::remove_file(directory.path().join("1/root.key")).unwrap();
    Authority::open(directory.path())
        .unwrap()
        .issue(&leaf("gw-1"), NOW)
        .unwrap();
}

#[test]
fn a_certificate_never_outlives_its_authority() {
    let (_directory, authority) = authority();
    let late = authority.issuing_ends() - Duration::days(10);
    assert_eq!(
        authority.issue(&leaf("gw-1"), late).unwrap().issued.not_after,
        authority.issuing_ends()
    );
    let error = authority.issue(&leaf("gw-1"), authority.issuing_ends()).unwrap_err();
    assert!(matches!(error, AuthorityError::Ended { .. }), "{error}");
    assert!(error.hint().contains("rotate"));
}

#[test]
fn i9_what_makes_no_sense_is_not_signed() {
    let (directory, authority) = authority();
    let foreign = Identity::gateway_of(&domain("aws.acme.example"), "aws", "gw-1").unwrap();
    let named = |name: &str| Leaf {
        dns_names: vec![name.into()],
        ..leaf("gw-1")
    };
    for (bad, why) in [
        (
            Leaf {
                identity: foreign,
                ..leaf("gw-1")
            },
            "is not in trust domain",
        ),
        (
            Leaf {
                lifetime: Duration::ZERO,
                ..leaf("gw-1")
            },
            "cannot be valid for 0 days",
        ),
        (
            Leaf {
                lifetime: Duration::days(-3),
                ..leaf("gw-1")
            },
            "cannot be valid for -3 days",
        ),
        (
            Leaf {
                lifetime: Duration::MAX,
                ..leaf("gw-1")
            },
            "cannot be valid for",
        ),
        (named("*.acme.example"), "is not a DNS name"),
        (named("spiffe://aws.acme.example/x"), "is not a DNS name"),
        (named("gw\0.acme.example"), "is not a DNS name"),
        (named("gw.acme.example."), "is not a DNS name"),
        (named("bücher.example"), "is not a DNS name"),
        (named(""), "is not a DNS name"),
        (
            Leaf {
                dns_names: vec!["a.example".into(); 33],
                ..leaf("gw-1")
            },
            "33 DNS names",
        ),
    ] {
        let error = authority.issue(&bad, NOW).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!error.hint().is_empty());
    }
    assert_eq!(fs::read_dir(directory.path().join("issued")).unwrap().count(), 0);
}

/// A signing request that asks for something.
fn request(edit: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    edit(&mut params);
    params
        .serialize_request(&issue::new_key().unwrap())
        .unwrap()
        .pem()
        .unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn i9_a_request_gets_the_names_of_the_arguments_and_its_own_key() {
    let (_directory, authority) = authority();
    let own = "spiffe://azure.acme.example/site/azure/gateway/gw-1";
    let modest = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![uri(own)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
    };
    for request in [request(|_| {}), request(modest)] {
        let issued = authority.sign(request.as_bytes(), &leaf("gw-1"), NOW).unwrap();
        let verified = verify(&issued.chain_pem, authority.bundle().unwrap(), None, NOW).unwrap();
        assert_eq!(verified.identity.as_str(), own);
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap();
        let wanted = CertificateSigningRequestParams::from_der(&der).unwrap();
        let leaf = chain(&issued.chain_pem).swap_remove(0);
        let parsed = certificate::parse(&leaf).unwrap();
        assert_eq!(parsed.public_key().raw, wanted.public_key.subject_public_key_info());
        assert_eq!(extensions(&parsed).len(), 6, "nothing else was taken over");
    }
}

#[test]
fn i9_a_request_that_asks_for_more_is_refused() {
    let (directory, authority) = authority();
    let mut changed = request(|_| {}).into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    type Edit = fn(&mut CertificateParams);
    #[rustfmt::skip]
    let table: [(&str, Edit); 9] = [
        ("an authority",         |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("another gateway",      |p| p.subject_alt_names = vec![uri("spiffe://azure.acme.example/site/azure/gateway/gw-2")]),
        ("another trust domain", |p| p.subject_alt_names = vec![uri("spiffe://aws.acme.example/site/aws/gateway/gw-1")]),
        ("a second name",        |p| p.subject_alt_names = vec![uri("spiffe://azure.acme.example/site/azure/gateway/gw-1"), uri("x:y")]),
        ("another DNS name",     |p| p.subject_alt_names = vec![SanType::DnsName("evil.example".try_into().unwrap())]),
        ("a wildcard",           |p| p.subject_alt_names = vec![SanType::DnsName("*.azure.acme.example".try_into().unwrap())]),
        ("an address",           |p| p.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())]),
        ("signing",              |p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
        ("an unknown extension", |p| p.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![5, 0])]),
    ];
    let requests = table.map(|(what, edit)| (what, request(edit).into_bytes()));
    let broken = [("rubbish", b"hello".to_vec()), ("changed bytes", changed)];
    for (what, request) in requests.into_iter().chain(broken) {
        let error = authority.sign(&request, &leaf("gw-1"), NOW).expect_err(what);
        assert!(matches!(error, AuthorityError::Request { .. }), "{what}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    assert_eq!(
        fs::read_dir(directory.path().join("issued")).unwrap().count(),
        0,
        "nothing was signed"
    );
}

#[test]
fn a_damaged_directory_is_named() {
    type Damage = fn(&Path);
    #[rustfmt::skip]
    let table: [(&str, Damage); 6] = [
        ("active",        |d| fs::remove_file(d.join("active")).unwrap()),
        ("active",        |d| fs::write(d.join("active"), "one").unwrap()),
        ("generation 7",  |d| fs::write(d.join("active"), "7").unwrap()),
        ("1/root.crt",    |d| fs::write(d.join("1/root.crt"), "").unwrap()),
        ("1/issuing.crt", |d| fs::remove_file(d.join("1/issuing.crt")).unwrap()),
        ("1/issuing.key", |d| { fs::copy(d.join("1/root.key"), d.join("1/issuing.key")).unwrap(); }),
    ];
    for (what, damage) in table {
        let (directory, _) = authority();
        damage(directory.path());
        let opened = Authority::open(directory.path());
        let error = opened
            .and_then(|authority| authority.issue(&leaf("gw-1"), NOW).map(|_| ()))
            .expect_err(what);
        assert!(error.to_string().contains(what), "{what}: {error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_revoked_certificate_is_refused_and_others_are_not() {
    let (_directory, authority) = authority();
    let [one, two, three] = ["gw-1", "gw-2", "gw-3"].map(|name| authority.issue(&leaf(name), NOW).unwrap().issued);
    let first = authority.revoke(&one.serial, NOW).unwrap();
    assert!(!first.again);
    let second = authority
        .revoke(&two.serial.to_uppercase(), NOW + Duration::days(1))
        .unwrap();
    assert!(authority.revoke(&one.serial, NOW).unwrap().again);
    let mut revoked = authority.revoked().unwrap();
    revoked.sort();
    let mut expected = [one.serial.clone(), two.serial.clone()];
    expected.sort();
    assert_eq!(revoked, expected);
    let at = NOW + Duration::days(2);
    let answer =
        |issued: &Issued| verify(&issued.chain_pem, authority.bundle().unwrap(), Some(&second.list), at).map(|_| ());
    assert_eq!(answer(&one), Err("revoked"));
    assert_eq!(answer(&two), Err("revoked"));
    assert_eq!(answer(&three), Ok(()));
    for unknown in ["00", "", "zz", "../1/root", "🦀"] {
        assert!(
            matches!(
                authority.revoke(unknown, NOW),
                Err(AuthorityError::UnknownSerial { .. })
            ),
            "{unknown}"
        );
    }
}

#[test]
fn i8_a_rotation_cuts_nobody_off_at_any_step() {
    let (_directory, authority) = authority();
    let before = authority.issue(&leaf("gw-1"), NOW).unwrap().issued;
    let old_bundle = authority.bundle().unwrap();
    assert_eq!(authority.rotation(NOW).unwrap().stage, Stage::Idle);

    let authority = authority.prepare_rotation(NOW).unwrap();
    assert_eq!(authority.rotation(NOW).unwrap().stage, Stage::Prepared);
    let both = authority.bundle().unwrap();
    assert_eq!(both.anchors().len(), 2);
    let during = authority.issue(&leaf("gw-1"), NOW).unwrap().issued;
    for bundle in [&old_bundle, &both] {
        assert!(verify(&before.chain_pem, bundle.clone(), None, NOW).is_ok());
        assert!(
            verify(&during.chain_pem, bundle.clone(), None, NOW).is_ok(),
            "still the old root"
        );
    }

    // A peer that lacks the new root holds the second step up.
    let directory = authority.directory.clone();
    let peers = [("aws".to_owned(), both.clone()), ("gcp".to_owned(), old_bundle)];
    let error = authority.activate_rotation(&peers, NOW).unwrap_err();
    assert!(
        error.to_string().contains("gcp") && !error.to_string().contains("aws,"),
        "{error}"
    );
    let authority = Authority::open(&directory)
        .unwrap()
        .activate_rotation(&peers[..1], NOW)
        .unwrap();
    let after = authority.issue(&leaf("gw-1"), NOW).unwrap().issued;
    for issued in [&before, &during, &after] {
        assert!(verify(&issued.chain_pem, both.clone(), None, NOW).is_ok());
    }

    // Valid certificates of the old root hold the third step up.
    let error = authority.finish_rotation(Finish::WhenUnused, NOW).unwrap_err();
    assert!(error.to_string().contains("still valid: 2,"), "{error}");
    let authority = Authority::open(&directory).unwrap();
    authority.revoke(&before.serial, NOW).unwrap();
    authority.revoke(&during.serial, NOW).unwrap();
    let authority = authority.finish_rotation(Finish::WhenUnused, NOW).unwrap();
    assert_eq!(authority.rotation(NOW).unwrap().stage, Stage::Idle);
    let new_bundle = authority.bundle().unwrap();
    assert_eq!(new_bundle.anchors().len(), 1);
    assert!(verify(&after.chain_pem, new_bundle.clone(), None, NOW).is_ok());
    assert_eq!(
        verify(&before.chain_pem, new_bundle, None, NOW),
        Err("wrong_trust_domain")
    );
    assert!(directory.join("retired-1/root.key").exists(), "nothing is removed");
    // And it can be done again.
    authority.prepare_rotation(NOW).unwrap();
}

#[test]
fn steps_of_a_rotation_in_the_wrong_order_are_refused() {
    let (directory, authority) = authority();
    let open = || Authority::open(directory.path()).unwrap();
    assert!(authority.activate_rotation(&[], NOW).is_err());
    assert!(open().finish_rotation(Finish::CutOffOldCertificates, NOW).is_err());
    open().prepare_rotation(NOW).unwrap();
    assert!(open().prepare_rotation(NOW).is_err());
    assert!(open().finish_rotation(Finish::CutOffOldCertificates, NOW).is_err());
    open().activate_rotation(&[], NOW).unwrap();
    assert!(open().prepare_rotation(NOW).is_err());
    open().finish_rotation(Finish::CutOffOldCertificates, NOW).unwrap();
}

/// A second opinion from somebody else's implementation, where there is one.
#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn openssl_agrees_about_certificates_and_revocation() {
    let openssl = |arguments: &[&str]| -> Option<Output> { Command::new("openssl").args(arguments).output().ok() };
    if openssl(&["version"]).is_none() {
        assert!(std::env::var_os("CI").is_none(), "openssl has to be there in CI");
        println!("skipped: openssl is not installed");
        return;
    }
    let now = OffsetDateTime::now_utc();
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::create(&directory.path().join("ca"), &domain(AZURE), now).unwrap();
    let issued = authority.issue(&leaf("gw-1"), now).unwrap().issued;
    fs::write(place("chain.pem"), &issued.chain_pem).unwrap();
    fs::write(place("root.pem"), authority.bundle().unwrap().to_pem()).unwrap();
    let (chain, root) = (place("chain.pem"), place("root.pem"));
    for purpose in ["sslserver", "sslclient"] {
        let base = [
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            &root,
            "-untrusted",
            &chain,
        ];
        let output = openssl(&[&base[..], &[&chain]].concat()).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let output = openssl(&[
        "x509",
        "-in",
        &chain,
        "-noout",
        "-fingerprint",
        "-sha256",
        "-serial",
        "-subject",
    ])
    .unwrap();
    let text = String::from_utf8(output.stdout)
        .unwrap()
        .replace(':', "")
        .to_lowercase();
    let der = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    assert!(text.contains(&certificate::fingerprint(&der)), "{text}");
    assert!(text.contains(&format!("serial={}", issued.serial)), "{text}");

    let list = authority.revoke(&issued.serial, now).unwrap().list;
    let list = list.to_str().unwrap();
    let base = [
        "verify",
        "-crl_check",
        "-CRLfile",
        list,
        "-CAfile",
        &root,
        "-untrusted",
        &chain,
        &chain,
    ];
    let output = openssl(&base).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_string() + &String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && said.contains("certificate revoked"),
        "{said}"
    );

    // And a request made by openssl is signed.
    let (key, request) = (place("k.pem"), place("r.pem"));
    let made = openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        &key,
        "-out",
        &request,
        "-subj",
        "/CN=gw",
    ]);
    assert!(made.unwrap().status.success());
    let issued = authority
        .sign(&fs::read(&request).unwrap(), &leaf("gw-9"), now)
        .unwrap();
    assert!(verify(&issued.chain_pem, authority.bundle().unwrap(), None, now).is_ok());
}
