//! Counters that the gateways of a site share, in Redis or Valkey.
//!
//! A question goes from a worker over a bounded channel to the control runtime, which keeps the connections, and its answer
//! back to the call that waits. A call never waits longer than `timeout`; after a few errors in a row nobody asks for a
//! second, and then one does. Both scripts are atomic, and take the time of the server: the clocks of gateways do not matter.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway_config as config;
use causeway_config::OnError;
use causeway_protocols::FailureKind;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::bucket::{Bucket, Taken};
use crate::authentication::sha256;
use crate::error::CallError;
use crate::telemetry::metrics::{Counter, GatewayMetrics};

/// Questions that wait for a connection; more are answered as if the server were away.
const WAITING: usize = 1024;

/// Questions under way.
const UNDER_WAY: usize = 1024;

/// Errors in a row after which nobody asks for a while.
const ERRORS: u32 = 5;

/// How long nobody asks.
const REST: Duration = Duration::from_secs(1);

/// A token bucket: `KEYS[1]` holds when it is full again, in microseconds since 2025. Arguments: cost and depth, in
/// microseconds. Answer: whether it was granted, the debt, and how long to wait.
const TAKE: &str = "
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1735689600) * 1000000 + tonumber(time[2])
local cost, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
if full < now then full = now end
local debt = full + cost - now
if debt > depth then return {0, math.ceil(full - now), math.ceil(debt - depth)} end
redis.call('SET', KEYS[1], string.format('%.3f', full + cost), 'PX', math.ceil(debt / 1000) + 1)
return {1, math.ceil(debt), 0}
";

/// A quota: `KEYS[1]` holds what was spent. Arguments: cost, limit, when to forget it in Unix time. Answer: whether it was
/// granted, and what is spent.
const SPEND: &str = "
local spent = tonumber(redis.call('GET', KEYS[1]) or '0')
local cost = tonumber(ARGV[1])
if spent + cost > tonumber(ARGV[2]) then return {0, spent, 0} end
redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('EXPIREAT', KEYS[1], ARGV[3])
return {1, spent + cost, 0}
";

/// The shared counters, as workers see them.
pub struct Shared {
    questions: mpsc::Sender<Question>,
    config: config::Redis,
    site: String,
    breaker: Breaker,
    asked: Counter,
    failed: Counter,
    skipped: Counter,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

struct Question {
    script: &'static str,
    key: String,
    arguments: [String; 3],
    answer: oneshot::Sender<[u64; 3]>,
}

impl Shared {
    /// Begins to serve questions on the control runtime. The server may be away.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn start(
        config: &config::Redis,
        site: &str,
        metrics: &GatewayMetrics,
        control: &Handle,
    ) -> Result<Arc<Self>, RedisError> {
        let client = Client::open(config.url.expose())?;
        let (questions, waiting) = mpsc::channel(WAITING);
        control.spawn(serve(client, config.clone(), waiting));
        let result = |result: &str| metrics.shared_counters.with(&[result]);
        Ok(Arc::new(Self {
            questions,
            config: config.clone(),
            site: site.to_owned(),
            breaker: Breaker::new(),
            asked: result("answered"),
            failed: result("failed"),
            skipped: result("skipped"),
        }))
    }

    /// What is done while the server is away.
    pub fn on_error(&self) -> OnError {
        self.config.on_error
    }

    /// Whether it was made of this.
    pub fn is_of(&self, config: &config::Redis, site: &str) -> bool {
        self.config == *config && self.site == site
    }

    /// Takes `cost` out of a bucket; none where the server is away.
    pub async fn take(&self, key: SharedKey, bucket: &Bucket, cost: u64) -> Option<Taken> {
        let micros = |span: Duration| format!("{:.3}", span.as_secs_f64() * 1e6);
        let arguments = [micros(bucket.worth(cost)), micros(bucket.window()), String::new()];
        let [granted, debt, wait] = self.ask(TAKE, key, arguments).await?;
        let (debt, wait) = (Duration::from_micros(debt), Duration::from_micros(wait));
        Some(bucket.told(granted == 1, debt, wait, cost))
    }

    /// Spends `cost` of a quota, and says whether that was granted and what is spent; none where the server is away.
    pub async fn spend(&self, key: SharedKey, cost: u64, limit: u64, ends: u64) -> Option<(bool, u64)> {
        // A little later than needed: the clocks of gateways differ.
        let forget = ends.saturating_add(3600);
        let arguments = [cost, limit, forget].map(|number| number.to_string());
        let [granted, spent, _] = self.ask(SPEND, key, arguments).await?;
        Some((granted == 1, spent))
    }

