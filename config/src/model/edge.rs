//! What the gateway tells of clients to backends, and of itself to both.

/// `[edge]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// How backends are told who the client is, and what is believed of trusted proxies. Default: `x-forwarded`.
    pub forwarded: Forwarded,
    /// Whose `x-request-id` is kept. Default: trusted proxies'.
    pub request_id: RequestIds,
    /// Where `via` names this gateway. Default: both.
    pub via: Via,
    /// What `proxy-status` says on answers that the gateway made. Default: the error.
    pub proxy_status: ProxyStatus,
}

/// In which fields a client's address travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// `x-forwarded-for`, `-proto` and `-host`.
    XForwarded,
    /// `forwarded` (RFC 7239).
    Forwarded,
    /// Both are said; of trusted proxies `forwarded` is believed where it is there.
    Both,
    /// Nothing is said, and nothing believed.
    None,
}

/// Whose `x-request-id` is kept. Where none is, the gateway makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIds {
    /// That of trusted proxies.
    Trusted,
    /// That of any client.
    Any,
    /// The field is left alone, and none is made.
    Off,
}

/// Where `via` names this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// In requests to backends and other sites.
    pub request: bool,
    /// In replies to clients and other sites.
    pub reply: bool,
}

/// What `proxy-status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyStatus {
    /// The kind of error.
    Error,
    /// What happened, too: it names backends.
    Details,
    /// Nothing.
    Off,
}
