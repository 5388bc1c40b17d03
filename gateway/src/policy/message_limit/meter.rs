//! One direction of a call with its limits.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use causeway_config as config;
use causeway_config::OnExcess;
use causeway_protocols::FailureKind;
use causeway_protocols::websocket::control;

use super::follow::Follow;
use crate::clock::Timer;
use crate::context::CallContext;
use crate::error::CallError;
use crate::limits::Bucket;
use crate::limits::bucket::{Taken, Ticks, ticks};
use crate::listen::exchange::close_of;
use crate::payload::Broken;
use crate::payload::metered::{Meter, Pass};
use crate::telemetry::metrics::Counter;

/// The direction that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// What is counted for operators.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) refused: Counter,
    pub(super) would_be_refused: Counter,
    pub(super) paused: Counter,
}

/// Counts what passes, pauses the direction or ends it.
#[derive(Debug)]
pub(super) struct MessageMeter {
    limit: config::MessageLimit,
    messages: Debt,
    bytes: Debt,
    follow: Follow,
    way: Way,
    /// The beginning of a header, which goes on with the rest of it.
    held: Bytes,
    began: Instant,
    pause: Timer,
    paused: bool,
    counts: Counts,
    context: Rc<CallContext>,
    /// Of the configuration that the limits are from.
    generation: u64,
}

/// A bucket, if there is a limit, and when it is full again.
#[derive(Debug)]
struct Debt {
    bucket: Option<Bucket>,
    full_at: Ticks,
}

impl Debt {
    fn new(rate: Option<config::Rate>) -> Self {
        Self {
            bucket: rate.map(bucket),
            full_at: 0,
        }
    }
}

fn bucket(rate: config::Rate) -> Bucket {
    Bucket::new(rate, rate.amount.get())
}

/// What is wrong with what has come.
struct Excess {
    kind: FailureKind,
    detail: &'static str,
    /// Bytes of it that may still pass.
    good: usize,
    /// Whether a frame of ours may follow them.
    fits: bool,
}

impl MessageMeter {
    pub(super) fn new(
        limit: config::MessageLimit,
        counts: Counts,
        follow: Follow,
        way: Way,
        context: &Rc<CallContext>,
    ) -> Self {
        Self {
            limit,
            messages: Debt::new(limit.messages),
            bytes: Debt::new(limit.bytes),
            follow,
            way,
            held: Bytes::new(),
            began: Instant::now(),
            pause: context.worker.clock.timer(),
            paused: false,
            counts,
            generation: context.world.snapshot.generation,
            context: Rc::clone(context),
        }
    }

    /// A call that is open obeys the limits of now, not those that it began with.
    fn renew(&mut self) {
        let world = self.context.worker.world();
        if self.generation == world.snapshot.generation {
            return;
        }
        self.generation = world.snapshot.generation;
        let routes = &self.context.world.snapshot.config.routes;
        let name = self
            .context
            .route
            .get()
            .and_then(|at| routes.get(at))
            .map(|route| &route.name);
        let mut routes = world.snapshot.config.routes.iter();
        let limit = routes
            .find(|route| Some(&route.name) == name)
            .and_then(|route| route.policies.message_limit)
            .filter(|limit| if self.way == Way::Up { limit.up } else { limit.down });
        match limit {
            Some(limit) => self.limit = limit,
            None => {
                (self.limit.messages, self.limit.bytes, self.limit.max_message) = (None, None, None);
            }
        }
        self.messages.bucket = self.limit.messages.map(bucket);
        self.bytes.bucket = self.limit.bytes.map(bucket);
    }