    async fn ask(&self, script: &'static str, key: SharedKey, arguments: [String; 3]) -> Option<[u64; 3]> {
        if !self.breaker.lets() {
            self.skipped.inc();
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let question = Question {
            script,
            key: key.name(&self.site),
            arguments,
            answer,
        };
        let sent = self.questions.try_send(question).is_ok();
        let answer = match tokio::time::timeout(self.config.timeout, answered).await {
            Ok(Ok(answer)) if sent => Some(answer),
            _ => None,
        };
        self.breaker.learn(answer.is_some());
        if answer.is_some() {
            self.asked.inc();
        } else {
            self.failed.inc();
        }
        answer
    }
}

/// What a call is told where nothing passes without the shared counters.
pub fn is_away() -> CallError {
    CallError::new(FailureKind::Overload, "the shared counters are away").after(REST)
}

/// Keeps the connections and asks, as many questions at once as there are, up to a bound.
async fn serve(client: Client, config: config::Redis, mut questions: mpsc::Receiver<Question>) {
    let settings = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(500))
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(config.timeout.max(Duration::from_millis(50))));
    let connect = || ConnectionManager::new_lazy_with_config(client.clone(), settings.clone());
    let connections: Result<Vec<_>, _> = (0..config.connections).map(|_| connect()).collect();
    let connections = match connections {
        Ok(connections) => connections,
        Err(error) => {
            tracing::error!(%error, "shared counters cannot be had");
            return;
        }
    };
    let (take, spend) = (Script::new(TAKE), Script::new(SPEND));
    let mut turns = connections.iter().cycle();
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            question = questions.recv(), if under_way.len() < UNDER_WAY => {
                let (Some(question), Some(connection)) = (question, turns.next()) else { return };
                let script = if question.script == TAKE { &take } else { &spend };
                under_way.push(answer(question, script, connection.clone()));
            }
            Some(()) = under_way.next() => {}
        }
    }
}

async fn answer(question: Question, script: &Script, mut connection: ConnectionManager) {
    // Who asked may have given up while this waited; then it must not be counted.
    if question.answer.is_closed() {
        return;
    }
    let mut call = script.key(&question.key);
    for argument in &question.arguments {
        call.arg(argument);
    }
    match call.invoke_async::<(u64, u64, u64)>(&mut connection).await {
        Ok((one, two, three)) => drop(question.answer.send([one, two, three])),
        // Dropping the sender tells the call.
        Err(error) => tracing::debug!(%error, "shared counters"),
    }
}

/// What is counted, until its digest is taken. Nobody can find another text for a key of somebody else, and the server
/// learns nothing of clients.
#[derive(Clone, Debug)]
pub struct SharedKey(Vec<u8>);

impl SharedKey {
    /// Of a rule; what the call is counted under is fed to it.
    pub fn of(rule: &[&str]) -> Self {
        let mut key = Self(Vec::with_capacity(64));
        for part in rule {
            key.write(part.as_bytes());
            key.write_u8(0xff);
        }
        key
    }

    fn name(&self, site: &str) -> String {
        let digest = sha256(&self.0);
        let mut name = format!("causeway:{site}:");
        for byte in &digest[..16] {
            name.push_str(&format!("{byte:02x}"));
        }
        name
    }
}

impl Hasher for SharedKey {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Keeps calls from waiting for a server that is away.
#[derive(Debug)]
struct Breaker {
    epoch: Instant,
    errors: AtomicU32,
    /// Milliseconds since `epoch` until which nobody asks; 0: everybody may.
    rests_until: AtomicU64,
}

impl Breaker {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            errors: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether to ask. Of those who come after the rest one may, and the others rest on.
    fn lets(&self) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.now();
        now >= until
            && self
                .rests_until
                .compare_exchange(
                    until,
                    now + REST.as_millis() as u64,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    fn learn(&self, worked: bool) {
        if worked {
            self.errors.store(0, Ordering::Relaxed);
            if self.rests_until.swap(0, Ordering::Relaxed) > 0 {
                tracing::info!("shared counters are back");
            }
        } else if self.errors.fetch_add(1, Ordering::Relaxed) + 1 == ERRORS {
            tracing::warn!("shared counters are away");
            self.rests_until
                .store(self.now() + REST.as_millis() as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_errors_in_a_row_nobody_asks_until_one_has_an_answer() {
        let breaker = Breaker::new();
        for _ in 0..ERRORS {
            assert!(breaker.lets());
            breaker.learn(false);
        }
        assert!(!breaker.lets());
        // The rest is over.
        breaker.rests_until.store(1, Ordering::Relaxed);
        let one = Breaker {
            epoch: breaker.epoch.checked_sub(REST).unwrap(),
            ..breaker
        };
        assert!(one.lets(), "one may ask");
        assert!(!one.lets(), "the others rest on");
        one.learn(true);
        assert!(one.lets() && one.lets());
    }

    #[test]
    fn keys_are_told_apart_by_rule_and_text_and_say_nothing() {
        let key = |rule: &[&str], text: &str| {
            let mut key = SharedKey::of(rule);
            key.write(text.as_bytes());
            key.name("aws")
        };
        let one = key(&["rate", "orders"], "alice");
        assert_eq!(one, key(&["rate", "orders"], "alice"));
        for other in [
            key(&["rate", "order"], "salice"),
            key(&["rate", "orders"], "bob"),
            key(&["rateorders"], "alice"),
        ] {
            assert_ne!(one, other);
        }
        assert!(one.starts_with("causeway:aws:") && !one.contains("alice"));
    }
}
