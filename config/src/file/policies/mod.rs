//! The policies of a route, one file each: the table as written, and the checked type it is made into.

mod authenticate;
mod authorize;
mod cache;
mod compression;
mod concurrency;
mod cors;
mod ip;
mod key;
mod message_limit;
mod method_override;
mod mirror;
mod quota;
mod rate_limit;
mod rules;
mod security_headers;
mod sticky;
mod template;
mod transform;
mod version;

pub use authenticate::{ApiKey, Authenticate, TokenPlace};
pub use authorize::{Authorize, Rule, VARIABLES};
pub use cache::{Cache, CacheQuery};
pub use compression::{Compression, Encoding};
pub use concurrency::Concurrency;
pub use cors::{Cors, CorsList};
pub use ip::IpLists;
pub use key::LimitKey;
pub use message_limit::{MessageLimit, OnExcess};
pub use method_override::MethodOverride;
pub use mirror::{Compare, CompareBody, Mirror};
pub use quota::{Period, Quota, QuotaAmount};
pub use rate_limit::RateLimit;
pub use security_headers::{FrameOptions, Hsts, SecurityHeaders};
pub use sticky::{Canary, CanaryPart, Sticky};
pub use template::{Template, TemplatePart};
pub use transform::{FieldChanges, RequestTransform, ResponseTransform};
pub use version::{Version, VersionPlace};

pub(super) use authenticate::AuthenticateFile;
pub(super) use authorize::AuthorizeFile;
pub(super) use cache::CacheFile;
pub(super) use compression::CompressionFile;
pub(super) use concurrency::ConcurrencyFile;
pub(super) use cors::CorsFile;
pub(super) use ip::IpFile;
pub(super) use message_limit::MessageLimitFile;
pub(super) use method_override::MethodOverrideFile;
pub(super) use mirror::MirrorFile;
pub(super) use quota::QuotaFile;
pub(super) use rate_limit::RateLimitFile;
pub(super) use security_headers::SecurityHeadersFile;
pub(super) use sticky::{CanaryFile, StickyFile};
pub(super) use transform::{RequestFile, ResponseFile};
pub(super) use version::VersionFile;

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
    pub(super) compression: Option<CompressionFile>,
    pub(super) method_override: Option<MethodOverrideFile>,
    pub(super) version: Option<VersionFile>,
    pub(super) request: Option<RequestFile>,
    pub(super) response: Option<ResponseFile>,
    pub(super) rate_limit: Option<OneOrMany<RateLimitFile>>,
    pub(super) quota: Option<OneOrMany<QuotaFile>>,
    pub(super) concurrency: Option<OneOrMany<ConcurrencyFile>>,
    pub(super) cache: Option<CacheFile>,
    pub(super) message_limit: Option<MessageLimitFile>,
    pub(super) mirror: Option<MirrorFile>,
    pub(super) sticky: Option<StickyFile>,
}

impl PoliciesFile {
    /// Checks each by itself; `at` is the route, and `captures` are the parameters of its path.
    pub(super) fn parse(
        self,
        captures: &[String],
        at: &KeyPath,
        known: &Known,
        problems: &mut Problems,
    ) -> Option<Policies> {
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
        let mirror = optional(self.mirror, |mirror| mirror.parse(&at.key("mirror"), known, problems));
        let sticky = optional(self.sticky, |sticky| sticky.parse(&at.key("sticky"), problems));
        let cache = optional(self.cache, |cache| cache.parse(&at.key("cache"), problems));
        let message_limit = optional(self.message_limit, |limit| {
            limit.parse(&at.key("message_limit"), problems)
        });
        let compression = optional(self.compression, |compression| {
            compression.parse(&at.key("compression"), problems)
        });
        let method_override = optional(self.method_override, |methods| {
            methods.parse(&at.key("method_override"), problems)
        });
        let version = optional(self.version, |version| version.parse(&at.key("version"), problems));
        let request = optional(self.request, |request| {
            request.parse(captures, &at.key("request"), problems)
        });
        let response = optional(self.response, |response| {
            response.parse(captures, &at.key("response"), problems)
        });
        Some(Policies {
            compression: compression?,
            method_override: method_override?,
            version: version?,
            request: request?,
            response: response?,
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
            mirror: mirror?,
            sticky: sticky?,
        })
    }
}
