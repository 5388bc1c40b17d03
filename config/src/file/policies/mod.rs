//! The policies of a route, one file each: the table as written, and the checked type it is made into.

mod cors;
mod ip;
mod security_headers;

pub use cors::{Cors, CorsList};
pub use ip::IpLists;
pub use security_headers::{FrameOptions, Hsts, SecurityHeaders};

pub(super) use cors::CorsFile;
pub(super) use ip::IpFile;
pub(super) use security_headers::SecurityHeadersFile;

use super::value::optional;
use crate::path::KeyPath;
use crate::policies::Policies;
use crate::problems::Problems;

/// The policy tables of `[[routes]]`.
#[derive(Debug)]
pub(super) struct PoliciesFile {
    pub(super) ip: Option<IpFile>,
    pub(super) cors: Option<CorsFile>,
    pub(super) security_headers: Option<SecurityHeadersFile>,
}

impl PoliciesFile {
    /// Checks each by itself; `at` is the route.
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Policies> {
        let ip = optional(self.ip, |ip| ip.parse(&at.key("ip"), problems));
        let cors = optional(self.cors, |cors| cors.parse(&at.key("cors"), problems));
        let security_headers = optional(self.security_headers, |headers| {
            headers.parse(&at.key("security_headers"), problems)
        });
        Some(Policies {
            ip: ip?,
            cors: cors?,
            security_headers: security_headers?,
        })
    }
}
