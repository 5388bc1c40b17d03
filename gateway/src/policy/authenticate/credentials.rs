//! Where a client puts what proves who it is, and taking it away again so that the backend does not get it.

use std::borrow::Cow;

use causeway_config::{ApiKey, TokenPlace};
use causeway_protocols::{CallHead, Field, FieldName, Fields, Protocol, Target, name};

/// What a client has presented of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// One.
    One(Cow<'a, str>),
    /// More than one, or bytes that are no text: which would the next one read?
    Unclear,
}

impl<'a> Presented<'a> {
    fn add(self, found: Option<&'a [u8]>) -> Self {
        let Some(found) = found else { return self };
        match (self, std::str::from_utf8(found)) {
            (Self::Nothing, Ok(text)) => Self::One(Cow::Borrowed(text)),
            _ => Self::Unclear,
        }
    }
}

/// The token of a call, at any of these places.
pub(super) fn token<'a>(head: &'a CallHead, places: &[TokenPlace]) -> Presented<'a> {
    let mut presented = Presented::Nothing;
    for place in places {
        match place {
            TokenPlace::Authorization => {
                for value in head.fields.all(name::AUTHORIZATION) {
                    presented = presented.add(scheme(value, "bearer"));
                }
            }
            TokenPlace::Header(name) => {
                for field in head.fields.iter().filter(|field| field.name.as_str() == name) {
                    presented = presented.add(Some(field.value));
                }
            }
            TokenPlace::Cookie(name) => {
                for (_, value) in cookies(&head.fields).filter(|(cookie, _)| *cookie == name.as_bytes()) {
                    presented = presented.add(Some(value));
                }
            }
            TokenPlace::Query(name) => presented = parameters(presented, head, name),
            TokenPlace::Subprotocol => {
                if let Some(found) = of_subprotocols(head) {
                    presented = presented.add(Some(found.0));
                }
            }
        }
    }
    presented
}

/// The API key of a call.
pub(super) fn api_key<'a>(head: &'a CallHead, place: &ApiKey) -> Presented<'a> {
    let mut presented = Presented::Nothing;
    for field in head.fields.iter().filter(|field| field.name.as_str() == place.header) {
        presented = presented.add(Some(field.value));
    }
    match &place.query {
        Some(name) => parameters(presented, head, name),
        None => presented,
    }
}

/// The name and the password of a call (RFC 7617), with a colon between.
pub(super) fn basic(head: &CallHead) -> Presented<'_> {
    let mut values = head
        .fields
        .all(name::AUTHORIZATION)
        .filter_map(|value| scheme(value, "basic"));
    match (values.next(), values.next()) {
        (None, _) => Presented::Nothing,
        (Some(encoded), None) => {
            let decoded = data_encoding::BASE64.decode(encoded).ok();
            let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            text.map_or(Presented::Unclear, |text| Presented::One(Cow::Owned(text)))
        }
        (Some(_), Some(_)) => Presented::Unclear,
    }
}

/// What follows the name of a scheme in `authorization` (RFC 9110, section 11.4).
pub(super) fn scheme<'a>(value: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    scheme
        .eq_ignore_ascii_case(wanted.as_bytes())
        .then(|| rest.trim_ascii_start())
}

/// Takes the token away from all its places.
pub(super) fn strip_token(head: &mut CallHead, places: &[TokenPlace]) {
    for place in places {
        match place {
            TokenPlace::Authorization => strip_scheme(&mut head.fields, "bearer"),
            TokenPlace::Header(name) => strip_field(&mut head.fields, name),
            TokenPlace::Cookie(name) => strip_cookie(&mut head.fields, name),
            TokenPlace::Query(name) => strip_parameter(head, name),
            TokenPlace::Subprotocol => {
                if let Some((_, others)) = of_subprotocols(head) {
                    let others = others.join(", ");
                    head.fields.remove(name::SEC_WEBSOCKET_PROTOCOL);
                    if !others.is_empty() {
                        // They were a field's value before.
                        head.fields
                            .push_known(name::SEC_WEBSOCKET_PROTOCOL, others.as_bytes())
                            .ok();
                    }
                }
            }
        }
    }
}

/// Takes the API key away.
pub(super) fn strip_api_key(head: &mut CallHead, place: &ApiKey) {
    strip_field(&mut head.fields, &place.header);
    if let Some(name) = &place.query {
        strip_parameter(head, name);
    }
}

