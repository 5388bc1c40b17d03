//! The policies of a route: what is checked, limited, kept or changed of its calls.

pub use crate::file::policies::{
    ApiKey, Authenticate, Authorize, Cors, CorsList, FrameOptions, Hsts, IpLists, Rule, SecurityHeaders, TokenPlace,
    VARIABLES,
};
pub use crate::file::policies::{Cache, CacheQuery};
pub use crate::file::policies::{Canary, CanaryPart, Compare, CompareBody, Mirror, Sticky};
pub use crate::file::policies::{Compression, Encoding, MethodOverride, Version, VersionPlace};
pub use crate::file::policies::{Concurrency, LimitKey, MessageLimit, OnExcess, Period, Quota, QuotaAmount, RateLimit};
pub use crate::file::policies::{FieldChanges, RequestTransform, ResponseTransform, Template, TemplatePart};

/// The policies that a route has configured. They run in the order of the gateway, not of the file.
///
/// One field for each, an `Option` named like its table in the file: `[routes.NAME]`. The file type and the checked
/// type of a policy are together in `file/policies/NAME.rs`.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Networks that may call, and that may not.
    pub ip: Option<IpLists>,
    /// Pages of other origins that may call.
    pub cors: Option<Cors>,
    /// Fields that make browsers careful.
    pub security_headers: Option<SecurityHeaders>,
    /// Replies made smaller.
    pub compression: Option<Compression>,
    /// A POST that stands for another method.
    pub method_override: Option<MethodOverride>,
    /// Where clients say the version of the API, and where the backend wants it.
    pub version: Option<Version>,
    /// What is changed of a call.
    pub request: Option<RequestTransform>,
    /// What is changed of a reply.
    pub response: Option<ResponseTransform>,
    /// How many calls may be open at once: `[routes.concurrency]`, or several rules, all of which must agree.
    pub concurrency: Vec<Concurrency>,
    /// How much may pass while a call is open.
    pub message_limit: Option<MessageLimit>,
    /// How much may be used in a period: `[routes.quota]`, or several rules, all of which must agree.
    pub quota: Vec<Quota>,
    /// How often calls may come: `[routes.rate_limit]`, or several rules, all of which must agree.
    pub rate_limit: Vec<RateLimit>,
    /// Who the client has to prove to be.
    pub authenticate: Option<Authenticate>,
    /// Which replies are kept, and for whom.
    pub cache: Option<Cache>,
    /// What who has proven who it is may do.
    pub authorize: Option<Authorize>,
    /// Who gets copies of its calls.
    pub mirror: Option<Mirror>,
    /// How a caller stays with one service of a split.
    pub sticky: Option<Sticky>,
}
