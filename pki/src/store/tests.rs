use super::*;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn i9_a_file_is_never_overwritten_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.key");
    create(&path, b"first", Secrecy::Private).unwrap();
    let error = create(&path, b"second", Secrecy::Private).unwrap_err();
    assert!(matches!(&error, StoreError::Exists { path: at } if *at == path));
    assert!(error.to_string().contains("gateway.key") && !error.hint().is_empty());
    assert_eq!(read(&path).unwrap(), b"first");
    assert_eq!(names(directory.path()), ["gateway.key"]);
}

#[cfg(unix)]
#[test]
fn i9_a_dangling_link_is_not_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.key");
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
    assert!(matches!(
        create(&path, b"secret", Secrecy::Private),
        Err(StoreError::Exists { .. })
    ));
    assert_eq!(names(directory.path()), ["gateway.key"]);
}

#[cfg(unix)]
#[test]
fn i9_keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("a/b");
    make_directory(&place).unwrap();
    create(&place.join("k"), b"", Secrecy::Private).unwrap();
    create(&place.join("c"), b"", Secrecy::Public).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join("k")), 0o600);
    assert_eq!(mode(&place.join("c")) & !0o644, 0, "never wider than asked for");
}

#[test]
fn what_is_replaced_stays_beside_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.crt");
    create(&path, b"old", Secrecy::Public).unwrap();
    replace_and_keep(&path, "7f", b"new", Secrecy::Public).unwrap();
    assert_eq!(read(&path).unwrap(), b"new");
    assert_eq!(read(&directory.path().join("gateway.crt.7f")).unwrap(), b"old");
    assert!(matches!(
        replace_and_keep(&path, "7f", b"newer", Secrecy::Public),
        Err(StoreError::Exists { .. })
    ));
    assert_eq!(read(&path).unwrap(), b"new");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let error = create(Path::new("/nonexistent/x.key"), b"", Secrecy::Private).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/x.key"), "{error}");
    let error = read(Path::new("/nonexistent/x.key")).unwrap_err();
    assert!(error.to_string().contains("reading `/nonexistent/x.key`"), "{error}");
}
