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

/// The two protocols cannot be translated into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {} client cannot use a {} backend", client.label(), backend.label())]
pub struct Untranslatable {
    /// What the client speaks.
    pub client: Protocol,
    /// What the backend speaks.
    pub backend: Protocol,
}

impl Plan {
    /// Decides how a call crosses. The matrix of protocols is this function.
    ///
    /// # Errors
    /// [`Untranslatable`] for every pair of different protocols, and where a policy needs messages: what cuts messages
    /// out of bytes is not part of this crate yet.
    pub fn choose(client: Protocol, backend: Protocol, needs: Needs) -> Result<Self, Untranslatable> {
        if client != backend || needs == Needs::Messages {
            return Err(Untranslatable { client, backend });
        }
        let rung = match client {
            Protocol::WebSocket => Rung::Splice,
            Protocol::Grpc | Protocol::Http => Rung::Frames,
        };
        Ok(Self { client, backend, rung })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagonal_passes_through_and_nothing_else_does_yet() {
        for client in Protocol::ALL {
            for backend in Protocol::ALL {
                let plan = Plan::choose(client, backend, Needs::Heads);
                assert_eq!(plan.is_ok(), client == backend, "{client:?} to {backend:?}");
            }
        }
        assert_eq!(
            Plan::choose(Protocol::WebSocket, Protocol::WebSocket, Needs::Heads)
                .unwrap()
                .rung,
            Rung::Splice
        );
        assert_eq!(
            Plan::choose(Protocol::Grpc, Protocol::Grpc, Needs::Heads).unwrap().rung,
            Rung::Frames
        );
    }
}
