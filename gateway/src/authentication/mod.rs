//! Proving who a client is: tokens, keys, passwords and certificates, and what is needed to verify them.
//!
//! The policies of a route ask these; what they keep (fetched keys, verdicts) outlives a reload, see
//! [`policy::State`](crate::policy::State).

pub mod api_keys;
pub mod certificates;
pub mod claims;
pub mod introspection;
pub mod issuer;
pub mod jwks;
pub mod jwt;
pub mod keys;
pub mod passwords;
pub mod verdicts;

#[cfg(test)]
pub(crate) mod testing;

/// The SHA-256 digest of a secret.
pub fn sha256(secret: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret);
    // SHA-256 has 32 bytes.
    if let Some(bytes) = digest.as_ref().first_chunk() {
        out = *bytes;
    }
    out
}
