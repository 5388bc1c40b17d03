use super::*;
use crate::cache::entry::tests::stored;
use crate::cache::key::Vary;
use crate::error::CallError;

fn key(uri: &str, scope: &str) -> Key {
    Key {
        uri: Arc::from(uri.as_bytes()),
        scope: Arc::from(scope.as_bytes()),
    }
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        fields.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    fields
}

fn lead(store: &Arc<Store>, key: &Key) -> Ticket {
    match store.join(key) {
        Joined::Leads(ticket) => ticket,
        Joined::Waits(_) => panic!("somebody else fetches"),
    }
}

/// Keeps a body under a key.
fn put(store: &Arc<Store>, uri: &str, body: &str) {
    let ticket = lead(store, &key(uri, ""));
    ticket.reply(&Arc::new(stored(body, 60, 0)), &Fields::new());
}

fn get(store: &Store, uri: &str) -> Option<String> {
    match store.find(&key(uri, ""), &Fields::new(), Instant::now()) {
        Found::Reply(stored) => Some(String::from_utf8(stored.body.to_vec()).unwrap()),
        _ => None,
    }
}

#[test]
fn what_was_kept_is_found_under_its_own_key_only() {
    let store = Arc::new(Store::new(1 << 20));
    put(&store, "http://a/1", "one");
    put(&store, "http://a/2", "two");
    assert_eq!(get(&store, "http://a/1").as_deref(), Some("one"));
    assert_eq!(get(&store, "http://a/2").as_deref(), Some("two"));
    assert_eq!(get(&store, "http://a/"), None);
    let other = store.find(&key("http://a/1", "other"), &Fields::new(), Instant::now());
    assert!(matches!(other, Found::Nothing), "another scope is another key");
    assert_eq!(store.entries(), 2);
    put(&store, "http://a/1", "three");
    assert_eq!(
        (store.entries(), get(&store, "http://a/1").as_deref()),
        (2, Some("three"))
    );
}

#[test]
fn c3_the_budget_holds_and_what_is_used_stays_longest() {
    let store = Arc::new(Store::new(64 * 1024));
    let body = "x".repeat(1000);
    put(&store, "http://a/hot", &body);
    for at in 0..1000 {
        put(&store, &format!("http://a/{at}"), &body);
        assert!(store.used() <= 64 * 1024, "{} bytes", store.used());
        assert!(get(&store, "http://a/hot").is_some(), "after {at} others");
    }
    assert!(store.entries() > 20, "{} entries", store.entries());
    assert_eq!(store.gone(Gone::Evicted) + store.entries(), 1001);
    store.resize(1);
    assert_eq!((store.used(), store.entries()), (0, 0));
}

#[test]
fn c3_a_key_has_no_more_variants_than_allowed() {
    let store = Arc::new(Store::new(1 << 20));
    let key = key("http://a/", "");
    for at in 0..100 {
        let request = fields(&[("accept", &format!("text/{at}"))]);
        let mut reply = stored("x", 60, 0);
        reply.vary = Vary::of(&fields(&[("vary", "accept")]), &request).unwrap();
        lead(&store, &key).reply(&Arc::new(reply), &request);
    }
    assert_eq!(store.entries(), VARIANTS as u64);
    let now = Instant::now();
    let newest = fields(&[("accept", "text/99")]);
    assert!(matches!(store.find(&key, &newest, now), Found::Reply(_)));
    let oldest = fields(&[("accept", "text/0")]);
    assert!(matches!(store.find(&key, &oldest, now), Found::OtherVariant));
}

#[test]
fn one_call_fetches_and_the_others_hear_of_it() {
    let store = Arc::new(Store::new(1 << 20));
    let key = key("http://a/", "");
    for case in ["reply", "failed", "dropped", "pass"] {
        let ticket = lead(&store, &key);
        let Joined::Waits(waiter) = store.join(&key) else {
            panic!("two fetch")
        };
        let request = Fields::new();
        match case {
            "reply" => ticket.reply(&Arc::new(stored("x", 60, 0)), &request),
            "failed" => ticket.fail(&CallError::new(causeway_protocols::FailureKind::Connect, "no")),
            "pass" => ticket.pass(&request),
            _ => drop(ticket),
        }
        let fits = match &*waiter.borrow() {
            Landed::Reply(_) => case == "reply",
            Landed::Failed(_) => case == "failed",
            Landed::Released => case == "dropped" || case == "pass",
            Landed::Flying => false,
        };
        assert!(fits, "{case}");
        drop(lead(&store, &key));
    }
    assert!(matches!(store.find(&key, &Fields::new(), Instant::now()), Found::Pass));
    let later = Instant::now() + PASS;
    assert!(matches!(store.find(&key, &Fields::new(), later), Found::OtherVariant));
}

#[test]
fn a_purge_takes_what_it_names_and_dooms_what_is_on_its_way() {
    let store = Arc::new(Store::new(1 << 20));
    let fill = || {
        store.purge(Purge::All, Gone::Purged);
        for uri in ["http://a/x/1", "http://a/x/2", "http://a/y", "http://b/x/1"] {
            put(&store, uri, uri);
        }
        let mut tagged = stored("tagged", 60, 0);
        tagged.tags = Box::new(["news".into(), "sport".into()]);
        lead(&store, &key("http://b/tagged", "s")).reply(&Arc::new(tagged), &Fields::new());
    };
    for (what, count) in [
        (Purge::Uri(b"http://a/x/1"), 1),
        (Purge::Uri(b"http://a/x"), 0),
        (Purge::Prefix(b"http://a/x"), 2),
        (Purge::Prefix(b"http://a/"), 3),
        (Purge::Tag("sport"), 1),
        (Purge::Tag("spor"), 0),
        (Purge::All, 5),
    ] {
        fill();
        let late = key("http://a/x/1", "late");
        let ticket = lead(&store, &late);
        assert_eq!(store.purge(what, Gone::Purged), count, "{what:?}");
        let concerns = !matches!(what, Purge::Uri(uri) if uri != b"http://a/x/1");
        assert_eq!(ticket.is_doomed(), concerns, "{what:?}");
        // Who comes after the purge does not wait for what began before it.
        assert_eq!(matches!(store.join(&late), Joined::Leads(_)), concerns, "{what:?}");
        ticket.reply(&Arc::new(stored("old", 60, 0)), &Fields::new());
        let found = store.find(&late, &Fields::new(), Instant::now());
        assert_eq!(matches!(found, Found::Reply(_)), !concerns, "{what:?}");
    }
}

#[test]
fn what_is_on_its_way_is_bounded_by_a_quarter_of_the_budget() {
    let store = Store::new(4000);
    assert!(store.arrive(600));
    assert!(!store.arrive(600));
    assert!(store.arrive(400));
    store.arrived(600);
    assert!(store.arrive(600));
}
