//! Who the original caller is, as the sites tell each other inside the tunnel.
//!
//! One version byte, then the client's address as text. Later versions append; what is not understood is ignored.

use std::net::IpAddr;

const VERSION: u8 = 1;

/// Writes the caller of a call.
pub fn encode(address: Option<IpAddr>) -> Option<Vec<u8>> {
    let address = address?;
    let mut out = vec![VERSION];
    out.extend_from_slice(address.to_string().as_bytes());
    Some(out)
}

/// Reads it. What a peer says about its client is never an error of the call: it only may be nothing.
pub fn address(caller: &[u8]) -> Option<IpAddr> {
    let (version, text) = caller.split_first()?;
    if *version != VERSION {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_crosses_and_garbage_is_nobody() {
        for text in ["10.1.2.3", "::1"] {
            let parsed: IpAddr = text.parse().unwrap();
            assert_eq!(address(&encode(Some(parsed)).unwrap()), Some(parsed));
        }
        for garbage in [&b""[..], b"\x01", b"\x02127.0.0.1", b"\x01127.0.0.1\0", b"\x01\xff"] {
            assert_eq!(address(garbage), None);
        }
    }
}
