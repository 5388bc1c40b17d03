//! A reply that is not passed on: its connection is kept where that costs little.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::call::Reply;
use crate::context::CallContext;
use crate::payload::{Body, Chunk};

/// More than this is not read for the sake of a connection.
const MOST: usize = 64 * 1024;
/// Nor is waited longer.
const LONGEST: Duration = Duration::from_millis(100);

/// Reads what is left of a reply, so that its connection can be used again; cancels it where that is too much, or where
/// the backend has not had the whole request.
pub async fn discard(mut reply: Reply, cx: &CallContext) {
    if !reply.rest.is_done() || reply.body.is_empty() {
        return;
    }
    let timer = cx.worker.clock.timer();
    timer.arm(LONGEST);
    let mut read = 0;
    std::future::poll_fn(|task| {
        if drain(&mut reply.body, &mut read, task).is_ready() {
            return Poll::Ready(());
        }
        timer.poll(task)
    })
    .await;
}

/// Ready at the end, at an error, and when too much has come.
fn drain(body: &mut Body, read: &mut usize, task: &mut Context<'_>) -> Poll<()> {
    while *read <= MOST {
        match body.poll_chunk(task) {
            Poll::Ready(Ok(Chunk::Data(data))) => *read += data.len(),
            Poll::Ready(Ok(Chunk::End(_)) | Err(_)) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(())
}
