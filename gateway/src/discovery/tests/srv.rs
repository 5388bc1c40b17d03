//! SRV answers, and the shapes in which Consul and Kubernetes give them.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::server::{Reply, Server, address, of_kind, srv};
use super::*;

#[tokio::test]
async fn srv_priority_is_the_tier_and_weight_the_share() {
    let name = "_grpc._tcp.orders.internal.";
    let server = Server::start(move |asked, kind| match (asked, kind) {
        (_, RecordType::SRV) => Reply::Answer(vec![
            srv(name, 60, 10, 1, 50053, "spare.internal."),
            srv(name, 60, 0, 30, 50051, "a.internal."),
            srv(name, 60, 0, 10, 50052, "b.internal."),
            srv(name, 60, 0, 10, 50052, "."),
            srv(name, 60, 0, 10, 0, "b.internal."),
            srv(name, 60, 0, 10, 1, "gone.internal."),
        ]),
        ("a.internal.", RecordType::A) => of_kind(asked, kind, 60, &["10.0.0.1", "10.0.0.2"]),
        ("b.internal.", RecordType::A) => of_kind(asked, kind, 60, &["10.0.0.3"]),
        ("spare.internal.", RecordType::AAAA) => of_kind(asked, kind, 60, &["fd00::1"]),
        ("gone.internal.", _) => Reply::Code(ResponseCode::NXDomain),
        _ => Reply::Answer(Vec::new()),
    })
    .await;
    let watched = discovery(&dns(&server)).watch(&service("_grpc._tcp.orders.internal"));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    let found: Vec<_> = answer
        .endpoints
        .iter()
        .map(|endpoint| {
            let address = endpoint.address.to_string();
            (address, endpoint.priority, endpoint.weight, endpoint.host.to_string())
        })
        .collect();
    let expected = [
        ("10.0.0.1:50051", 0, 30, "a.internal"),
        ("10.0.0.2:50051", 0, 30, "a.internal"),
        ("10.0.0.3:50052", 0, 20, "b.internal"),
        ("[fd00::1]:50053", 10, 1, "spare.internal"),
    ]
    .map(|(address, priority, weight, host)| (address.to_owned(), priority, weight, host.to_owned()));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_srv_target_that_cannot_be_looked_up_keeps_its_last_addresses() {
    let name = "_x._tcp.h.";
    let script = move |second: Reply| {
        move |asked: &str, kind| match (asked, kind) {
            (_, RecordType::SRV) => Reply::Answer(vec![srv(name, 0, 0, 1, 1, "a.h."), srv(name, 0, 0, 1, 2, "b.h.")]),
            ("a.h.", RecordType::A) => of_kind(asked, kind, 0, &["10.0.0.1"]),
            ("b.h.", _) => second.clone(),
            _ => Reply::Answer(Vec::new()),
        }
    };
    let server = Server::start(script(Reply::Answer(vec![address("b.h.", 0, "10.0.0.2")]))).await;
    let watched = discovery(&hasty(&server)).watch(&service("_x._tcp.h"));
    until(&watched, |answer| answer.endpoints.len() == 2).await;
    server.say(script(Reply::Silence));
    let before = watched.stats().answered();
    eventually(|| watched.stats().answered() > before + 1).await;
    assert_eq!(addresses(&watched.current()), ["10.0.0.1:1", "10.0.0.2:2"]);
    // That it is gone is an answer.
    server.say(script(Reply::Code(ResponseCode::NXDomain)));
    until(&watched, |answer| addresses(answer) == ["10.0.0.1:1"]).await;
}

#[tokio::test]
async fn an_srv_answer_that_says_the_service_is_not_there_is_empty() {
    let server = Server::start(|name, _| Reply::Answer(vec![srv(name, 60, 0, 0, 0, ".")])).await;
    let watched = discovery(&dns(&server)).watch(&service("_x._tcp.h"));
    let answer = until(&watched, |answer| answer.state != State::Pending).await;
    assert_eq!(answer.state, State::Failed { why: Failure::Empty });
}

#[tokio::test]
async fn consul_is_used_through_its_a_and_srv_answers() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("orders.service.consul.", RecordType::A) => of_kind(name, kind, 0, &["10.1.0.11", "10.1.0.12"]),
        ("_orders._tcp.service.consul.", RecordType::SRV) => Reply::With(
            vec![
                srv(name, 0, 1, 1, 21000, "0a01000b.addr.dc1.consul."),
                srv(name, 0, 1, 1, 21001, "node2.node.dc1.consul."),
            ],
            vec![
                address("0a01000b.addr.dc1.consul.", 0, "10.1.0.11"),
                address("node2.node.dc1.consul.", 0, "10.1.0.12"),
            ],
        ),
        _ => Reply::Answer(Vec::new()),
    })
    .await;
    let discovery = discovery(&dns(&server));
    let plain = discovery.watch(&host("orders.service.consul", 8080));
    let answer = until(&plain, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["10.1.0.11:8080", "10.1.0.12:8080"]);
    let watched = discovery.watch(&service("_orders._tcp.service.consul"));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["10.1.0.11:21000", "10.1.0.12:21001"]);
    assert_eq!(&*answer.endpoints[1].host, "node2.node.dc1.consul");
    let nodes = server
        .asked()
        .iter()
        .filter(|asked| asked.name.contains("node2"))
        .count();
    assert_eq!(nodes, 0, "what came along is not asked for");
}

#[tokio::test]
async fn kubernetes_is_used_through_headless_and_cluster_ip_services() {
    const HEADLESS: &str = "_grpc._tcp.orders.ns.svc.cluster.local.";
    let server = Server::start(|name, kind| match (name, kind) {
        ("orders.ns.svc.cluster.local.", RecordType::A) => of_kind(name, kind, 30, &["10.96.0.17"]),
        (HEADLESS, RecordType::SRV) => Reply::With(
            vec![
                srv(name, 30, 0, 50, 50051, "10-244-0-5.orders.ns.svc.cluster.local."),
                srv(name, 30, 0, 50, 50051, "orders-0.orders.ns.svc.cluster.local."),
            ],
            vec![address("10-244-0-5.orders.ns.svc.cluster.local.", 30, "10.244.0.5")],
        ),
        ("orders-0.orders.ns.svc.cluster.local.", RecordType::A) => of_kind(name, kind, 30, &["10.244.0.6"]),
        _ => Reply::Answer(Vec::new()),
    })
    .await;
    let discovery = discovery(&dns(&server));
    let cluster = discovery.watch(&host("orders.ns.svc.cluster.local", 50051));
    let answer = until(&cluster, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["10.96.0.17:50051"]);
    let watched = discovery.watch(&service("_grpc._tcp.orders.ns.svc.cluster.local"));
    let answer = until(&watched, |answer| answer.state == State::Fresh).await;
    assert_eq!(addresses(&answer), ["10.244.0.5:50051", "10.244.0.6:50051"]);
    assert!(answer.endpoints.iter().all(|endpoint| endpoint.weight == 50));
    // A rollout: other pods.
    server.say(|name, kind| match kind {
        RecordType::SRV => Reply::With(
            vec![srv(name, 30, 0, 100, 50051, "10-244-0-9.orders.ns.svc.cluster.local.")],
            vec![address("10-244-0-9.orders.ns.svc.cluster.local.", 30, "10.244.0.9")],
        ),
        _ => Reply::Answer(Vec::new()),
    });
    until(&watched, |answer| addresses(answer) == ["10.244.0.9:50051"]).await;
}
