//! The header of the PROXY protocol, versions 1 and 2: what a load balancer says of a connection before its first byte.
//!
//! It is read to its last byte and not further: what follows is TLS or HTTP. A header that is malformed, too long or too
//! slow ends the connection: guessing would let clients say where they come from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, CRLF included.
const LINE: usize = 107;
/// Addresses and TLVs of version 2; TLVs are skipped.
const MAX_V2: usize = 4096;

/// Reads the header. None: it speaks of no client, as health checks of balancers do.
///
/// # Errors
/// `InvalidData` for what is no header, and those of the stream.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; SIGNATURE.len()];
    // The shortest line of version 1, `PROXY UNKNOWN`, is longer.
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        read_v2(stream).await
    } else if start.starts_with(b"PROXY ") {
        read_v1(stream, &start).await
    } else {
        Err(invalid("is missing"))
    }
}

async fn read_v1(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE {
            return Err(invalid("has a line that is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    let text = std::str::from_utf8(&line).map_err(|_| invalid("is not ASCII"))?;
    parse_v1(text).ok_or_else(|| invalid("is malformed"))
}

/// Outer: whether it is a header.
#[expect(
    clippy::option_option,
    reason = "outer: whether it is a header; inner: whether it names a client"
)]
fn parse_v1(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let port = |text: &str| -> Option<u16> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| Some(SocketAddr::new(source, source_port)))
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let (version, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_V2 {
        return Err(invalid("is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    parse_v2(version, family, &rest).ok_or_else(|| invalid("is malformed"))
}

/// Outer: whether it is a header.
#[expect(
    clippy::option_option,
    reason = "outer: whether it is a header; inner: whether it names a client"
)]
fn parse_v2(version: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    match version {
        // LOCAL: the balancer's own connection.
        0x20 => return Some(None),
        // PROXY.
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    match family {
        // Unspecified: the receiver uses what it sees.
        0x00 => Some(None),
        0x11 => {
            let source: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            rest.get(..12)?;
            Some(Some(SocketAddr::new(Ipv4Addr::from(source).into(), port(8)?)))
        }
        0x21 => {
            let source: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            rest.get(..36)?;
            Some(Some(SocketAddr::new(Ipv6Addr::from(source).into(), port(32)?)))
        }
        // Datagrams and Unix sockets: no such client can be here.
        _ => None,
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the PROXY protocol header {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mut wire: &[u8]) -> Result<(Option<String>, usize), io::ErrorKind> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let length = wire.len();
        let read = {
            let mut reading = std::pin::pin!(read(&mut wire));
            match reading.as_mut().poll(&mut cx) {
                std::task::Poll::Ready(read) => read,
                std::task::Poll::Pending => panic!("a slice is never pending"),
            }
        };
        let address = read.map_err(|error| error.kind())?;
        Ok((address.map(|address| address.to_string()), length - wire.len()))
    }

    fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut wire = SIGNATURE.to_vec();
        wire.extend([version, family]);
        wire.extend((rest.len() as u16).to_be_bytes());
        wire.extend(rest);
        wire
    }

    #[test]
    fn version_1_is_read_to_its_end_and_not_further() {
        #[rustfmt::skip]
        let table: [(&str, Option<Option<&str>>); 12] = [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n", Some(Some("192.0.2.1:4711"))),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some(Some("[2001:db8::1]:1"))),
            ("PROXY UNKNOWN\r\n", Some(None)), ("PROXY UNKNOWN what ever\r\n", Some(None)),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", None), ("PROXY TCP4 1.1.1.1 1.1.1.1 +1 2\r\n", None),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", None), ("PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\n", None),
            ("PROXY  TCP4 1.1.1.1 1.1.1.1 1 2\r\n", None), ("PROXY UDP4 1.1.1.1 1.1.1.1 1 2\r\n", None),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", None), ("PROXY TCP4 1.1.1.1 1.1.1.1 1 2 3\r\n", None),
        ];
        for (text, expected) in table {
            let mut wire = text.as_bytes().to_vec();
            wire.extend(b"GET /");
            let expected = expected.map(|address| (address.map(str::to_owned), text.len()));
            assert_eq!(of(&wire).ok(), expected, "{text}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        assert_eq!(of(long.as_bytes()), Err(io::ErrorKind::InvalidData));
        assert_eq!(of(b"PROXY TCP4 1.1.1.1 1.1"), Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn version_2_skips_what_follows_the_addresses() {
        let mut four = vec![192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x67, 1, 0xbb];
        four.extend([0x04, 0, 2, 7, 7]);
        let mut six = vec![0; 36];
        (six[15], six[33]) = (1, 9);
        #[rustfmt::skip]
        let table: [(Vec<u8>, Option<Option<&str>>); 7] = [
            (v2(0x21, 0x11, &four), Some(Some("192.0.2.1:4711"))), (v2(0x21, 0x21, &six), Some(Some("[::1]:9"))),
            (v2(0x20, 0x00, &[]), Some(None)), (v2(0x21, 0x00, &[1, 2]), Some(None)), (v2(0x21, 0x11, &four[..11]), None),
            (v2(0x11, 0x11, &four), None), (v2(0x21, 0x31, &[0; 216]), None),
        ];
        for (mut wire, expected) in table {
            let expected = expected.map(|address| (address.map(str::to_owned), wire.len()));
            wire.extend(b"\x16\x03\x01");
            assert_eq!(of(&wire).ok(), expected, "{wire:?}");
        }
        assert_eq!(
            of(&v2(0x21, 0x11, &vec![0; MAX_V2 + 1])),
            Err(io::ErrorKind::InvalidData)
        );
    }
}
