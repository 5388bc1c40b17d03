//! Why a call failed: the kinds that cross a tunnel, so that the entry site renders them in the client's protocol.

use http::StatusCode;

use crate::status::Code;

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $( $(#[$doc:meta])* $variant:ident = $wire:literal $label:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $( $(#[$doc])* $variant ),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The byte that stands for it on the wire.
            pub fn wire(self) -> u8 {
                match self { $(Self::$variant => $wire),* }
            }

            /// The value of a byte from the wire; unknown ones have no value.
            pub fn from_wire(byte: u8) -> Option<Self> {
                match byte { $($wire => Some(Self::$variant),)* _ => None }
            }

            /// The word used in logs, metrics and the `code` of an error body.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }
        }
    };
}

wire_enum! {
    /// Why a call got no answer from its backend, or not a whole one.
    FailureKind {
        /// A breaker or a limit of this gateway kept the call from being sent.
        Breaker = 1 "breaker_open",
        /// No connection to the endpoint could be made.
        Connect = 2 "connect_failed",
        /// The deadline passed.
        Deadline = 3 "deadline_exceeded",
        /// The service has no usable endpoint.
        NoEndpoint = 4 "no_endpoint",
        /// No route matched.
        NoRoute = 5 "no_route",
        /// The backend broke its protocol, or went away in the middle of its answer.
        Protocol = 6 "backend_protocol",
        /// A policy or an export refused it.
        Refused = 7 "refused",
        /// No tunnel to the site, or it was lost.
        Tunnel = 8 "tunnel_down",
        /// The client's protocol cannot be translated to the backend's.
        Untranslatable = 9 "untranslatable",
        /// A body or head is over its limit.
        TooLarge = 10 "too_large",
        /// The gateway is short of memory or connections.
        Overload = 11 "overloaded",
        /// The gateway is at fault.
        Internal = 12 "internal",
        /// The request is malformed.
        BadRequest = 13 "bad_request",
        /// The call has been at this site before, or at too many.
        Loop = 14 "loop",
        /// The client went away.
        Cancelled = 15 "cancelled",
        /// The route exists, but not for this method.
        Method = 16 "method_not_allowed",
        /// The client was too slow with its request.
        ClientTimeout = 17 "client_timeout",
        /// The gateway is going away.
        Draining = 18 "draining",
        /// The client did not prove who it is.
        Unauthenticated = 19 "unauthenticated",
        /// The client has spent its rate for now.
        RateLimited = 20 "rate_limited",
        /// The client has spent its quota of the period.
        QuotaExceeded = 21 "quota_exceeded",
        /// The request is well-formed, but not what its schema or contract says.
        Invalid = 22 "invalid_request",
        /// What would verify the client's proof cannot be had just now.
        Unverifiable = 23 "unverifiable",
    }
}

impl FailureKind {
    /// What a gRPC client is told.
    pub fn code(self) -> Code {
        match self {
            Self::Breaker
            | Self::Connect
            | Self::NoEndpoint
            | Self::Tunnel
            | Self::Overload
            | Self::Draining
            | Self::Unverifiable => Code::Unavailable,
            Self::Deadline => Code::DeadlineExceeded,
            Self::NoRoute | Self::Untranslatable | Self::Method => Code::Unimplemented,
            Self::Refused => Code::PermissionDenied,
            Self::Protocol | Self::Internal => Code::Internal,
            Self::TooLarge | Self::RateLimited | Self::QuotaExceeded => Code::ResourceExhausted,
            Self::BadRequest | Self::Invalid => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Loop => Code::FailedPrecondition,
            Self::Cancelled | Self::ClientTimeout => Code::Cancelled,
        }
    }

    /// What an HTTP client is told.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Breaker | Self::NoEndpoint | Self::Tunnel | Self::Overload | Self::Draining | Self::Unverifiable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Connect | Self::Protocol => StatusCode::BAD_GATEWAY,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Refused => StatusCode::FORBIDDEN,
            Self::Untranslatable => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadRequest | Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::RateLimited | Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::Loop => StatusCode::LOOP_DETECTED,
            // 499 is nginx's; nobody reads it but the log.
            Self::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

wire_enum! {
    /// Why one side ended a call before its end.
    Reset {
        /// The client went away, or lost interest.
        Cancel = 1 "cancel",
        /// The deadline passed.
        Deadline = 2 "deadline",
        /// Not processed at all: any method may be tried again elsewhere.
        Refused = 3 "refused",
        /// A body is over its limit.
        TooLarge = 4 "too_large",
        /// More was sent than there was credit for.
        Flow = 5 "flow",
        /// The other side, or its backend or client, broke its protocol.
        Protocol = 6 "protocol",
        /// The permission for the call was taken back.
        Revoked = 7 "revoked",
        /// The call should be made again: the gateway goes away or its configuration changed.
        Moved = 8 "moved",
        /// The side that resets is at fault.
        Internal = 9 "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire_and_has_its_own_label() {
        let mut labels = std::collections::HashSet::new();
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::from_wire(kind.wire()), Some(*kind));
            assert!(labels.insert(kind.label()), "{kind:?} shares its label");
            assert!(kind.status().as_u16() >= 400, "{kind:?}");
            assert_ne!(kind.code(), Code::Ok, "{kind:?}");
        }
        for reset in Reset::ALL {
            assert_eq!(Reset::from_wire(reset.wire()), Some(*reset));
        }
        assert_eq!(Reset::from_wire(0), None);
    }
}
