use std::fs;
use std::path::Path;

use clap::{CommandFactory as _, Parser};

use super::*;
use crate::credentials::Credentials;
use crate::testing::NOW;
use crate::tls::provider;

#[derive(Debug, Parser)]
struct Tool {
    #[command(subcommand)]
    command: PkiCommand,
}

/// A place to work in; `{}` in arguments stands for it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn try_at(&self, now: OffsetDateTime, line: &str) -> Result<String, PkiError> {
        let line = format!("causeway-pki {line}").replace("{}", self.0.path().to_str().unwrap());
        let tool = Tool::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut out = Vec::new();
        tool.command.run_at(now, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn run(&self, line: &str) -> String {
        self.try_at(NOW, line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The error, which has to be one line with a hint that is one line.
    fn fail(&self, line: &str) -> (String, u8) {
        let error = self.try_at(NOW, line).expect_err(line);
        let (text, hint) = (error.to_string(), error.hint());
        assert!(
            !text.contains('\n') && !hint.contains('\n') && !hint.is_empty(),
            "{text} / {hint}"
        );
        (text, error.exit_code())
    }
}

fn credentials_of(directory: &Path, site: &str) -> Credentials {
    let place = directory.join(site);
    Credentials::load(&place.join("gateway.crt"), &place.join("gateway.key"), &provider()).unwrap()
}

const TWO_SITES: &str = "bootstrap --site aws=aws.acme.example --site azure=azure.acme.example --out {}";

#[test]
fn the_command_line_is_well_formed_and_every_command_says_what_it_does() {
    Tool::command().debug_assert();
    for command in Tool::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
    }
}

#[test]
fn one_command_prepares_two_sites_that_trust_each_other() {
    let place = Place::new();
    let said = place.run(TWO_SITES);
    assert!(
        said.contains("aws (aws.acme.example)") && said.contains("azure (azure.acme.example)"),
        "{said}"
    );
    for (site, other) in [("aws", "azure"), ("azure", "aws")] {
        let credentials = credentials_of(place.0.path(), site);
        assert_eq!(
            credentials.identity().to_string(),
            format!("spiffe://{site}.acme.example/site/{site}/gateway/gw-1")
        );
        assert_eq!(credentials.wide_mode(), None);
        assert!(place.path(&format!("{site}/ca/1/root.key")).exists());
        let bundles = fs::read_dir(place.path(&format!("{site}/bundles"))).unwrap().count();
        assert_eq!(bundles, 2);
        let said = place.run(&format!(
            "verify --cert {{}}/{site}/gateway.crt --bundles {{}}/{other}/bundles --peer {site}={site}.acme.example --expect-site {site}"
        ));
        assert!(
            said.starts_with(&format!(
                "ok: spiffe://{site}.acme.example/site/{site}/gateway/gw-1 until 2027-02-19"
            )),
            "{said}"
        );
    }
}

#[test]
fn i9_bootstrap_overwrites_nothing_and_leaves_nothing_half_done() {
    let place = Place::new();
    place.run("bootstrap --site azure=azure.acme.example --out {}");
    let (error, code) = place.fail(TWO_SITES);
    assert!(error.contains("azure") && error.contains("exists already"), "{error}");
    assert_eq!(code, 2);
    assert!(!place.path("aws").exists(), "the other site was not begun");
    for line in [
        "bootstrap --site a=x.example --site a=y.example --out {}/t",
        "bootstrap --site a=x.example --site b=x.example --out {}/t",
        "bootstrap --site a=x.example --gateway .. --out {}/t",
    ] {
        assert_eq!(place.fail(line).1, 2);
        assert!(!place.path("t").exists());
    }
}

#[test]
fn sites_with_several_gateways_get_a_directory_for_each() {
    let place = Place::new();
    place.run("bootstrap --site aws=aws.acme.example --gateway gw-1 --gateway gw-2 --out {}");
    assert_eq!(
        credentials_of(place.0.path(), "aws/gw-2").identity().gateway(),
        Some("gw-2")
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused_by_name() {
    for line in [
        "init --trust-domain AWS",
        "bootstrap --site aws --out x",
        "bootstrap --site a/b=aws.example --out x",
        "bootstrap --out x",
        "issue --site aws --days 0",
        "revoke",
        "revoke --cert x --serial y",
        "rotate activate",
    ] {
        let line = format!("causeway-pki {line}");
        assert!(Tool::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }
}

#[test]
fn a_site_can_be_made_step_by_step() {
    let place = Place::new();
    place.run("init --trust-domain aws.acme.example --dir {}/ca");
    assert_eq!(place.fail("init --trust-domain aws.acme.example --dir {}/ca").1, 2);
    let said = place.run("issue --site aws --gateway gw-7 --dns gw.aws.example --days 30 --dir {}/ca --out {}/g");
    assert!(
        said.starts_with("issued spiffe://aws.acme.example/site/aws/gateway/gw-7 until 2026-12-21T12:00:00Z"),
        "{said}"
    );
    let (error, _) = place.fail("issue --site aws --gateway gw-7 --dir {}/ca --out {}/g");
    assert!(
        error.contains("gateway.crt") && error.contains("exists already"),
        "{error}"
    );
    let seen = place.run("inspect {}/g/gateway.crt");
    for part in [
        "spiffe://aws.acme.example/site/aws/gateway/gw-7",
        "gw.aws.example",
        "30 days left",
        "sha256",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let key = place.run("inspect {}/g/gateway.key");
    assert!(key.starts_with("private key (") && key.len() < 60, "{key}");
    assert!(
        place
            .fail("issue --site aws --dir {}/nowhere --out {}/h")
            .0
            .contains("nowhere")
    );
    assert!(
        place
            .fail("issue --site .. --dir {}/ca --out {}/h")
            .0
            .contains("dot segment")
    );
}

#[test]
fn bundles_are_exported_and_imported_in_both_forms() {
    let place = Place::new();
    place.run("init --trust-domain aws.acme.example --dir {}/ca");
    place.run("issue --site aws --dir {}/ca --out {}/g");
    let pem = place.run("bundle export --dir {}/ca");
    assert!(
        pem.starts_with("-----BEGIN CERTIFICATE-----\n"),
        "nothing but the bundle: {pem}"
    );
    place.run("bundle export --dir {}/ca --format jwks --out {}/b.json");
    fs::write(place.path("b.pem"), &pem).unwrap();
    let said = place.run("bundle import {}/b.pem --trust-domain aws.acme.example --bundles {}/bundles");
    assert!(said.contains("sha256"), "{said}");
    place.run("verify --cert {}/g/gateway.crt --bundles {}/bundles");
    let (error, code) = place.fail("bundle import {}/b.json --trust-domain aws.acme.example --bundles {}/bundles");
    assert!(error.contains("aws.acme.example.pem") && code == 2, "{error}");
    place.run("bundle import {}/b.json --trust-domain aws.acme.example --bundles {}/bundles --replace");
    place.run("verify --cert {}/g/gateway.crt --bundles {}/bundles");
    assert!(!place.path("bundles/aws.acme.example.pem").exists());
    assert!(place.path("bundles/.aws.acme.example.pem.before").exists());
    let (error, code) = place.fail("bundle import {}/b.pem --trust-domain azure.acme.example --bundles {}/bundles");
    assert!(
        error.contains("b.pem") && error.contains("this bundle is for spiffe://azure.acme.example"),
        "{error}"
    );
    assert_eq!(code, 2);
    // An empty bundle withdraws the trust domain.
    fs::write(place.path("none.json"), r#"{"keys": []}"#).unwrap();
    let said = place.run("bundle import {}/none.json --trust-domain aws.acme.example --bundles {}/bundles --replace");
    assert!(said.contains("revoked"), "{said}");
    let (error, code) = place.fail("verify --cert {}/g/gateway.crt --bundles {}/bundles");
    assert!(
        error.contains("trust in its trust domain is revoked") && code == 1,
        "{error}"
    );
}

#[test]
fn an_older_bundle_does_not_take_the_place_of_a_newer_one() {
    let place = Place::new();
    place.run("init --trust-domain aws.acme.example --dir {}/ca");
    place.run("bundle export --dir {}/ca --format jwks --out {}/old.json");
    let later = NOW + Duration::hours(1);
    place
        .try_at(later, "bundle export --dir {}/ca --format jwks --out {}/new.json")
        .unwrap();
    place.run("bundle import {}/new.json --trust-domain aws.acme.example --bundles {}/bundles");
    let (error, code) =
        place.fail("bundle import {}/old.json --trust-domain aws.acme.example --bundles {}/bundles --replace");
    assert!(
        error.contains("old.json") && error.contains("is older than") && code == 2,
        "{error}"
    );
    place.run("bundle import {}/new.json --trust-domain aws.acme.example --bundles {}/bundles --replace");
}

#[test]
fn a_refusal_is_exit_code_1_and_bad_input_is_2() {
    let place = Place::new();
    place.run(TWO_SITES);
    #[rustfmt::skip]
    let table = [
        ("--peer gcp=azure.acme.example",                            "not a configured peer", 1),
        ("--peer azure=aws.acme.example",                            "configured here with trust domain aws", 1),
        ("--peer azure=azure.acme.example --expect-site aws",        "site `aws` was dialled", 1),
        ("--at 2036-01-01T00:00:00Z",                                "expired at 2027-02-19T12:00:00Z", 1),
        ("--at 2020-01-01T00:00:00Z --role client",                  "not valid before 2026-11-21T11:55:00Z", 1),
        ("--at tomorrow",                                            "--at tomorrow", 2),
    ];
    for (arguments, why, code) in table {
        let line = format!("verify --cert {{}}/azure/gateway.crt --bundles {{}}/aws/bundles {arguments}");
        let (error, exit) = place.fail(&line);
        assert!(error.contains(why), "{error}");
        assert_eq!(exit, code, "{error}");
    }
    fs::write(place.path("aws/bundles/gcp.example.pem"), "rubbish").unwrap();
    let (error, code) = place.fail("verify --cert {}/azure/gateway.crt --bundles {}/aws/bundles");
    assert!(error.contains("gcp.example.pem") && code == 2, "{error}");
    assert_eq!(place.fail("verify --cert {}/nothing --bundles {}/azure/bundles").1, 2);
}

#[test]
fn a_renewal_keeps_the_identity_changes_the_key_and_loses_nothing() {
    let place = Place::new();
    place.run(TWO_SITES);
    let before = credentials_of(place.0.path(), "aws");
    let late = NOW + Duration::days(200);
    let line = "renew --dir {}/aws/ca --cert {}/aws/gateway.crt --key {}/aws/gateway.key";
    let said = place.try_at(late, line).unwrap();
    let after = credentials_of(place.0.path(), "aws");
    assert_eq!(after.identity(), before.identity());
    assert_ne!(after.serial(), before.serial());
    assert_eq!(
        after.not_after(),
        late + Duration::days(90),
        "an expired certificate locks nobody out"
    );
    assert_eq!(after.wide_mode(), None);
    assert!(said.contains(before.serial()), "{said}");
    let kept = |name: &str| place.path(&format!("aws/{name}.{}", before.serial()));
    let old = Credentials::load(&kept("gateway.crt"), &kept("gateway.key"), &provider()).unwrap();
    assert_eq!(old.serial(), before.serial());
}

#[test]
fn a_revoked_certificate_is_refused_by_peers_and_is_not_renewed() {
    let place = Place::new();
    place.run(TWO_SITES);
    let said = place.run("revoke --dir {}/aws/ca --cert {}/aws/gateway.crt");
    assert!(said.contains("aws.acme.example.crl"), "{said}");
    fs::copy(
        place.path("aws/ca/aws.acme.example.crl"),
        place.path("azure/bundles/aws.acme.example.crl"),
    )
    .unwrap();
    let (error, code) = place.fail("verify --cert {}/aws/gateway.crt --bundles {}/azure/bundles");
    assert!(error.contains("its certificate is revoked") && code == 1, "{error}");
    let (error, _) = place.fail("renew --dir {}/aws/ca --cert {}/aws/gateway.crt --key {}/aws/gateway.key");
    assert!(error.contains("revoked"), "{error}");
    assert!(place.run("inspect {}/aws/ca/aws.acme.example.crl").contains("revoked"));
    assert!(
        place
            .fail("revoke --dir {}/aws/ca --cert {}/azure/gateway.crt")
            .0
            .contains("no certificate with serial")
    );
}

#[test]
fn a_rotation_says_at_each_step_what_comes_next() {
    let place = Place::new();
    place.run(TWO_SITES);
    assert!(
        place
            .run("rotate status --dir {}/aws/ca")
            .contains("no rotation is under way")
    );
    assert!(
        place
            .run("rotate prepare --dir {}/aws/ca")
            .contains("next: import the bundle")
    );
    let peer = "--peer-bundle {}/azure/bundles/aws.acme.example.pem";
    let (error, code) = place.fail(&format!("rotate activate --dir {{}}/aws/ca {peer}"));
    assert!(
        error.contains("azure/bundles/aws.acme.example.pem") && code == 2,
        "{error}"
    );
    fs::write(place.path("new.pem"), place.run("bundle export --dir {}/aws/ca")).unwrap();
    place.run("bundle import {}/new.pem --trust-domain aws.acme.example --bundles {}/azure/bundles --replace");
    assert!(
        place
            .run(&format!("rotate activate --dir {{}}/aws/ca {peer}"))
            .contains("next: renew every gateway")
    );
    let (error, _) = place.fail("rotate finish --dir {}/aws/ca");
    assert!(error.contains("still valid: 1,"), "{error}");
    let before = credentials_of(place.0.path(), "aws");
    place.run("renew --dir {}/aws/ca --cert {}/aws/gateway.crt --key {}/aws/gateway.key");
    place.run(&format!("revoke --dir {{}}/aws/ca --serial {}", before.serial()));
    assert!(
        place
            .run("rotate finish --dir {}/aws/ca")
            .contains("no rotation is under way")
    );
    place.run("verify --cert {}/aws/gateway.crt --bundles {}/azure/bundles");
}

#[test]
fn a_request_is_signed_with_the_names_of_the_arguments() {
    let place = Place::new();
    place.run("init --trust-domain aws.acme.example --dir {}/ca");
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    fs::write(place.path("r.pem"), request).unwrap();
    fs::write(place.path("k.pem"), key.serialize_pem()).unwrap();
    place.run("sign --csr {}/r.pem --site aws --gateway gw-3 --dir {}/ca --out {}/c.pem");
    let credentials = Credentials::load(&place.path("c.pem"), &place.path("k.pem"), &provider()).unwrap();
    assert_eq!(credentials.identity().gateway(), Some("gw-3"));
    assert!(place.run("inspect {}/r.pem").contains("proves its key"));
}

#[test]
fn what_is_inspected_cannot_reach_the_terminal() {
    let place = Place::new();
    let azure = crate::testing::Forge::new("azure.acme.example");
    let forged = azure.leaf("azure", |params| {
        crate::testing::raw_uris(params, &[b"spiffe://a\x1b[2Jb\nc", b"\xff"])
    });
    fs::write(place.path("c.pem"), forged.chain_pem()).unwrap();
    let seen = place.run("inspect {}/c.pem");
    assert!(!seen.contains('\x1b') && seen.contains("\\u{1b}[2Jb\\nc"), "{seen}");
    fs::write(place.path("x.pem"), "hello").unwrap();
    assert!(place.fail("inspect {}/x.pem").0.contains("x.pem"));
}
