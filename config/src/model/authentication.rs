//! Who may be believed about who a client is.

use std::path::PathBuf;
use std::time::Duration;

use super::Name;

/// `[[issuers]]`: who signs the tokens of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// What routes call it.
    pub name: Name,
    /// What `iss` must say.
    pub issuer: String,
    /// `aud` must hold one of these. Never empty.
    pub audiences: Vec<String>,
    /// The algorithms its keys are used with, all of one family. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: IssuerKeys,
    /// How far its clock may be from ours. Default 60 s.
    pub skew: Duration,
    /// Longest time from `iat` to `exp`. None: any.
    pub max_lifetime: Option<Duration>,
    /// Longest token in bytes. Default 8 KiB.
    pub max_token: usize,
    /// The claim that names the plan of a client.
    pub plan_claim: Option<String>,
}

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKeys {
    /// A JSON Web Key Set (RFC 7517) in a file.
    File(PathBuf),
    /// A JSON Web Key Set in the configuration.
    Inline(String),
    /// A file with the secret that both sides share, for `HS256` and its like.
    Secret(PathBuf),
    /// A JSON Web Key Set to be fetched.
    Url {
        /// Where it is.
        url: HttpUrl,
        /// PEM file of the roots to trust. Default: the system's.
        roots: Option<PathBuf>,
        /// How often it is fetched. Default 5 min.
        refresh: Duration,
        /// How long the keys are used while fetching fails. Default 24 h.
        stale: Duration,
    },
}

/// An `http` or `https` URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// The host in lower case; an IPv6 address without brackets.
    pub host: String,
    /// The port, also where it is the default one.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

impl HttpUrl {
    /// The `host` field of a request to it.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// A signature algorithm of JWS (RFC 7518, section 3.1, and RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// All of them, with their names in JWS.
    pub const ALL: [(&'static str, Self); 12] = [
        ("EdDSA", Self::EdDsa),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
    ];

    /// Whether both sides share a secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// `[[consumers]]`: a client that this gateway knows by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Name,
    /// Its plan, for limits and quotas.
    pub plan: Option<Name>,
    /// SHA-256 digests of its API keys.
    pub keys: Vec<[u8; 32]>,
    /// The digest of its password.
    pub password: Option<PasswordDigest>,
    /// What it was granted.
    pub scopes: Vec<String>,
}

/// A password that was digested with PBKDF2-HMAC-SHA256 (RFC 8018).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordDigest {
    /// Rounds.
    pub rounds: std::num::NonZeroU32,
    /// Salt.
    pub salt: Vec<u8>,
    /// 32 bytes.
    pub digest: [u8; 32],
}

/// `[[introspectors]]`: who is asked about tokens that say nothing by themselves (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspector {
    /// What routes call it.
    pub name: Name,
    /// Where to ask.
    pub url: HttpUrl,
    /// Who asks.
    pub client_id: String,
    /// A file with the secret of that.
    pub client_secret: PathBuf,
    /// PEM file of the roots to trust. Default: the system's.
    pub roots: Option<PathBuf>,
    /// `aud` must hold one of these; empty: any.
    pub audiences: Vec<String>,
    /// Longest wait. Default 2 s.
    pub timeout: Duration,
    /// How long a good answer is remembered. Default 60 s.
    pub cache: Duration,
    /// How much longer it is used while nobody answers. Default 0 s.
    pub stale: Duration,
}
