//! `[redis]`: limits that several gateways of a site share, and what they do while the server is away.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::clients::{grpc, http, say, websocket};
use crate::place::{Place, Where, until};

/// A server of its own for a test.
#[derive(Debug)]
struct Redis {
    server: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    /// None where it is not installed: then the test is skipped by name, and in CI it fails.
    fn start(test: &str) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = TempDir::new().unwrap();
        let started = Command::new("redis-server")
            .args([
                "--port",
                &address.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn();
        let Ok(server) = started else {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
            println!("test {test} ... skipped: redis-server is not installed");
            return None;
        };
        let redis = Self {
            server,
            address,
            _folder: folder,
        };
        until("the server listens", || TcpStream::connect(address).is_ok());
        Some(redis)
    }

    fn tables(&self, more: &str) -> String {
        format!("[redis]\nurl = \"redis://{}\"\n{more}\n", self.address)
    }

    fn signal(&self, signal: &str) {
        let id = self.server.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// Answers of this status to so many calls on each of these gateways at once.
fn count(addresses: &[SocketAddr], calls: usize, status: u16) -> usize {
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for address in addresses {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..calls / 4 {
                        if http(*address, "/bytes/1", &[]).status == status {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        }
    });
    count.into_inner()
}

#[test]
fn two_gateways_at_ten_times_the_limit_admit_it_once_together() {
    let Some(redis) = Redis::start("two_gateways_at_ten_times_the_limit_admit_it_once_together") else {
        return;
    };
    // A busy machine must not make this a test of `on_error`.
    let tables = redis.tables("timeout = \"5s\"\non_error = \"refuse\"");
    let rules = "[routes.rate_limit]\nrate = \"100/1h\"\nkey = \"route\"\n";
    let places = [(); 2].map(|()| Place::start(Where::Here, &tables, rules));
    let addresses = places.each_ref().map(Place::address);
    let began = Instant::now();
    let admitted = count(&addresses, 500, 200);
    let most = 100 + (began.elapsed().as_secs() / 36) as usize;
    println!("redis: 1000 calls to two gateways at a limit of 100: {admitted} admitted");
    assert!((98..=most).contains(&admitted), "{admitted}");
    let refused = http(addresses[0], "/bytes/1", &[]);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.field("ratelimit-policy"), Some("\"default\";q=100;w=3600"));
    assert!(refused.field("ratelimit").unwrap().starts_with("\"default\";r=0;t="));
    assert!(refused.field("retry-after").unwrap().parse::<u64>().unwrap() <= 36);
    for place in places {
        place.drain();
    }
}

#[test]
fn shared_limits_hold_in_every_protocol_locally_and_through_a_tunnel() {
    let Some(redis) = Redis::start("shared_limits_hold_in_every_protocol_locally_and_through_a_tunnel") else {
        return;
    };
    for at in Where::ALL {
        let name = if at == Where::Here { "here" } else { "behind" };
        let rules = format!(
            "[routes.rate_limit]\nname = \"{name}\"\nrate = \"3/1h\"\n[routes.quota]\nname = \"{name}\"\nrequests = 2\nper = \"month\"\n"
        );
        let place = Place::start(at, &redis.tables("timeout = \"5s\"\non_error = \"refuse\""), &rules);
        let address = place.address();
        let statuses = [(); 4].map(|()| http(address, "/bytes/1", &[]).status);
        assert_eq!(statuses, [200, 200, 429, 429], "{at:?}");
        let answer = http(address, "/bytes/1", &[]);
        assert!(
            answer.body.contains("rate_limited"),
            "the quota was asked until the rate was spent: {}",
            answer.body
        );
        let statuses = [(); 3].map(|()| websocket(address, "/echo", &[]).0.status);
        assert_eq!(statuses, [101, 101, 429], "{at:?}");
        let mut client = grpc(address);
        let codes = [(); 3].map(|()| say(&mut client, &[]).err().map(|status| status.code()));
        assert_eq!(codes, [None, None, Some(tonic::Code::ResourceExhausted)], "{at:?}");
        place.drain();
    }
}

#[test]
fn a_server_that_is_away_follows_the_stated_policy_and_stalls_nobody() {
    let Some(redis) = Redis::start("a_server_that_is_away_follows_the_stated_policy_and_stalls_nobody") else {
        return;
    };
    let rules = "[routes.rate_limit]\nrate = \"5/1h\"\nkey = \"route\"\n";
    for (policy, statuses) in [
        ("allow", [200; 8]),
        ("refuse", [503; 8]),
        ("local", [200, 200, 200, 200, 200, 429, 429, 429]),
    ] {
        let tables = redis.tables(&format!("timeout = \"50ms\"\non_error = \"{policy}\""));
        let place = Place::start(Where::Here, &tables, rules);
        // Stopped, it takes connections and never answers: worse than none.
        redis.signal("-STOP");
        let began = Instant::now();
        let told = [(); 8].map(|()| http(place.address(), "/bytes/1", &[]).status);
        assert_eq!(told, statuses, "{policy}");
        // Five wait for 50 ms, and then nobody asks any more.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(http(place.address(), "/unlimited", &[]).status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "another route is not held up");
        redis.signal("-CONT");
        place.drain();
    }
}

#[test]
fn a_server_that_comes_back_counts_again() {
    let Some(mut redis) = Redis::start("a_server_that_comes_back_counts_again") else {
        return;
    };
    let rules = "[routes.rate_limit]\nrate = \"1000/1h\"\nkey = \"route\"\n";
    let place = Place::start(
        Where::Here,
        &redis.tables("timeout = \"1s\"\non_error = \"refuse\""),
        rules,
    );
    assert_eq!(http(place.address(), "/bytes/1", &[]).status, 200);
    redis.server.kill().unwrap();
    redis.server.wait().unwrap();
    until("calls are refused", || {
        http(place.address(), "/bytes/1", &[]).status == 503
    });
    redis.server = Command::new("redis-server")
        .args([
            "--port",
            &redis.address.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("calls pass again", || {
        http(place.address(), "/bytes/1", &[]).status == 200
    });
    assert!(
        place
            .metric("causeway_shared_counters_total{result=\"failed\"}")
            .unwrap()
            >= 1.0
    );
    place.drain();
}
