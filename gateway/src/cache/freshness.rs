//! Whether a reply may be kept, and how long it is fresh (RFC 9111, sections 3 and 4.2). Pure: it is told the time.

use std::time::{Duration, SystemTime};

use causeway_config as config;
use causeway_protocols::{Fields, ReplyHead, name};
use http::StatusCode;

use super::directives::ReplyDirectives;

/// How long a kept reply may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How old it was when it came (section 4.2.3, `corrected_initial_age`).
    pub age: Duration,
    /// The age at which it becomes stale; zero: it is checked each time.
    pub lifetime: Duration,
    /// For so long after that it may be served while a fresh one is fetched.
    pub while_revalidate: Duration,
    /// For so long after that it may be served when no fresh one can be had.
    pub if_error: Duration,
}

/// What matters of the call that a reply answers.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// It had credentials, and the key does not tell callers apart.
    pub credentials: bool,
    /// It had cookies.
    pub cookies: bool,
    /// It said `no-store`.
    pub no_store: bool,
    /// From the call to the head of its reply.
    pub took: Duration,
}

/// Why a reply is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// The call asked for that.
    Asked,
    /// The reply is for one caller, or for none to keep.
    Forbidden,
    /// Nothing says how long it is fresh, or it is stale already and cannot be checked.
    NotFresh,
    /// Its status is one whose meaning does not outlive the call, or is a part of something.
    Status,
    /// It depends on too much, or on what nobody can know.
    Vary,
}

/// The terms on which a reply may be kept.
///
/// # Errors
/// Why it may not.
pub fn terms(rules: &config::Cache, asked: Asked, reply: &ReplyHead, now: SystemTime) -> Result<Terms, Unkept> {
    if asked.no_store {
        return Err(Unkept::Asked);
    }
    let fields = &reply.fields;
    let said = ReplyDirectives::of(fields);
    let shared = said.public || said.s_maxage.is_some() || said.must_revalidate;
    // A cookie that is set is one caller's; section 3.5 for credentials.
    if said.forbidden || fields.has(name::SET_COOKIE) || (asked.credentials && !shared) {
        return Err(Unkept::Forbidden);
    }
    if fields
        .all(name::VARY)
        .any(|value| value.split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"*"))
    {
        return Err(Unkept::Vary);
    }
    if !is_understood(reply.status) || fields.has(name::CONTENT_RANGE) {
        return Err(Unkept::Status);
    }
    let date = fields.text(name::DATE).and_then(parse_date);
    let lifetime = match explicit(&said, fields, date.unwrap_or(now)) {
        Some(lifetime) => lifetime,
        // To be checked each time is a lifetime, too.
        None if said.no_cache => Duration::ZERO,
        None => implied(rules, &asked, reply.status).ok_or(Unkept::NotFresh)?,
    };
    let lifetime = if said.no_cache { Duration::ZERO } else { lifetime };
    if lifetime.is_zero() && validator(fields).is_none() {
        return Err(Unkept::NotFresh);
    }
    let stated = fields
        .text(name::AGE)
        .and_then(|age| age.trim().parse().ok())
        .unwrap_or(0);
    let apparent = date.and_then(|date| now.duration_since(date).ok()).unwrap_or_default();
    let corrected = Duration::from_secs(stated).saturating_add(asked.took);
    // `s-maxage` alone says that nobody wants it stale (section 5.2.2.10); a permission beside it is one.
    let strict = said.must_revalidate || said.no_cache;
    let stale = |stated: Option<Duration>, configured: Duration| match stated {
        _ if strict => Duration::ZERO,
        Some(stated) => stated,
        None if said.s_maxage.is_some() => Duration::ZERO,
        None => configured,
    };
    Ok(Terms {
        age: apparent.max(corrected),
        lifetime,
        while_revalidate: stale(said.while_revalidate, rules.stale_while_revalidate),
        if_error: stale(said.if_error, rules.stale_if_error),
    })
}

/// The lifetime that a reply states (section 4.2.1).
fn explicit(said: &ReplyDirectives, fields: &Fields, date: SystemTime) -> Option<Duration> {
    if let Some(age) = said.s_maxage.or(said.max_age) {
        return Some(age);
    }
    // What is no date, "0" above all, is in the past (section 5.3).
    let expires = fields.get(name::EXPIRES)?;
    let expires = std::str::from_utf8(expires).ok().and_then(parse_date);
    Some(
        expires
            .and_then(|expires| expires.duration_since(date).ok())
            .unwrap_or_default(),
    )
}

/// The lifetime that the route gives to replies that state none. Not where cookies may have made the answer.
fn implied(rules: &config::Cache, asked: &Asked, status: StatusCode) -> Option<Duration> {
    if asked.cookies {
        return None;
    }
    if let Some(ttl) = rules.negative.get(&status.as_u16()) {
        return Some(*ttl);
    }
    matches!(status.as_u16(), 200 | 203 | 204 | 301 | 308)
        .then_some(rules.ttl)
        .flatten()
}

/// Final statuses that a cache knows the meaning of (section 3). Not parts of something, and not those that are about one
/// request (400, 403, 414, 431): a client could make them for everybody (threats.md, C1).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 451 | 500..=504
    )
}

/// What a kept reply can be checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator<'a> {
    /// `etag`
    Tag(&'a [u8]),
    /// `last-modified`
    Date(&'a [u8]),
}

/// The stronger one that a reply has.
pub fn validator(fields: &Fields) -> Option<Validator<'_>> {
    if let Some(tag) = fields.get(name::ETAG) {
        return Some(Validator::Tag(tag));
    }
    fields.get(name::LAST_MODIFIED).map(Validator::Date)
}

/// An HTTP-date in any of its three forms (RFC 9110, section 5.6.7).
pub fn parse_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests;
