//! Which endpoint gets a call, as a client can see it.

use std::sync::atomic::Ordering;

use crate::backend::Backend;
use crate::support::{Site, service, until};

fn calls(backends: &[Backend]) -> Vec<u32> {
    backends.iter().map(Backend::calls).collect()
}

fn three() -> (Vec<Backend>, Vec<std::net::SocketAddr>) {
    let backends: Vec<_> = (0..3).map(|_| Backend::start()).collect();
    let addresses = backends.iter().map(|backend| backend.address).collect();
    (backends, addresses)
}

#[test]
fn calls_that_are_alike_go_to_the_same_endpoint_on_every_worker() {
    #[rustfmt::skip]
    let table = [
        ("{ header = 'X-Tenant' }", "/x", "x-tenant: KEY\r\n"), ("{ cookie = 'session' }", "/x", "cookie: a=b; session=KEY; c\r\n"),
        ("{ query = 'tenant' }", "/x?a=1&tenant=KEY", ""), ("'address'", "/x", ""),
    ];
    for (hash_on, path, fields) in table {
        let (backends, addresses) = three();
        let more = format!("balance = 'ring-hash'\nhash_on = {hash_on}");
        let site = Site::start("local", 2, &service("http", &addresses, &more));
        let mut used = [false; 3];
        for key in 0..20 {
            let before = calls(&backends);
            for _ in 0..6 {
                let with = |text: &str| text.replace("KEY", &key.to_string());
                assert_eq!(site.ask("GET", &with(path), &with(fields), "").unwrap().status, 200);
            }
            let more: Vec<_> = calls(&backends)
                .iter()
                .zip(&before)
                .map(|(after, before)| after - before)
                .collect();
            let home = more.iter().position(|calls| *calls == 6);
            used[home.unwrap_or_else(|| panic!("{hash_on}: {more:?}"))] = true;
        }
        let wanted = if hash_on == "'address'" { 1 } else { 3 };
        assert_eq!(used.iter().filter(|used| **used).count(), wanted, "{hash_on}");
    }
}

#[test]
fn the_endpoint_that_answers_sooner_gets_nearly_all_calls() {
    let (backends, addresses) = three();
    backends[0].does.pause.store(200, Ordering::Relaxed);
    let site = Site::start("local", 1, &service("http", &addresses, "balance = 'peak-ewma'"));
    for _ in 0..60 {
        assert_eq!(site.get("/x"), 200);
    }
    let calls = calls(&backends);
    assert!(calls[0] <= 3 && calls[1] >= 10 && calls[2] >= 10, "{calls:?}");
}

#[test]
fn endpoints_that_are_new_together_share_alike_while_their_shares_grow() {
    let (backends, addresses) = three();
    let site = Site::start("local", 1, &service("http", &addresses, "slow_start = '1h'"));
    for _ in 0..99 {
        assert_eq!(site.get("/x"), 200);
    }
    let calls = calls(&backends);
    assert!(calls.iter().all(|calls| (32..=34).contains(calls)), "{calls:?}");
}

#[test]
fn a_tier_spills_over_what_its_usable_endpoints_do_not_take() {
    let (backends, addresses) = three();
    let tables = format!(
        "[[services]]\nname = 'backend'\nprotocol = 'http'\nspill_over = '100%'\n\
         endpoints = [{:?}, {:?}, {{ address = {:?}, priority = 1 }}]\n\
         health = {{ kind = 'http', path = '/health', interval = '100ms', unhealthy_threshold = 1 }}\n\
         [[routes]]\nmatch = {{ path_prefix = '/' }}\nto = 'backend'\n",
        addresses[0].to_string(),
        addresses[1].to_string(),
        addresses[2].to_string()
    );
    let site = Site::start("local", 1, &tables);
    for _ in 0..20 {
        assert_eq!(site.get("/x"), 200);
    }
    assert_eq!(backends[2].calls(), 0, "a whole tier keeps all");
    backends[0].does.unwell.store(true, Ordering::Relaxed);
    let series = format!(
        "causeway_endpoint_healthy{{service=\"backend\",endpoint=\"{}\"}}",
        backends[0].address
    );
    until("half a tier is left", || site.metric(&series) == Some(0.0));
    let before = calls(&backends);
    for _ in 0..200 {
        assert_eq!(site.get("/x"), 200);
    }
    let after = calls(&backends);
    assert_eq!(after[0], before[0]);
    let spilled = after[2] - before[2];
    assert!((60..=140).contains(&spilled), "half of 200: {spilled}");
}
