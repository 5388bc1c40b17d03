//! What two gateways tell each other of the tunnel itself: HELLO and GOAWAY.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::frame::TooLarge;
use super::reader::{Reader, is_name, name};

/// The first frame of each side.
///
/// ```text
/// features u32 | workers u16 | window u32 | max calls u32 | length u8, site | length u8, gateway | later additions
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Bits of what the sender understands beyond version 1.0; none are given out yet.
    pub features: u32,
    /// Worker threads of the sender; both sides keep as many tunnels as the larger number.
    pub workers: u16,
    /// Bytes of DATA that the receiver may send on each call before it is given more.
    pub window: u32,
    /// Calls that the receiver may have open at once.
    pub max_calls: u32,
    /// The sender's site. A claim: what counts is the identity in its certificate.
    pub site: String,
    /// The sender's gateway, likewise.
    pub gateway: String,
}

impl Hello {
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), TooLarge> {
        out.put_u32(self.features);
        out.put_u16(self.workers);
        out.put_u32(self.window);
        out.put_u32(self.max_calls);
        for text in [&self.site, &self.gateway] {
            if !is_name(text.as_bytes()) {
                return Err(TooLarge);
            }
            out.put_u8(u8::try_from(text.len()).map_err(|_| TooLarge)?);
            out.put_slice(text.as_bytes());
        }
        Ok(())
    }

    /// Reads a payload; what follows the gateway's name is left for later minor versions. None when malformed.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let features = reader.u32()?;
        let workers = reader.u16()?;
        let window = reader.u32()?;
        let max_calls = reader.u32()?;
        let length = reader.u8()?;
        let site = name(reader.take(usize::from(length))?)?;
        let length = reader.u8()?;
        let gateway = name(reader.take(usize::from(length))?)?;
        Some(Self {
            features,
            workers,
            window,
            max_calls,
            site,
            gateway,
        })
    }
}

/// Why a side wants no new calls on a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GoAwayReason {
    /// The gateway is stopping or restarting.
    Drain,
    /// There are more tunnels than needed.
    Surplus,
    /// A newer tunnel takes over, for instance with a renewed certificate.
    Replaced,
    /// The peer's identity is no longer accepted.
    Revoked,
    /// The peer broke the protocol; the connection is closed next.
    Violation,
    /// A reason of a later version.
    Other(u8),
}

impl GoAwayReason {
    /// The byte on the wire.
    pub fn wire(self) -> u8 {
        match self {
            Self::Drain => 1,
            Self::Surplus => 2,
            Self::Replaced => 3,
            Self::Revoked => 4,
            Self::Violation => 5,
            Self::Other(byte) => byte,
        }
    }

    /// The reason of a byte.
    pub fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Self::Drain,
            2 => Self::Surplus,
            3 => Self::Replaced,
            4 => Self::Revoked,
            5 => Self::Violation,
            other => Self::Other(other),
        }
    }

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Surplus => "surplus",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Violation => "violation",
            Self::Other(_) => "other",
        }
    }
}

/// No new calls on this tunnel. Calls of the receiver above `last_call` were not processed: any method may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// The receiver's highest call that was or is being processed; 0 for none.
    pub last_call: u32,
    /// Why.
    pub reason: GoAwayReason,
    /// When to dial again; whole milliseconds on the wire.
    pub reconnect: Duration,
}

impl GoAway {
    pub(super) fn to_bytes(self) -> [u8; 9] {
        let [a, b, c, d] = self.last_call.to_be_bytes();
        let millis = u32::try_from(self.reconnect.as_millis()).unwrap_or(u32::MAX);
        let [e, f, g, h] = millis.to_be_bytes();
        [a, b, c, d, self.reason.wire(), e, f, g, h]
    }

    /// Reads a payload. None when it is too short.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        Some(Self {
            last_call: reader.u32()?,
            reason: GoAwayReason::from_wire(reader.u8()?),
            reconnect: Duration::from_millis(u64::from(reader.u32()?)),
        })
    }
}
