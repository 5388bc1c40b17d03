//! The version of an API: read where clients say it, and written where the backend wants it.

use std::rc::Rc;

use causeway_config::{self as config, VersionPlace};
use causeway_protocols::{CallHead, FailureKind, Protocol, Target, TargetError, name};

use super::{Admit, Policy, Shape, vary};
use crate::call::{Call, Reply};
use crate::context::CallContext;
use crate::error::CallError;

/// Lets calls of known versions through, and tells the backend which it is.
#[derive(Debug)]
pub(super) struct Version(pub(super) config::Version);

impl Policy for Version {
    fn name(&self) -> &'static str {
        "version"
    }

    fn admit<'a>(&'a self, call: &'a mut Call, _: &'a Rc<CallContext>) -> Admit<'a> {
        let head = &mut call.head;
        if head.protocol == Protocol::Grpc {
            return Admit::Pass;
        }
        let said = self.said(head);
        let version = match said.as_ref().or(self.0.default.as_ref()) {
            Some(version) if self.0.known.contains(version) => version.clone(),
            Some(version) => return self.refused(&format!("there is no version `{}`", version.escape_debug())),
            None => return self.refused("the request says no version"),
        };
        if let Err(error) = self
            .take_out(head, said.is_some())
            .and_then(|()| self.put_in(head, &version))
        {
            return Admit::refuse(CallError::new(FailureKind::BadRequest, error.to_string()));
        }
        Admit::Pass
    }

    fn shape<'a>(&'a self, reply: &'a mut Reply, cx: &'a Rc<CallContext>) -> Shape<'a> {
        if cx.protocol == Protocol::Http {
            match &self.0.from {
                VersionPlace::Path => {}
                VersionPlace::Header(name) => vary(&mut reply.head.fields, name),
                VersionPlace::MediaType(_) => vary(&mut reply.head.fields, "accept"),
            }
        }
        Shape::Done
    }
}

impl Version {
    fn refused(&self, what: &str) -> Admit<'static> {
        let detail = format!("{what}; known are {}", self.0.known.join(", "));
        Admit::refuse(CallError::new(FailureKind::Invalid, detail))
    }

    /// The version that the client says.
    fn said(&self, head: &CallHead) -> Option<String> {
        match &self.0.from {
            VersionPlace::Path => {
                let first = head.target.path().trim_start_matches('/').split('/').next()?;
                let version = first.strip_prefix('v')?;
                // `/videos` says no version.
                version
                    .starts_with(|c: char| c.is_ascii_digit())
                    .then(|| version.to_owned())
            }
            VersionPlace::Header(name) => {
                let value = head.fields.get_named(name)?;
                let text = String::from_utf8_lossy(value).trim().to_ascii_lowercase();
                Some(text.strip_prefix('v').map(str::to_owned).unwrap_or(text))
            }
            VersionPlace::MediaType(_) => head
                .fields
                .all(name::ACCEPT)
                .filter_map(|value| std::str::from_utf8(value).ok())
                .flat_map(|value| value.split(','))
                .find_map(of_media_type),
        }
    }

    /// What said the version to us is none of the backend's business.
    fn take_out(&self, head: &mut CallHead, said: bool) -> Result<(), TargetError> {
        match &self.0.from {
            VersionPlace::Path if said => {
                let path = head.target.path().trim_start_matches('/');
                let rest = path.split_once('/').map_or("", |(_, rest)| rest);
                head.target = head.target.with_path(&format!("/{rest}"))?;
            }
            VersionPlace::Header(name) => head.fields.retain(|field| field.name.as_str() != name),
            VersionPlace::Path | VersionPlace::MediaType(_) => {}
        }
        Ok(())
    }

    fn put_in(&self, head: &mut CallHead, version: &str) -> Result<(), TargetError> {
        match &self.0.to {
            None => {}
            Some(VersionPlace::Path) => head.target = with_version(&head.target, version)?,
            Some(VersionPlace::Header(name)) => {
                head.fields.retain(|field| field.name.as_str() != name);
                // A version of the configuration is always taken.
                head.fields.push(name.as_bytes(), version.as_bytes()).ok();
            }
            Some(VersionPlace::MediaType(kind)) => {
                let value = format!("{kind}; version={version}");
                head.fields.set(name::ACCEPT, value.as_bytes()).ok();
            }
        }
        Ok(())
    }
}

fn with_version(target: &Target, version: &str) -> Result<Target, TargetError> {
    target.with_path(&format!("/v{version}{}", target.path()))
}

/// `application/vnd.acme.v2+json`, or `application/json; version=2`.
fn of_media_type(element: &str) -> Option<String> {
    let lower = element.to_ascii_lowercase();
    let mut parts = lower.split(';').map(str::trim);
    let kind = parts.next()?;
    let parameter = parts.find_map(|part| part.strip_prefix("version="));
    if let Some(version) = parameter {
        return Some(version.trim_matches('"').to_owned());
    }
    let bare = kind.split_once('+').map_or(kind, |(bare, _)| bare);
    let (_, last) = bare.rsplit_once(".v")?;
    last.starts_with(|c: char| c.is_ascii_digit()).then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_says_its_version_by_name_or_by_parameter() {
        #[rustfmt::skip]
        let table = [
            ("application/vnd.acme.v2+json", Some("2")), ("application/vnd.acme.v2.1+json", Some("2.1")), ("application/json; version=3", Some("3")),
            ("application/json;q=0.5;version=\"3\"", Some("3")), ("application/vnd.acme.video+json", None), ("text/html", None), ("*/*", None),
        ];
        for (element, version) in table {
            assert_eq!(of_media_type(element).as_deref(), version, "{element}");
        }
    }
}
