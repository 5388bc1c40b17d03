//! A status as the close code of a WebSocket, and back: lossless for what a call ends with, and RFC 6455's meaning for
//! what a WebSocket itself ends with.

use super::{Code, Status};

/// Bytes of a reason that a close frame has room for (RFC 6455, section 5.5).
pub const MAX_REASON: usize = 123;

/// Who sent a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// We did, because of what the peer had sent.
    Us,
    /// The peer did.
    Peer,
}

/// The close code and reason of a status: 1000 for OK and 4000 + code for any other, with the message as the reason.
/// Numbers that do not fit below 5000 become those of UNKNOWN.
pub fn close_of(status: &Status) -> (u16, String) {
    let code = match u16::try_from(status.number) {
        Ok(0) => 1000,
        Ok(number @ 1..1000) => 4000 + number,
        _ => Code::Unknown.close(),
    };
    (code, cut_reason(&status.message).to_owned())
}

/// What of a reason fits in a close frame, cut between characters.
pub fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// The status of a close. A frame without a code (1005) is a clean end, as 1000 is. Codes that have no meaning here
/// are UNKNOWN; 4017 to 4999 keep their number.
pub fn of_close(code: u16, reason: &str, by: ClosedBy) -> Status {
    let message = if reason.is_empty() && !matches!(code, 1000 | 1005) {
        match code {
            1006 => "WebSocket ended without a close frame".to_owned(),
            _ => format!("WebSocket closed with code {code}"),
        }
    } else {
        reason.to_owned()
    };
    let code = match code {
        1000 | 1005 => Code::Ok,
        1001 | 1006 | 1012 | 1013 => Code::Unavailable,
        1002 | 1003 | 1007 => match by {
            ClosedBy::Peer => Code::Internal,
            ClosedBy::Us => Code::InvalidArgument,
        },
        1008 => Code::PermissionDenied,
        1009 => Code::ResourceExhausted,
        1011 => Code::Internal,
        4001..5000 => return Status::of_number(u32::from(code - 4000), message),
        _ => Code::Unknown,
    };
    Status::new(code, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn w5_closes_have_the_status_that_the_table_says() {
        #[rustfmt::skip]
        let table = [
            (1000, Code::Ok), (1001, Code::Unavailable), (1002, Code::Internal), (1003, Code::Internal),
            (1004, Code::Unknown), (1005, Code::Ok), (1006, Code::Unavailable), (1007, Code::Internal),
            (1008, Code::PermissionDenied), (1009, Code::ResourceExhausted), (1010, Code::Unknown),
            (1011, Code::Internal), (1012, Code::Unavailable), (1013, Code::Unavailable), (3000, Code::Unknown),
            (4000, Code::Unknown), (4007, Code::PermissionDenied), (4016, Code::Unauthenticated),
        ];
        for (close, code) in table {
            assert_eq!(of_close(close, "", ClosedBy::Peer).code, code, "{close}");
        }
        for close in [1002, 1003, 1007] {
            assert_eq!(of_close(close, "", ClosedBy::Us).code, Code::InvalidArgument, "{close}");
        }
        let odd = of_close(4321, "why", ClosedBy::Peer);
        assert_eq!((odd.code, odd.number, &odd.message[..]), (Code::Unknown, 321, "why"));
        assert_eq!(
            of_close(1006, "", ClosedBy::Peer).message,
            "WebSocket ended without a close frame"
        );
    }

    proptest! {
        #[test]
        fn w5_a_status_survives_its_close_and_the_reason_is_cut_between_characters(
            number in 1u32..1000, message in "\\PC{1,80}",
        ) {
            let status = Status::of_number(number, message);
            let (code, reason) = close_of(&status);
            prop_assert!(reason.len() <= MAX_REASON && status.message.starts_with(&reason));
            prop_assert!(reason.len() == status.message.len() || reason.len() > MAX_REASON - 4);
            let back = of_close(code, &reason, ClosedBy::Peer);
            prop_assert_eq!((back.code, back.number), (status.code, status.number));
        }

        #[test]
        fn w5_no_status_makes_a_code_that_must_not_be_sent(number in any::<u32>()) {
            let (code, _) = close_of(&Status::of_number(number, ""));
            prop_assert!(code == 1000 || (4001..5000).contains(&code));
        }
    }
}
