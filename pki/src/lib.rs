//! Identities and certificates of causeway: a library, and the offline tool `causeway-pki`.
//!
//! - [`cli`]: the tool, for its own binary and for `causeway pki`.
//! - [`identity`]: trust domains and SPIFFE ids.
//! - [`bundle`], [`crl`]: whom to believe about which trust domain.
//! - [`credentials`]: our own certificate and key.
//! - [`authority`], [`issue`], [`store`]: making certificates, in a directory that the tool owns.
//! - [`verify`]: the one place where a peer is let in or refused.
//! - [`tls`]: that verifier as rustls configurations for tunnels.

pub mod authority;
pub mod bundle;
pub mod certificate;
pub mod cli;
pub mod credentials;
pub mod crl;
pub mod identity;
pub mod issue;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod verify;

pub use bundle::{TrustBundle, TrustBundles};
pub use credentials::Credentials;
pub use identity::{Identity, IdentityError, TrustDomain};
pub use tls::TunnelTls;
pub use verify::{Role, Trust, VerifyError, verify_peer};
