//! What client and backend edge refuse, and that nothing depends on where the input was cut.

mod bodies;
mod properties;
mod requests;
mod responses;
mod smuggling;

use super::*;
use crate::call::Scheme;

/// A request's verdict: what it came to, or why not.
fn request(bytes: &[u8]) -> Result<Parsed<Request>, RequestError> {
    request::parse(bytes, &Limits::default(), Scheme::Http)
}

/// A request that has to be legal.
fn legal(bytes: &[u8]) -> Request {
    match request(bytes) {
        Ok(Parsed::Complete { head, consumed }) => {
            assert!(bytes[..consumed].ends_with(b"\r\n\r\n"), "{}", bytes.escape_ascii());
            head
        }
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// The error that a request has to be refused with, after any cut.
fn refused(bytes: &[u8]) -> RequestError {
    let whole = request(bytes);
    let Err(error) = whole else {
        panic!("{} was let through: {whole:?}", bytes.escape_ascii());
    };
    for cut in 0..bytes.len() {
        match request(&bytes[..cut]) {
            Ok(Parsed::Partial) => {}
            Err(earlier) => assert_eq!(earlier, error, "{} cut at {cut}", bytes.escape_ascii()),
            Ok(_) => panic!("{} is complete when cut at {cut}", bytes.escape_ascii()),
        }
    }
    error
}

/// `GET / HTTP/1.1` with these lines after its host.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

/// `POST / HTTP/1.1` with these bytes after its host, up to the empty line.
fn post(lines: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n"].concat()
}
