//! `[routes.method_override]`: a POST that stands for another method.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::all;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// `[routes.method_override]` as written; `{}` for the defaults.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodOverrideFile {
    /// Methods that `x-http-method-override` of a POST may name. Default: `PUT`, `PATCH` and `DELETE`.
    methods: Option<Vec<String>>,
}

/// What `x-http-method-override` of a POST may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodOverride {
    /// Upper case.
    pub methods: Vec<http::Method>,
}

impl MethodOverrideFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<MethodOverride> {
        let written = self
            .methods
            .unwrap_or_else(|| ["PUT", "PATCH", "DELETE"].map(str::to_owned).to_vec());
        let methods = all(Some(written), &at.key("methods"), |text, at| {
            match text.parse::<http::Method>() {
                Ok(method) if method != http::Method::CONNECT && method != http::Method::TRACE => Some(method),
                _ => {
                    problems.add(
                        at,
                        format!("`{}` is not a method that a POST may stand for", brief(&text)),
                    );
                    None
                }
            }
        })?;
        Some(MethodOverride { methods })
    }
}
