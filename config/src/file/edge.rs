//! `[edge]`: what the gateway tells of clients to backends, and of itself to both.

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::choice;
use crate::model::{Edge, Forwarded, ProxyStatus, RequestIds, Via};
use crate::path::KeyPath;
use crate::problems::Problems;

/// `[edge]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EdgeFile {
    /// How backends are told who the client is, and what is believed of trusted proxies: `x-forwarded`, `forwarded` (RFC 7239),
    /// `both` or `none`.
    #[schemars(extend("enum" = ["x-forwarded", "forwarded", "both", "none"]))]
    forwarded: Option<String>,
    /// Whose `x-request-id` is kept: of `trusted` proxies, of `any` client, or the field is left alone (`off`). Others get one.
    #[schemars(extend("enum" = ["trusted", "any", "off"]))]
    request_id: Option<String>,
    /// Where `via` names this gateway (RFC 9110, section 7.6.3): in `request`, `reply`, `both`, or nowhere (`off`).
    #[schemars(extend("enum" = ["both", "request", "reply", "off"]))]
    via: Option<String>,
    /// What `proxy-status` (RFC 9209) says on answers that the gateway made: the `error`, its `details` too, or nothing (`off`).
    #[schemars(extend("enum" = ["error", "details", "off"]))]
    proxy_status: Option<String>,
}

impl EdgeFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Edge> {
        let both = Via {
            request: true,
            reply: true,
        };
        let neither = Via {
            request: false,
            reply: false,
        };
        let forwarded = choice(
            &self.forwarded?,
            &at.key("forwarded"),
            &[
                ("x-forwarded", Forwarded::XForwarded),
                ("forwarded", Forwarded::Forwarded),
                ("both", Forwarded::Both),
                ("none", Forwarded::None),
            ],
            problems,
        );
        let request_id = choice(
            &self.request_id?,
            &at.key("request_id"),
            &[
                ("trusted", RequestIds::Trusted),
                ("any", RequestIds::Any),
                ("off", RequestIds::Off),
            ],
            problems,
        );
        let via = choice(
            &self.via?,
            &at.key("via"),
            &[
                ("both", both),
                ("request", Via { reply: false, ..both }),
                ("reply", Via { request: false, ..both }),
                ("off", neither),
            ],
            problems,
        );
        let proxy_status = choice(
            &self.proxy_status?,
            &at.key("proxy_status"),
            &[
                ("error", ProxyStatus::Error),
                ("details", ProxyStatus::Details),
                ("off", ProxyStatus::Off),
            ],
            problems,
        );
        Some(Edge {
            forwarded: forwarded?,
            request_id: request_id?,
            via: via?,
            proxy_status: proxy_status?,
        })
    }
}
