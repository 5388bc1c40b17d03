use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Later than any clock of a test.
const LATER: u64 = u64::MAX / 4;

fn spend(quotas: &Arc<Quotas>, key: &str, cost: u64) -> u64 {
    use std::hash::Hasher;
    let rule = quotas.rule(&["orders", "default", "month"]);
    let mut hasher = rule.hasher();
    hasher.write(key.as_bytes());
    rule.charge(&hasher, cost, 0, LATER)
}

#[test]
fn what_was_saved_is_there_after_a_restart_and_what_was_not_is_lost() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    for _ in 0..3 {
        spend(store.quotas(), "a", 2);
        store.save().unwrap();
    }
    spend(store.quotas(), "b", 5);
    store.save().unwrap();
    spend(store.quotas(), "b", 100);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!((spend(store.quotas(), "a", 1), spend(store.quotas(), "b", 1)), (7, 6));
}

#[test]
fn two_gateways_cannot_have_one_directory() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(_))));
    drop(store);
    Store::open(folder.path()).unwrap();
}

#[test]
fn the_list_stays_short_however_often_it_changes() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    for _ in 0..3 * FEW {
        spend(store.quotas(), "a", 1);
        store.lines += 1;
        if store.lines >= FEW - 1 {
            store.save().unwrap();
        }
    }
    store.save().unwrap();
    assert!(store.lines < FEW, "{}", store.lines);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(spend(store.quotas(), "a", 0), 3 * FEW as u64);
}

#[test]
fn a_torn_end_is_left_out_and_what_is_not_ours_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("quotas");
    let mut store = Store::open(folder.path()).unwrap();
    spend(store.quotas(), "a", 12_345);
    store.save().unwrap();
    drop(store);
    let whole = fs::read(&file).unwrap();
    fs::write(
        &file,
        [&whole[..], b"00000000000000000000000000000001 99999999999 12"].concat(),
    )
    .unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(spend(store.quotas(), "a", 0), 12_345);
    drop(store);
    fs::write(&file, &whole[..whole.len() - 2]).unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(spend(store.quotas(), "a", 0), 0, "half a number is no number");
    drop(store);
    for foreign in [
        "",
        "hello\n",
        "causeway quotas 2 00000000000000000000000000000000\n",
        "causeway quotas 1 12\n",
    ] {
        fs::write(&file, foreign).unwrap();
        assert!(
            matches!(Store::open(folder.path()), Err(StoreError::Foreign(_))),
            "{foreign}"
        );
    }
}

#[test]
fn a_disk_that_fails_loses_nothing_that_is_still_in_memory() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    spend(store.quotas(), "a", 3);
    // Nothing can be written to a file that is open for reading.
    store.list = Some(File::open(folder.path().join("quotas")).unwrap());
    store.save().unwrap_err();
    store.save().unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(spend(store.quotas(), "a", 0), 3);
}

proptest! {
    #[test]
    fn no_file_makes_reading_fail_in_another_way_than_it_says(text in prop::collection::vec(any::<u8>(), 0..400)) {
        parse(&text, 0);
        let head = format!("{HEAD}{:032x}\n", 7);
        prop_assert!(parse(&[head.as_bytes(), &text].concat(), 0).is_some());
    }
}
