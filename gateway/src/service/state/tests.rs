use std::time::Duration;

use super::*;

fn service(text: &str) -> config::Service {
    let text = format!(
        "site = {{ name = 'a', trust_domain = 'a.example' }}\nlisteners = [{{ name = 'p', bind = '127.0.0.1:0' }}]\n\
         [[services]]\nname = 's'\nprotocol = 'http'\nendpoints = ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1']\n{text}"
    );
    let config = causeway_config::load_str("test", &text).unwrap_or_else(|problems| panic!("{problems}"));
    config.services.into_iter().next().unwrap()
}

fn found(last: u8) -> discovery::Endpoint {
    discovery::Endpoint {
        address: SocketAddr::from(([10, 0, 0, last], 1)),
        weight: 1,
        priority: 0,
        host: "x".into(),
    }
}

#[test]
fn what_is_known_survives_a_reload_by_name_and_address() {
    let states = ServiceStates::new(&Registry::new(0));
    let spec = service("outlier = { consecutive = 1 }");
    let rule = spec.outlier.clone().unwrap();
    let before = states.service(&spec.name);
    before.has_endpoints(3);
    let endpoint = before.endpoint(&found(1), &spec);
    endpoint.failed(&rule);
    assert!(endpoint.is_ejected());
    let after = states.service(&"s".into());
    assert!(Arc::ptr_eq(&before, &after));
    assert!(!after.endpoint(&found(1), &spec).is_usable());
    assert!(
        after.endpoint(&found(2), &spec).is_usable(),
        "another address is another endpoint"
    );
    assert!(!Arc::ptr_eq(&after, &states.service(&"t".into())));
    drop((before, after, endpoint));
    assert!(
        states.service(&spec.name).endpoint(&found(1), &spec).is_usable(),
        "forgotten with its last holder"
    );
}

#[test]
fn ejections_stay_below_their_share_and_places_come_back() {
    let states = ServiceStates::new(&Registry::new(0));
    let spec = service("outlier = { consecutive = 1, max_ejected_percent = '70%' }");
    let rule = spec.outlier.clone().unwrap();
    let state = states.service(&spec.name);
    state.has_endpoints(3);
    let endpoints: Vec<_> = (1..=3).map(|last| state.endpoint(&found(last), &spec)).collect();
    for endpoint in &endpoints {
        endpoint.failed(&rule);
    }
    let usable = || endpoints.iter().filter(|endpoint| endpoint.is_usable()).count();
    assert_eq!(usable(), 1, "70 percent of three are two");
    let changes = state.changes();
    endpoints[0].uneject();
    assert!(state.changes() > changes, "workers are told");
    endpoints[2].failed(&rule);
    assert_eq!(usable(), 1, "the place is taken again");
    drop(endpoints);
    assert_eq!(
        state.ejected.load(Ordering::Relaxed),
        0,
        "the place of one that is gone is free"
    );
}

#[test]
fn an_endpoint_is_usable_when_neither_checks_nor_calls_speak_against_it() {
    let registry = Registry::new(0);
    let states = ServiceStates::new(&registry);
    let spec = service("health = { kind = 'tcp', start = 'unhealthy' }\noutlier = { consecutive = 1 }");
    let rule = spec.outlier.clone().unwrap();
    let state = states.service(&spec.name);
    state.has_endpoints(3);
    let endpoint = state.endpoint(&found(1), &spec);
    let shown = || registry.render(crate::telemetry::metrics::Format::Prometheus, Instant::now());
    let line = |value: u8| format!("causeway_endpoint_healthy{{service=\"s\",endpoint=\"10.0.0.1:1\"}} {value}");
    assert!(!endpoint.is_usable(), "not checked yet");
    assert!(shown().contains(&line(0)), "{}", shown());
    endpoint.set_healthy(true);
    assert!(endpoint.is_usable());
    assert!(shown().contains(&line(1)));
    endpoint.failed(&rule);
    endpoint.set_healthy(false);
    endpoint.uneject();
    assert!(!endpoint.is_usable(), "still unwell");
    endpoint.set_healthy(true);
    assert!(endpoint.is_usable());
    assert_eq!(rule.base_ejection, Duration::from_secs(30));
}
