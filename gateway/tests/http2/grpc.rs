//! gRPC by `tonic` clients to `tonic` backends: at one site, and through a tunnel between two.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use causeway_gateway::demo::backend::proto::chat_client::ChatClient;
use causeway_gateway::demo::backend::proto::{
    ChatMessage, CountRequest, FailRequest, SayRequest, SleepRequest, SumRequest,
};
use causeway_gateway::demo::backend::{Backends, Ports};
use causeway_pki::TrustDomain;
use prost::Message;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::site::{Site, beside, connect, request, until};
use crate::wire::{self, HEADERS, Wire};

/// A site with the backends, and perhaps one in front of it.
struct Linked {
    backends: Backends,
    entry: SocketAddr,
    _sites: Vec<Site>,
    _pki: Option<TempDir>,
}

fn service(name: &str, protocol: &str, backend: SocketAddr, more: &str) -> String {
    format!("[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nendpoints = [\"{backend}\"]\n{more}\n")
}

fn routes(at: &str) -> String {
    let mut text = String::new();
    for protocol in ["grpc", "http"] {
        let _ = writeln!(
            text,
            "[[routes]]\nmatch = {{ path_prefix = \"/\", protocol = \"{protocol}\" }}\nto = \"{protocol}{at}\"\n"
        );
    }
    text
}

fn identity(pki: &Path, site: &str) -> String {
    let at = |file: &str| pki.join(site).join(file);
    format!(
        "identity = {{ certificate = {:?}, private_key = {:?}, trust_bundles = {:?} }}\n",
        at("gateway.crt"),
        at("gateway.key"),
        at("bundles")
    )
}

impl Linked {
    async fn start(tunnel: bool) -> Self {
        let backends = Backends::start("test", Ipv4Addr::LOCALHOST.into(), Ports::default())
            .await
            .unwrap();
        let addresses = backends.addresses();
        let services = |more: &str| {
            service("grpc", "grpc", addresses.grpc, more)
                + &service("http", "http", addresses.http, &format!("version = \"http2\"\n{more}"))
        };
        if !tunnel {
            let site = Site::start(&(services("") + &routes(""))).await;
            return Self {
                backends,
                entry: site.address,
                _sites: vec![site],
                _pki: None,
            };
        }
        let pki = TempDir::new().unwrap();
        let domain = |site: &str| TrustDomain::parse(&format!("{site}.acme.example")).unwrap();
        causeway_pki::cli::bootstrap(
            &[("aws".to_owned(), domain("aws")), ("azure".to_owned(), domain("azure"))],
            &["gw-1".to_owned()],
            time::Duration::days(1),
            pki.path(),
            time::OffsetDateTime::now_utc(),
        )
        .unwrap();
        let peer = |site: &str, more: &str| {
            format!("[[peers]]\nsite = \"{site}\"\ntrust_domain = \"{site}.acme.example\"\n{more}\n")
        };
        let azure = identity(pki.path(), "azure")
            + "federation = { bind = \"127.0.0.1:0\" }\n"
            + &peer("aws", "")
            + &services("export_to = [\"aws\"]")
            + &routes("");
        let azure = Site::named("azure", &azure).await;
        let federation = azure.app().bound().federation.unwrap();
        let aws =
            identity(pki.path(), "aws") + &peer("azure", &format!("discover = [\"{federation}\"]")) + &routes("@azure");
        let aws = Site::named("aws", &aws).await;
        Self {
            backends,
            entry: aws.address,
            _sites: vec![aws, azure],
            _pki: Some(pki),
        }
    }

    async fn client(&self) -> ChatClient<Channel> {
        ChatClient::connect(format!("http://{}", self.entry)).await.unwrap()
    }

    fn waiting(&self) -> u64 {
        self.backends.counters().waiting.load(Ordering::Relaxed)
    }
}

