//! The dialler of one peer: a task for each of its addresses, which keeps as many tunnels as both sides have use for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_config as config;
use causeway_pki::tls::Peer;
use causeway_pki::verify::Role as PeerRole;
use causeway_protocols::tunnel::Role;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::{AbortOnDrop, Common, Connection, prepare};
use crate::discovery::Watched;
use crate::federation::state::PeerState;

/// First pause after a failed attempt; it doubles up to the configured longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// An address that was good so lately is tried at least every [`SOON`]: whoever restarts is found at once.
const LATELY: Duration = Duration::from_secs(600);
/// See [`LATELY`].
const SOON: Duration = Duration::from_secs(1);
/// The side with the higher identity leaves the dialling to the other for this long: longer than the other's pauses,
/// so that both dial only where one of them cannot, and short enough that such a link is back within two seconds.
const DEFERENCE: Duration = Duration::from_millis(1500);

/// Keeps tunnels to one peer.
pub(super) struct Dialler {
    pub(super) site: config::Name,
    pub(super) watched: Watched,
    pub(super) common: Arc<Common>,
    /// Whether the other side should dial, if it can.
    pub(super) defers: bool,
}

impl Dialler {
    /// One task for each address; ended when the address is not in the answer any more, or the peer is removed.
    pub(super) async fn run(self) {
        let this = Arc::new(self);
        let mut addresses: HashMap<SocketAddr, AbortOnDrop> = HashMap::new();
        let mut changes = this.watched.changes.clone();
        loop {
            let answer = this.watched.current();
            this.common.retire_all_but(&this.site, &answer.endpoints);
            addresses.retain(|address, _| answer.endpoints.iter().any(|endpoint| endpoint.address == *address));
            for endpoint in &answer.endpoints {
                addresses.entry(endpoint.address).or_insert_with(|| {
                    #[expect(clippy::disallowed_methods, reason = "on the control runtime, one for each address")]
                    AbortOnDrop(tokio::spawn(Arc::clone(&this).keep(endpoint.address)))
                });
            }
            if changes.changed().await.is_err() {
                // Written-down addresses never change.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Keeps as many tunnels to one address as both sides have use for.
    async fn keep(self: Arc<Self>, address: SocketAddr) {
        let state = self.common.outbound(&self.site, address);
        let inbound = self.common.inbound(&self.site);
        let (mut ours, mut theirs) = (state.changes(), inbound.changes());
        let mut attempts = Attempts::new();
        loop {
            ours.mark_unchanged();
            theirs.mark_unchanged();
            let enough = inbound.has_enough();
            state.set_surplus(self.defers && enough);
            if self.defers && state.live() == 0 && self.is_left_to_them(&inbound).await {
                continue;
            }
            if state.live() >= state.wanted() || (self.defers && enough) {
                attempts.good();
                tokio::select! {
                    _ = ours.changed() => {}
                    _ = theirs.changed() => {}
                }
                continue;
            }
            match self.attempt(address, &state).await {
                Ok(()) => attempts.good(),
                Err(error) => {
                    let failures = attempts.failed();
                    if failures.is_power_of_two() {
                        tracing::warn!(site = %self.site, %address, %error, failures, "dialling a peer failed");
                    }
                    // The address may have moved: ask again. Rate limited below.
                    self.watched.refresh();
                    let longest = self.common.settings.load().reconnect_max;
                    tokio::time::sleep(attempts.pause(longest, Instant::now())).await;
                }
            }
        }
    }

    /// One more tunnel, up to the HELLO of the peer: only then has it let us in.
    async fn attempt(&self, address: SocketAddr, state: &Arc<PeerState>) -> io::Result<()> {
        let connection = self.dial(address).await?;
        let mut changes = state.changes();
        let ready = state.ready();
        // Counted before it is handed over: it may be gone again by the time that is done.
        let live = state.live() + 1;
        self.common
            .deal(connection, state, config::Name::clone(&self.site))
            .await;
        // Bounded by the tunnel, which gives up without a HELLO.
        while state.ready() <= ready {
            if state.live() < live {
                return Err(io::Error::other("the peer closed the tunnel before its HELLO"));
            }
            if changes.changed().await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Both could dial, and the other should: whether it does within a while.
    async fn is_left_to_them(&self, inbound: &PeerState) -> bool {
        let mut theirs = inbound.changes();
        let until = tokio::time::Instant::now() + DEFERENCE;
        loop {
            if inbound.live() > 0 {
                // Theirs are being made. Should they go again, somebody has to begin anew.
                theirs.changed().await.ok();
                return true;
            }
            if tokio::time::timeout_at(until, theirs.changed()).await.is_err() {
                return false;
            }
        }
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Connection> {
        let tls = self.common.tls.client_config(&self.site).map_err(io::Error::other)?;
        // SNI is never identity; what the certificate says is compared with the site that is dialled.
        let name = ServerName::from(address.ip());
        let shaken = tokio::time::timeout(self.common.settings.load().handshake_timeout, async {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            tokio_rustls::TlsConnector::from(Arc::new(tls))
                .connect(name, stream)
                .await
        });
        let (stream, tls) = shaken
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
            .into_inner();
        let peer = Peer::of(&tls, PeerRole::Server).map_err(io::Error::other)?;
        Ok(Connection {
            stream: stream.into_std()?,
            tls: tls.into(),
            role: Role::Dialler,
            peer,
        })
    }
}

/// How it went with one address, and how long to wait before the next attempt.
#[derive(Debug)]
struct Attempts {
    failures: u32,
    good: Instant,
}

impl Attempts {
    /// Nothing was tried. A peer that has not started yet is waited for like one that restarts.
    fn new() -> Self {
        Self {
            failures: 0,
            good: Instant::now(),
        }
    }

    fn good(&mut self) {
        *self = Self::new();
    }

    fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Doubling, between half and all of it, so that sites that lost each other do not come back in step.
    fn pause(&self, longest: Duration, now: Instant) -> Duration {
        let longest = if now.saturating_duration_since(self.good) < LATELY {
            longest.min(SOON)
        } else {
            longest
        };
        let most = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(longest);
        most.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_good_lately_is_tried_every_second() {
        let longest = Duration::from_secs(30);
        let mut attempts = Attempts::new();
        for _ in 0..40 {
            attempts.failed();
            assert!(attempts.pause(longest, Instant::now()) <= SOON);
        }
        let pause = attempts.pause(longest, Instant::now() + LATELY);
        assert!(pause > SOON && pause <= longest, "{pause:?}");
        attempts.good();
        attempts.failed();
        assert!(attempts.pause(longest, Instant::now() + LATELY / 2) <= 2 * FIRST_PAUSE);
    }
}
