use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn started() -> Backends {
    Backends::start("test", Ipv4Addr::LOCALHOST.into(), Ports::default())
        .await
        .unwrap()
}

async fn get(backends: &Backends, request: &str) -> String {
    let mut stream = TcpStream::connect(backends.addresses().http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926, "it can be continued");
    assert_eq!(crc32(0, b"hello"), 0x3610_a686, "the value that `/trailers` states");
}

#[tokio::test]
async fn requests_are_described_uploads_counted_and_trailers_sent() {
    let backends = started().await;
    #[rustfmt::skip]
    let table = [
        ("GET /a/b?c=d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "\"target\":\"/a/b?c=d\""),
        ("POST /upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", "\"crc32\":\"3610a686\""),
        ("GET /trailers HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\n\r\n", "demo-checksum: crc32:3610a686"),
        ("GET /status/204 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "HTTP/1.1 204 No Content"),
        ("GET /status/100 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /stream?n=2&ms=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "tick 1\n"),
        ("GET /events?n=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "event: tick\ndata: {\"tick\":0}\n\n"),
        ("GET /bytes/3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "\r\n\r\n\u{0}\u{1}\u{2}"),
    ];
    for (request, expected) in table {
        let answer = get(&backends, request).await;
        assert!(answer.contains(expected), "{request:?} was answered {answer:?}");
        assert!(answer.contains("demo-backend: test"), "{answer:?} says who answered");
    }
    assert_eq!(backends.stop(Duration::from_secs(5)).await, Stopped::Clean);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_counted_as_cancelled() {
    let backends = started().await;
    let mut stream = TcpStream::connect(backends.addresses().http).await.unwrap();
    stream
        .write_all(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(|| backends.counters().waiting.load(Ordering::Relaxed) == 1).await;
    drop(stream);
    until(|| backends.counters().cancelled.load(Ordering::Relaxed) == 1).await;
    assert_eq!(backends.counters().waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn stopping_cuts_what_does_not_end_by_itself() {
    let backends = started().await;
    let mut stream = TcpStream::connect(backends.addresses().http).await.unwrap();
    stream
        .write_all(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(|| backends.counters().waiting.load(Ordering::Relaxed) == 1).await;
    assert_eq!(backends.stop(Duration::from_millis(50)).await, Stopped::Cut);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let first = started().await;
    let ports = Ports {
        grpc: first.addresses().grpc.port(),
        ..Ports::default()
    };
    let error = Backends::start("test", Ipv4Addr::LOCALHOST.into(), ports)
        .await
        .unwrap_err();
    let expected = format!("binding the demo's gRPC backend to {}", first.addresses().grpc);
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn all_four_kinds_of_grpc_calls_are_answered() {
    use futures_util::{StreamExt as _, stream};
    use proto::chat_client::ChatClient;

    let backends = started().await;
    let url = format!("http://{}", backends.addresses().grpc);
    let mut client = ChatClient::connect(url).await.unwrap();

    let mut said = tonic::Request::new(proto::SayRequest {
        text: "hi".into(),
        ..Default::default()
    });
    said.metadata_mut().insert("x-asked", "yes".parse().unwrap());
    let said = client.say(said).await.unwrap();
    assert_eq!(said.metadata().get("demo-backend").unwrap(), "test");
    let said = said.into_inner();
    assert_eq!((said.text.as_str(), said.metadata["x-asked"].as_str()), ("hi", "yes"));

    let counted = client
        .count(proto::CountRequest {
            to: 3,
            code: 9,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let counted = counted.map(|reply| reply.map_or_else(|status| -(status.code() as i64), |reply| reply.number.into()));
    assert_eq!(counted.collect::<Vec<_>>().await, [1, 2, 3, -9]);

    let numbers = stream::iter([1, -2, 40]).map(|number| proto::SumRequest {
        number,
        ..Default::default()
    });
    assert_eq!(client.sum(numbers).await.unwrap().into_inner().total, 39);

    let texts = stream::iter(["a", "b", "fail:5:gone", "c"]);
    let texts = texts.map(|text| proto::ChatMessage {
        text: text.into(),
        sequence: 0,
    });
    let mut chat = client.chat(texts).await.unwrap().into_inner();
    assert_eq!(chat.message().await.unwrap().unwrap().text, "a");
    assert_eq!(chat.message().await.unwrap().unwrap().sequence, 1);
    assert_eq!(chat.message().await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn the_best_common_subprotocol_is_chosen_and_closes_are_as_asked() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};

    let backends = started().await;
    let uri = format!("ws://{}/", backends.addresses().websocket).parse().unwrap();
    let request = ClientRequestBuilder::new(uri)
        .with_sub_protocol("other")
        .with_sub_protocol("echo.v1");
    let stream = TcpStream::connect(backends.addresses().websocket).await.unwrap();
    let (mut socket, handshake) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(handshake.headers()["sec-websocket-protocol"], "echo.v1");

    for (sent, expected) in [
        ("hello", "hello"),
        ("fragments:3:abcdefg", "abcdefg"),
        ("fragments:9:ab", "ab"),
    ] {
        socket.send(Message::text(sent)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(expected));
    }
    socket.send(Message::text("close:4321:so it is")).await.unwrap();
    let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else {
        panic!("no Close frame")
    };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4321, "so it is"));
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("the condition comes true");
}