async fn all_kinds_of_calls(linked: &Linked) {
    let mut client = linked.client().await;
    let mut say = Request::new(SayRequest {
        text: "hello".to_owned(),
        ..SayRequest::default()
    });
    say.metadata_mut().insert("my-text", "kept".parse().unwrap());
    say.metadata_mut()
        .insert_bin("my-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 255, 7]));
    let said = client.say(say).await.unwrap();
    assert_eq!(
        said.metadata().get_bin("demo-backend-bin").unwrap().to_bytes().unwrap(),
        &[0, 1, 0xff][..]
    );
    let said = said.into_inner();
    assert_eq!(said.text, "hello");
    assert_eq!(said.metadata["my-text"], "kept");
    assert!(said.metadata.contains_key("my-bin"));

    let large = SayRequest {
        reply_bytes: 3 << 20,
        ..SayRequest::default()
    };
    assert_eq!(client.say(large).await.unwrap().into_inner().data.len(), 3 << 20);

    let count = CountRequest {
        to: 5_000,
        ..CountRequest::default()
    };
    let mut counted = client.count(count).await.unwrap().into_inner();
    let mut next = 1;
    while let Some(reply) = counted.message().await.unwrap() {
        assert_eq!(reply.number, next);
        next += 1;
    }
    assert_eq!(next, 5_001);

    let numbers = (1..=1_000).map(|number| SumRequest {
        number,
        data: vec![7; 100].into(),
    });
    let sum = client
        .sum(futures_util::stream::iter(numbers))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((sum.total, sum.messages, sum.bytes), (500_500, 1_000, 100_000));

    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let outgoing = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let mut chat = client.chat(outgoing).await.unwrap().into_inner();
    for sequence in 0..50 {
        let text = format!("message {sequence}");
        sender
            .send(ChatMessage {
                text: text.clone(),
                sequence: 0,
            })
            .await
            .unwrap();
        // Each is answered while the client is still sending.
        let reply = chat.message().await.unwrap().unwrap();
        assert_eq!((reply.text, reply.sequence), (text, sequence));
    }
    drop(sender);
    assert!(chat.message().await.unwrap().is_none());
}

async fn failures_and_trailers(linked: &Linked) {
    let mut client = linked.client().await;
    for code in 1..=16 {
        let trailers = [
            ("my-trailer".to_owned(), "t".to_owned()),
            ("my-trailer-bin".to_owned(), "b".to_owned()),
        ];
        let fail = FailRequest {
            code,
            message: "näh %".to_owned(),
            detail: "why".to_owned(),
            trailers: trailers.into(),
        };
        let status = client.fail(fail).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::from_i32(code), "näh %"));
        assert!(!status.details().is_empty());
        assert_eq!(status.metadata().get("my-trailer").unwrap(), "t");
        assert_eq!(
            status.metadata().get_bin("my-trailer-bin").unwrap().to_bytes().unwrap(),
            &b"b"[..]
        );
    }
    let late = CountRequest {
        to: 3,
        code: 9,
        ..CountRequest::default()
    };
    let mut counted = client.count(late).await.unwrap().into_inner();
    let mut messages = 0;
    let status = loop {
        match counted.message().await {
            Ok(Some(_)) => messages += 1,
            Ok(None) => panic!("ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!((messages, status.code()), (3, Code::FailedPrecondition));

    // A failure before any message is one HEADERS frame that ends the stream, as the backend sent it.
    let mut wire = Wire::open(linked.entry, &[]).await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    wire.send(&wire::head(1, "POST", "/causeway.demo.v1.Chat/Nothing", &fields, false))
        .await
        .unwrap();
    wire.send(&wire::frame(wire::DATA, wire::END_STREAM, 1, &[0; 5]))
        .await
        .unwrap();
    let answer = wire.answer(1).await.unwrap();
    assert_eq!(
        (answer.kind, answer.ends(), answer.status()),
        (HEADERS, true, 200),
        "{answer:?}"
    );
}

async fn deadlines_and_cancels(linked: &Linked) {
    let mut client = linked.client().await;
    let cancelled = || linked.backends.counters().cancelled.load(Ordering::Relaxed);

    let before = cancelled();
    // By hand: the client's own clock would end the call first.
    let message = SleepRequest { for_ms: 60_000 }.encode_to_vec();
    let body = [&[0, 0, 0, 0, message.len() as u8], &message[..]].concat();
    let mut sleep = request("POST", "/causeway.demo.v1.Chat/Sleep");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "300m"),
    ] {
        sleep.headers_mut().insert(name, value.parse().unwrap());
    }
    let begun = Instant::now();
    let (response, mut stream) = connect(linked.entry)
        .await
        .ready()
        .await
        .unwrap()
        .send_request(sleep, false)
        .unwrap();
    stream.send_data(body.into(), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    until("the deadline reaches the backend", || cancelled() == before + 1).await;

    // Before the reply's head.
    let mut sleeping = client.clone();
    let call = tokio::spawn(async move { sleeping.sleep(SleepRequest { for_ms: 60_000 }).await });
    until("the backend sleeps", || linked.waiting() == 1).await;
    let begun = Instant::now();
    call.abort();
    until("the cancel reaches the backend before the head", || {
        linked.waiting() == 0
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());

    // After it, while messages flow.
    let count = CountRequest {
        to: 100_000,
        pause_ms: 5,
        ..CountRequest::default()
    };
    let mut counted = client.count(count).await.unwrap().into_inner();
    counted.message().await.unwrap();
    assert_eq!(linked.waiting(), 1);
    let begun = Instant::now();
    drop(counted);
    until("the cancel reaches the backend while messages flow", || {
        linked.waiting() == 0
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());

    // While nothing at all is said, either way. By hand: the client keeps a stream whose requests have not ended.
    let mut wire = Wire::open(linked.entry, &[]).await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    wire.send(&wire::head(1, "POST", "/causeway.demo.v1.Chat/Chat", &fields, false))
        .await
        .unwrap();
    until("the chat is open", || linked.waiting() == 1).await;
    let begun = Instant::now();
    wire.send(&wire::reset(1, wire::CANCEL)).await.unwrap();
    until("the cancel reaches the backend while nothing is said", || {
        linked.waiting() == 0
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn grpc_at_one_site_has_all_kinds_of_calls_and_endings() {
    let _turn = beside().await;
    let linked = Linked::start(false).await;
    all_kinds_of_calls(&linked).await;
    failures_and_trailers(&linked).await;
    deadlines_and_cancels(&linked).await;
}

#[tokio::test]
async fn grpc_through_a_tunnel_has_all_kinds_of_calls_and_endings() {
    let _turn = beside().await;
    let linked = Linked::start(true).await;
    all_kinds_of_calls(&linked).await;
    failures_and_trailers(&linked).await;
    deadlines_and_cancels(&linked).await;
}

/// Small messages cost far more than their size in a receiver's queue; neither a limit nor memory may suffer.
#[tokio::test]
async fn fifty_thousand_tiny_messages_reach_a_slow_reader() {
    let _turn = beside().await;
    for tunnel in [false, true] {
        let linked = Linked::start(tunnel).await;
        let mut client = linked.client().await;
        let mut streams = Vec::new();
        for _ in 0..6 {
            let count = CountRequest {
                to: 50_000,
                ..CountRequest::default()
            };
            streams.push(client.count(count).await.unwrap().into_inner());
        }
        // Nobody reads: all windows fill.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for mut stream in streams {
            let mut last = 0;
            while let Some(reply) = stream.message().await.unwrap() {
                last = reply.number;
            }
            assert_eq!(last, 50_000);
        }
    }
}
