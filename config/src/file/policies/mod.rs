//! The policies of a route, one file each: the table as written, and the checked type it is made into.

mod authenticate;
mod authorize;
mod cache;
mod concurrency;
mod cors;
mod ip;
mod key;
mod message_limit;
mod quota;
mod rate_limit;
mod rules;
mod security_headers;

pub use authenticate::{ApiKey, Authenticate, TokenPlace};
pub use authorize::{Authorize, Rule, VARIABLES};
pub use cache::{Cache, CacheQuery};
pub use concurrency::Concurrency;
pub use cors::{Cors, CorsList};
pub use ip::IpLists;
pub use key::LimitKey;
pub use message_limit::{MessageLimit, OnExcess};
pub use quota::{Period, Quota, QuotaAmount};
pub use rate_limit::RateLimit;
pub use security_headers::{FrameOptions, Hsts, SecurityHeaders};

pub(super) use authenticate::AuthenticateFile;
pub(super) use authorize::AuthorizeFile;
pub(super) use cache::CacheFile;
pub(super) use concurrency::ConcurrencyFile;
pub(super) use cors::CorsFile;
pub(super) use ip::IpFile;
pub(super) use message_limit::MessageLimitFile;
pub(super) use quota::QuotaFile;
pub(super) use rate_limit::RateLimitFile;
pub(super) use security_headers::SecurityHeadersFile;

use super::Known;
use super::value::{OneOrMany, optional};
use crate::path::KeyPath;
use crate::policies::Policies;
use crate::problems::Problems;

/// The policy tables of `[[routes]]`.
#[derive(Debug)]
pub(super) struct PoliciesFile {
    pub(super) ip: Option<IpFile>,
    pub(super) cors: Option<CorsFile>,
    pub(super) authenticate: Option<AuthenticateFile>,
    pub(super) authorize: Option<AuthorizeFile>,
    pub(super) security_headers: Option<SecurityHeadersFile>,
    pub(super) rate_limit: Option<OneOrMany<RateLimitFile>>,
    pub(super) quota: Option<OneOrMany<QuotaFile>>,
    pub(super) concurrency: Option<OneOrMany<ConcurrencyFile>>,
    pub(super) cache: Option<CacheFile>,
    pub(super) message_limit: Option<MessageLimitFile>,
}

impl PoliciesFile {
    /// Checks each by itself; `at` is the route.
    pub(super) fn parse(self, at: &KeyPath, known: &Known, problems: &mut Problems) -> Option<Policies> {
        let ip = optional(self.ip, |ip| ip.parse(&at.key("ip"), problems));
        let cors = optional(self.cors, |cors| cors.parse(&at.key("cors"), problems));
        let authenticate = optional(self.authenticate, |authenticate| {
            authenticate.parse(&at.key("authenticate"), known, problems)
        });
        let authorize = optional(self.authorize, |authorize| {
            authorize.parse(&at.key("authorize"), problems)
        });
        let security_headers = optional(self.security_headers, |headers| {
            headers.parse(&at.key("security_headers"), problems)
        });
        let rate_limit = rate_limit::parse(self.rate_limit, &at.key("rate_limit"), problems);
        let quota = quota::parse(self.quota, &at.key("quota"), problems);
        let concurrency = concurrency::parse(self.concurrency, &at.key("concurrency"), problems);
        let cache = optional(self.cache, |cache| cache.parse(&at.key("cache"), problems));
        let message_limit = optional(self.message_limit, |limit| {
            limit.parse(&at.key("message_limit"), problems)
        });
        Some(Policies {
            ip: ip?,
            cors: cors?,
            authenticate: authenticate?,
            authorize: authorize?,
            security_headers: security_headers?,
            rate_limit: rate_limit?,
            quota: quota?,
            concurrency: concurrency?,
            cache: cache?,
            message_limit: message_limit?,
        })
    }
}
