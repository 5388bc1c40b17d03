//! How long a tunnel may live.

use std::time::{Duration, Instant, SystemTime};

use causeway_pki::tls::Peer;
use causeway_pki::{Credentials, certificate};

/// A tunnel is not replaced sooner than this, whatever its certificates say.
const SHORTEST_LIFE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// Where no certificate ends.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a tunnel may live: to the end of the first certificate of either side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// When a new one should take over.
    pub(super) replace: Instant,
    /// When the peer's certificates end.
    ends: Option<SystemTime>,
}

impl Life {
    pub(super) fn of(peer: &Peer, ours: Option<&Credentials>, now: Instant) -> Self {
        let end = |der: &[u8]| {
            let parsed = certificate::parse(der).ok()?;
            let seconds = parsed.validity().not_after.timestamp();
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
        };
        let theirs = peer.chain().iter().filter_map(|der| end(der)).min();
        let ours = ours.and_then(|ours| ours.chain().iter().filter_map(|der| end(der)).min());
        let left = theirs
            .into_iter()
            .chain(ours)
            .min()
            .map_or(FOREVER, |end| end.duration_since(SystemTime::now()).unwrap_or_default());
        // Not all tunnels of a gateway in one moment.
        let replace = (left * 2 / 3).mul_f64(rand::random_range(0.9..1.0));
        Self {
            replace: now + replace.clamp(SHORTEST_LIFE, FOREVER),
            ends: theirs,
        }
    }

    /// Whether the peer's certificates have ended.
    pub(super) fn is_over(self) -> bool {
        self.ends.is_some_and(|end| SystemTime::now() > end)
    }
}
