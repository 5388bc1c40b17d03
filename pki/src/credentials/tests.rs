use std::fs;
use std::path::PathBuf;

use super::*;
use crate::testing::{Forge, Forged, NOW};
use crate::tls::provider;

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn of(forged: &Forged) -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(files.certificate(), forged.chain_pem()).unwrap();
        crate::store::create(
            &files.key(),
            forged.key.serialize_pem().as_bytes(),
            crate::store::Secrecy::Private,
        )
        .unwrap();
        files
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("gateway.crt")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("gateway.key")
    }

    fn load(&self) -> Result<Credentials, CredentialsError> {
        Credentials::load(&self.certificate(), &self.key(), &provider())
    }
}

#[test]
fn credentials_tell_whose_they_are_and_until_when() {
    let azure = Forge::new("azure.acme.example");
    let credentials = Files::of(&azure.leaf("azure", |_| {})).load().unwrap();
    assert_eq!(
        credentials.identity().as_str(),
        "spiffe://azure.acme.example/site/azure/gateway/gw-1"
    );
    assert_eq!(credentials.not_after(), NOW + crate::issue::LEAF_LIFETIME);
    assert_eq!(credentials.not_before(), NOW - crate::issue::BACKDATE);
    let two_thirds: OffsetDateTime = NOW + crate::issue::LEAF_LIFETIME * 2 / 3;
    assert!((credentials.renew_at() - two_thirds).abs() < time::Duration::minutes(5));
    assert_eq!(credentials.chain().len(), 2);
    assert_eq!(credentials.wide_mode(), None);
}

#[test]
fn an_expired_certificate_can_still_be_read() {
    let azure = Forge::new("azure.acme.example");
    let forged = azure.leaf("azure", |params| {
        (params.not_before, params.not_after) = (NOW - time::Duration::days(9), NOW - time::Duration::days(8));
    });
    assert!(Files::of(&forged).load().unwrap().not_after() < NOW);
}

#[test]
fn every_error_names_the_file_and_the_mend() {
    let azure = Forge::new("azure.acme.example");
    let good = azure.leaf("azure", |_| {});
    let other = azure.leaf("azure", |_| {});
    type Break = Box<dyn Fn(&Files)>;
    let (pem, other_key) = (good.chain_pem(), other.key.serialize_pem());
    let key = good.key.serialize_pem();
    #[rustfmt::skip]
    let table: Vec<(&str, &str, Break)> = vec![
        ("gateway.crt", "reading",              Box::new(|f| fs::remove_file(f.certificate()).unwrap())),
        ("gateway.key", "reading",              Box::new(|f| fs::remove_file(f.key()).unwrap())),
        ("gateway.crt", "holds no certificate", Box::new(move |f| fs::write(f.certificate(), &key).unwrap())),
        ("gateway.key", "holds no private key", Box::new(move |f| fs::write(f.key(), &pem).unwrap())),
        ("gateway.key", "does not belong to",   Box::new(move |f| fs::write(f.key(), &other_key).unwrap())),
        ("gateway.crt", "not PEM",              Box::new(|f| fs::write(f.certificate(), "-----BEGIN CERTIFICATE-----\nMI").unwrap())),
        ("gateway.key", "private key",          Box::new(|f| fs::write(f.key(), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n").unwrap())),
        ("gateway.key", "it is encrypted",      Box::new(|f| fs::write(f.key(), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap())),
        ("gateway.crt", "larger than",          Box::new(|f| fs::write(f.certificate(), vec![b'a'; MAX_FILE + 1]).unwrap())),
    ];
    for (file, why, damage) in table {
        let files = Files::of(&good);
        damage(&files);
        let error = files.load().expect_err(why);
        let text = error.to_string();
        assert!(text.contains(why), "{why}: {text}");
        assert!(text.contains(file), "{text}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_certificate_that_peers_would_refuse_is_not_loaded() {
    let azure = Forge::new("azure.acme.example");
    let forged = azure.leaf("azure", |params| {
        params.subject_alt_names.push(params.subject_alt_names[0].clone())
    });
    let error = Files::of(&forged).load().unwrap_err().to_string();
    assert!(
        error.contains("gateway.crt") && error.contains("2 URI names"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn i9_a_key_that_others_may_read_is_told_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let azure = Forge::new("azure.acme.example");
    let files = Files::of(&azure.leaf("azure", |_| {}));
    fs::set_permissions(files.key(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(files.load().unwrap().wide_mode(), Some(0o644));
}

#[test]
fn a_private_key_is_never_shown() {
    let azure = Forge::new("azure.acme.example");
    let forged = azure.leaf("azure", |_| {});
    let shown = format!("{:?}", Files::of(&forged).load().unwrap());
    assert!(
        shown.starts_with("Credentials { identity: Identity(spiffe://"),
        "{shown}"
    );
    assert!(shown.len() < 250, "{shown}");
}
