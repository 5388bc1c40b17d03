//! How one call crosses from the client's protocol to the backend's.

use crate::call::Protocol;

/// How much of the payload must be understood on the way. The fastest rung that the route's needs allow is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Bytes pass; only WebSocket frame headers are looked at.
    Splice,
    /// Bytes pass with their end and its trailers.
    Frames,
    /// Messages are cut out of the bytes.
    Messages,
}

impl Rung {
    /// The word on the span.
    pub fn label(self) -> &'static str {
        match self {
            Self::Splice => "splice",
            Self::Frames => "frames",
            Self::Messages => "messages",
        }
    }
}

/// What a route's policies need to see of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the heads.
    #[default]
    Heads,
    /// Every message.
    Messages,
}

/// The way of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the client speaks.
    pub client: Protocol,
    /// What the backend speaks.
    pub backend: Protocol,
    /// How much is understood on the way.
    pub rung: Rung,
}

impl Plan {
    /// Decides how a call crosses. Every client can use every backend: between two of the same protocol bytes pass,
    /// unless somebody needs to see messages.
    pub fn choose(client: Protocol, backend: Protocol, needs: Needs) -> Self {
        let rung = match client {
            _ if client != backend || needs == Needs::Messages => Rung::Messages,
            Protocol::WebSocket => Rung::Splice,
            Protocol::Grpc | Protocol::Http => Rung::Frames,
        };
        Self { client, backend, rung }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagonal_passes_through_and_everything_else_is_messages() {
        for client in Protocol::ALL {
            for backend in Protocol::ALL {
                let rung = Plan::choose(client, backend, Needs::Heads).rung;
                assert_eq!(rung == Rung::Messages, client != backend, "{client:?} to {backend:?}");
                assert_eq!(Plan::choose(client, backend, Needs::Messages).rung, Rung::Messages);
            }
        }
        let rung = |protocol| Plan::choose(protocol, protocol, Needs::Heads).rung;
        assert_eq!(rung(Protocol::WebSocket), Rung::Splice);
        assert_eq!(rung(Protocol::Grpc), Rung::Frames);
    }
}
