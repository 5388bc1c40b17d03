//! Which rule of RFC 6455 a stream of frames broke, and the close code that says so.

/// Which rule a stream broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WsViolation {
    /// A client's frame without a mask (RFC 6455, section 5.1).
    #[error("frame from a client is not masked")]
    Unmasked,
    /// A server's frame with a mask (RFC 6455, section 5.1).
    #[error("frame from a server is masked")]
    Masked,
    /// A reserved bit that no extension has given a meaning.
    #[error("reserved bit is set")]
    Reserved,
    /// An opcode of 3 to 7 or 11 to 15.
    #[error("unknown opcode")]
    Opcode,
    /// A length in more bytes than it needs (RFC 6455, section 5.2).
    #[error("frame length is not in its shortest form")]
    LengthForm,
    /// A length of 2^63 or more (RFC 6455, section 5.2).
    #[error("frame length has its highest bit set")]
    LengthRange,
    /// A control frame over 125 bytes (RFC 6455, section 5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlLength,
    /// A control frame without FIN (RFC 6455, section 5.5).
    #[error("control frame is fragmented")]
    ControlFragment,
    /// A close frame of one byte, which is no code (RFC 6455, section 5.5.1).
    #[error("close frame with half a code")]
    ClosePayload,
    /// A continuation with nothing to continue (RFC 6455, section 5.4).
    #[error("continuation without a message")]
    Continuation,
    /// A new message inside a fragmented one (RFC 6455, section 5.4).
    #[error("message inside a message")]
    Interleaved,
    /// Bytes after a close frame (RFC 6455, section 5.5.1).
    #[error("data after a close frame")]
    AfterClose,
    /// A frame over the limit.
    #[error("frame is too large")]
    FrameTooLarge,
    /// A message over the limit.
    #[error("message is too large")]
    MessageTooLarge,
    /// A message of too many frames.
    #[error("message has too many fragments")]
    Fragments,
}

impl WsViolation {
    /// The close code to send to the side that broke the rule (RFC 6455, section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::FrameTooLarge | Self::MessageTooLarge => 1009,
            // Too many fragments are a policy of ours, and what they exhaust is the size that a message may have.
            Self::Fragments => 1009,
            _ => 1002,
        }
    }

    /// The word used in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unmasked => "unmasked",
            Self::Masked => "masked",
            Self::Reserved => "reserved_bit",
            Self::Opcode => "opcode",
            Self::LengthForm => "length_form",
            Self::LengthRange => "length_range",
            Self::ControlLength => "control_length",
            Self::ControlFragment => "control_fragment",
            Self::ClosePayload => "close_payload",
            Self::Continuation => "continuation",
            Self::Interleaved => "interleaved",
            Self::AfterClose => "after_close",
            Self::FrameTooLarge => "frame_too_large",
            Self::MessageTooLarge => "message_too_large",
            Self::Fragments => "fragments",
        }
    }
}