    /// Pays for what has come, and says what is too much. In a dry run, and where the direction is paused, all passes.
    fn judge(&mut self, data: &[u8]) -> Option<Excess> {
        let before = self.follow.clone();
        let most = self.limit.max_message.unwrap_or(u64::MAX);
        if let Err(large) = self.follow.pass(data, most) {
            if self.limit.dry_run {
                self.follow = before.clone();
                self.follow.pass(data, u64::MAX).ok();
            }
            return Some(Excess {
                kind: FailureKind::TooLarge,
                detail: "a message is over `max_message`",
                good: large.good,
                // The header of the frame that says so is held back if it came in two pieces.
                fits: true,
            });
        }
        let now = ticks(self.began.elapsed());
        let count = self.follow.messages() - before.messages();
        let length = data.len() as u64;
        if self.limit.on_excess == OnExcess::Pause {
            self.owe(count, length, now);
            return None;
        }
        if let Err(left) = self.messages.spend(count, now) {
            // One that is under way may end: half a message is no use to anybody.
            let allowed = left.max(u64::from(before.is_inside()));
            return Some(Excess {
                kind: FailureKind::RateLimited,
                detail: "more messages than `messages` allows",
                good: before.end_of(allowed, data),
                fits: true,
            });
        }
        if self.bytes.spend(length, now).is_err() {
            let fits = count > 0 || !before.is_inside();
            return Some(Excess {
                kind: FailureKind::RateLimited,
                detail: "more bytes than `bytes` allows",
                good: if count > 0 { before.end_of(count, data) } else { 0 },
                fits,
            });
        }
        None
    }

    fn owe(&mut self, messages: u64, bytes: u64, now: Ticks) {
        let waits = [self.messages.owe(messages, now), self.bytes.owe(bytes, now)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            if self.limit.dry_run {
                self.told();
                return;
            }
            self.counts.paused.inc();
            self.pause.arm(wait);
            self.paused = true;
        }
    }

    fn told(&self) {
        if self.limit.dry_run {
            self.counts.would_be_refused.inc();
            self.context.record.borrow_mut().would_be_refused("message_limit");
        } else {
            self.counts.refused.inc();
        }
    }

    /// The end of a direction that is over its limit.
    fn end(&mut self, data: &Bytes, excess: &Excess) -> Pass {
        let broken = Broken::new(excess.kind, excess.detail);
        let held = std::mem::take(&mut self.held);
        // What was held back is of the message that is refused, unless another ended after it.
        let good = if excess.good > 0 {
            join(held, data.slice(..excess.good))
        } else {
            Bytes::new()
        };
        let is_websocket = matches!(self.follow, Follow::WebSocket(_));
        // A client that is sent too much is told by a close frame, where one fits in.
        if self.way == Way::Down
            && is_websocket
            && excess.fits
            && let Some((code, reason)) = close_of(excess.kind)
        {
            self.context.record.borrow_mut().failed(&CallError::from(broken));
            return Pass::Ended(join(good, control::encode_close(code, reason, None)));
        }
        Pass::Broken(good, broken)
    }
}

impl Debt {
    /// # Errors
    /// What is left, when it is less than that.
    fn spend(&mut self, cost: u64, now: Ticks) -> Result<(), u64> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let (full_at, taken) = bucket.take(self.full_at, now, bucket.cost(cost));
        self.full_at = full_at;
        match taken {
            Taken::Granted { .. } => Ok(()),
            Taken::Refused { left, .. } => Err(left),
        }
    }

    fn owe(&mut self, cost: u64, now: Ticks) -> Option<std::time::Duration> {
        let bucket = self.bucket.as_ref()?;
        let (full_at, wait) = bucket.owe(self.full_at, now, bucket.cost(cost));
        self.full_at = full_at;
        wait
    }
}

impl Meter for MessageMeter {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.paused {
            std::task::ready!(self.pause.poll(cx));
            self.paused = false;
        }
        Poll::Ready(())
    }

    fn pass(&mut self, data: Bytes) -> Pass {
        self.renew();
        if let Some(excess) = self.judge(&data) {
            self.told();
            if !self.limit.dry_run {
                return self.end(&data, &excess);
            }
        }
        let mut data = join(std::mem::take(&mut self.held), data);
        let header = self.follow.header().min(data.len());
        self.held = data.split_off(data.len() - header);
        Pass::On(data)
    }

    fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }
}

/// Both, one after the other; a copy only where both are something.
fn join(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(&first);
    both.extend_from_slice(&second);
    both.freeze()
}
