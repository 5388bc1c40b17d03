//! Accepting connections, and HTTP/1.1 or HTTP/2 on one port.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of one backend; more wait in the kernel's queue.
const CONNECTIONS: usize = 32_768;

/// After an accept that failed, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection of the backends is bound to.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) stop: CancellationToken,
    pub(super) cut: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Accepts until stopped; each connection gets a task of its own.
pub(super) fn accept<F, C>(listener: TcpListener, scope: &Scope, connection: F)
where
    F: Fn(TcpStream, CancellationToken) -> C + Send + Sync + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let inner = scope.clone();
    scope.tasks.spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await.ok()?;
                Some((permit, listener.accept().await))
            };
            let (permit, accepted) = tokio::select! {
                () = inner.stop.cancelled() => return,
                next = accepted => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Latency matters more than full segments; a socket that refuses still works.
            let _ = stream.set_nodelay(true);
            let future = connection(stream, inner.stop.clone());
            let cut = inner.cut.clone();
            inner.tasks.spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = future => {}
                }
            });
        }
    });
}

/// Serves HTTP/1.1 or HTTP/2 with prior knowledge, whichever the client speaks, until it ends or is asked to.
pub(super) async fn http<S, B>(stream: TcpStream, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    // Wide windows: a backend should not be what a measurement of the gateway measures.
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 24);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A connection that breaks has told its client already; there is nobody else to tell.
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