/// Removes `authorization` where it is of this scheme.
pub(super) fn strip_scheme(fields: &mut Fields, wanted: &str) {
    let of_scheme = |field: Field<'_>| field.name.is(name::AUTHORIZATION) && scheme(field.value, wanted).is_some();
    if fields.iter().any(of_scheme) {
        fields.retain(|field| !of_scheme(field));
    }
}

/// Removes a field, also under names that a CGI cannot tell from it.
pub(super) fn strip_field(fields: &mut Fields, name: &str) {
    if fields.iter().any(|field| is_like(field.name, name)) {
        fields.retain(|field| !is_like(field.name, name));
    }
}

/// Whether a field would be taken for one of this name: `_` and `-` are one to CGI and its heirs.
fn is_like(field: FieldName<'_>, name: &str) -> bool {
    let text = field.as_str();
    text.len() == name.len()
        && text
            .bytes()
            .zip(name.bytes())
            .all(|(ours, theirs)| ours == theirs || (ours == b'_' && theirs == b'-'))
}

/// Whether a WebSocket offers nothing but its token: the answer must then name `bearer`, or browsers give up.
pub(super) fn offers_only_a_token(head: &CallHead) -> bool {
    of_subprotocols(head).is_some_and(|(_, others)| others.is_empty())
}

/// The token among the offered subprotocols, which follows `bearer`, and the others.
fn of_subprotocols(head: &CallHead) -> Option<(&[u8], Vec<&str>)> {
    if head.protocol != Protocol::WebSocket {
        return None;
    }
    let mut offered = head
        .fields
        .all(name::SEC_WEBSOCKET_PROTOCOL)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    let mut token = None;
    let mut others = Vec::new();
    while let Some(entry) = offered.next() {
        if token.is_none() && entry.eq_ignore_ascii_case(b"bearer") {
            token = Some(offered.next()?);
        } else {
            others.push(std::str::from_utf8(entry).ok()?);
        }
    }
    Some((token?, others))
}

/// All cookies (RFC 6265, section 4.2.1).
fn cookies(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields
        .all(name::COOKIE)
        .flat_map(|value| value.split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            Some((&pair[..equals], &pair[equals + 1..]))
        })
}

fn strip_cookie(fields: &mut Fields, name: &str) {
    let named = |pair: &&[u8]| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.starts_with(b"="))
    };
    if !cookies(fields).any(|(cookie, _)| cookie == name.as_bytes()) {
        return;
    }
    let mut kept = Vec::new();
    for value in fields.all(name::COOKIE) {
        for pair in value.split(|byte| *byte == b';').filter(|pair| !named(pair)) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair.trim_ascii());
        }
    }
    fields.remove(name::COOKIE);
    if !kept.is_empty() {
        // It was the value of fields before.
        fields.push_known(name::COOKIE, &kept).ok();
    }
}

fn parameters<'a>(mut presented: Presented<'a>, head: &'a CallHead, name: &str) -> Presented<'a> {
    for pair in head.target.query().into_iter().flat_map(|query| query.split('&')) {
        let Some(value) = pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) else {
            continue;
        };
        let decoded = match (value.contains(['%', '+']), &presented) {
            (false, _) => {
                presented = presented.add(Some(value.as_bytes()));
                continue;
            }
            (true, Presented::Nothing) => decode(value),
            (true, _) => None,
        };
        presented = decoded.map_or(Presented::Unclear, |value| Presented::One(Cow::Owned(value)));
    }
    presented
}

/// Undoes the encoding of a form.
fn decode(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn strip_parameter(head: &mut CallHead, name: &str) {
    let named = |pair: &str| pair.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    let Some(query) = head.target.query().filter(|query| query.split('&').any(named)) else {
        return;
    };
    let kept: Vec<_> = query.split('&').filter(|pair| !named(pair)).collect();
    let mut text = head.target.path().to_owned();
    if !kept.is_empty() {
        text.push('?');
        text.push_str(&kept.join("&"));
    }
    // A part of what was a target before is one.
    if let Ok(target) = Target::parse(head.target.authority.clone(), text.as_bytes()) {
        head.target = target;
    }
}

#[cfg(test)]
mod tests {
    use causeway_protocols::{Authority, Length, Scheme};

    use super::*;

    /// Names and values.
    type Lines = &'static [(&'static str, &'static str)];

    fn head(target: &str, fields: &[(&str, &str)], protocol: Protocol) -> CallHead {
        let mut all = Fields::new();
        for (name, value) in fields {
            all.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        CallHead {
            protocol,
            method: http::Method::GET,
            scheme: Scheme::Https,
            target: Target::parse(Authority::default(), target.as_bytes()).unwrap(),
            fields: all,
            length: Length::Empty,
            hold: false,
        }
    }

    fn everywhere() -> Vec<TokenPlace> {
        vec![
            TokenPlace::Authorization,
            TokenPlace::Header("x-token".to_owned()),
            TokenPlace::Cookie("session".to_owned()),
            TokenPlace::Query("access_token".to_owned()),
            TokenPlace::Subprotocol,
        ]
    }

    #[test]
    fn a_token_is_found_at_each_place_and_taken_away_there_alone() {
        #[rustfmt::skip]
        let table: [(&str, Lines, Protocol, &str, Lines); 8] = [
            ("/a", &[("authorization", "Bearer t")], Protocol::Http, "/a", &[]),
            ("/a", &[("authorization", "bearer   t"), ("accept", "x")], Protocol::Grpc, "/a", &[("accept", "x")]),
            ("/a", &[("x-token", "t"), ("x_token", "u")], Protocol::Http, "/a", &[]),
            ("/a", &[("cookie", "a=1; session=t; b=2"), ("cookie", "c=3")], Protocol::Http, "/a", &[("cookie", "a=1; b=2; c=3")]),
            ("/a", &[("cookie", "session=t")], Protocol::Http, "/a", &[]),
            ("/a?x=1&access_token=t&y=2", &[], Protocol::Http, "/a?x=1&y=2", &[]),
            ("/a?access_token=%74", &[], Protocol::Http, "/a", &[]),
            ("/a", &[("sec-websocket-protocol", "chat, Bearer, t, v2")], Protocol::WebSocket, "/a", &[("sec-websocket-protocol", "chat, v2")]),
        ];
        for (target, fields, protocol, left_target, left) in table {
            let mut head = head(target, fields, protocol);
            assert_eq!(token(&head, &everywhere()), Presented::One("t".into()), "{fields:?}");
            assert_eq!(token(&head, &[]), Presented::Nothing);
            strip_token(&mut head, &everywhere());
            assert_eq!(head.target.path_and_query(), left_target);
            let fields: Vec<_> = head
                .fields
                .iter()
                .map(|field| (field.name.as_str(), field.text().unwrap()))
                .collect();
            assert_eq!(fields, left);
            assert_eq!(token(&head, &everywhere()), Presented::Nothing);
        }
    }

    #[test]
    fn a1_two_tokens_are_unclear() {
        #[rustfmt::skip]
        let table: [(&str, Lines); 5] = [
            ("/a", &[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
            ("/a?access_token=a", &[("authorization", "Bearer b")]),
            ("/a?access_token=a&access_token=b", &[]),
            ("/a", &[("cookie", "session=a; session=b")]),
            ("/a?access_token=%ff", &[]),
        ];
        for (target, fields) in table {
            let head = head(target, fields, Protocol::Http);
            assert_eq!(token(&head, &everywhere()), Presented::Unclear, "{target} {fields:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        #[rustfmt::skip]
        let table: [(&str, Lines); 5] = [
            ("/a", &[("authorization", "Basic dDp0")]),
            ("/a", &[("authorization", "Bearert")]),
            ("/a?xaccess_token=t&access_tokenx=t&access_token", &[]),
            ("/a", &[("cookie", "xsession=t; session")]),
            ("/a", &[("sec-websocket-protocol", "bearer, t")]),
        ];
        for (target, fields) in table {
            let head = head(target, fields, Protocol::Http);
            assert_eq!(token(&head, &everywhere()), Presented::Nothing, "{target} {fields:?}");
        }
        let cut = head("/a", &[("sec-websocket-protocol", "bearer")], Protocol::WebSocket);
        assert_eq!(token(&cut, &everywhere()), Presented::Nothing);
        let only = head("/a", &[("sec-websocket-protocol", "bearer, t")], Protocol::WebSocket);
        assert!(offers_only_a_token(&only));
    }
}
