//! The changes that the admin port takes, and who may ask for them.
//!
//! On the Unix socket whoever could open it may. Over TCP it takes the configured token, and a JSON body besides: a page in a
//! browser can send a form across sites, but not a body of that type.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use subtle::ConstantTimeEq;

use super::answer::{JSON, TEXT, not_allowed, reply};
use super::{Shared, Surface};

/// Of a request's body: there is nothing to say but `{}`.
const BODY: usize = 4096;

/// Answers `POST /reload`, `POST /drain` and `POST /purge`.
pub(super) async fn change<B>(request: Request<B>, surface: Surface, shared: &Shared) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (head, body) = request.into_parts();
    let name = match head.uri.path() {
        "/reload" => "reload",
        "/purge" => "purge",
        _ => "drain",
    };
    let Some(control) = &shared.parts.control else {
        return reply(StatusCode::FORBIDDEN, TEXT, "this gateway takes no changes\n");
    };
    let refused = |answer: Response<Full<Bytes>>| {
        shared.changes.with(&[name, "refused"]).inc();
        answer
    };
    if surface != Surface::Write
        && let Some(answer) = refuse_stranger(&head.headers, shared)
    {
        tracing::warn!(
            change = name,
            status = answer.status().as_u16(),
            "a change was refused at the admin port"
        );
        return refused(answer);
    }
    if head.method != Method::POST {
        return refused(not_allowed("POST", "only POST\n"));
    }
    if surface != Surface::Write
        && let Some(answer) = refuse_body(&head.headers, body).await
    {
        return refused(answer);
    }
    let result = match name {
        "reload" => control.reload().await,
        "purge" => control.purge(head.uri.query().unwrap_or_default()).await,
        _ => control.drain().await,
    };
    let label = if result.is_ok() { "success" } else { "failure" };
    shared.changes.with(&[name, label]).inc();
    match result {
        Ok(done) => reply(StatusCode::OK, JSON, format!("{done:#}\n")),
        Err(problems) => reply(StatusCode::UNPROCESSABLE_ENTITY, JSON, format!("{problems:#}\n")),
    }
}

/// The refusal of whoever does not bring our token in the one `Authorization`.
fn refuse_stranger(headers: &HeaderMap, shared: &Shared) -> Option<Response<Full<Bytes>>> {
    let Some(token) = &shared.token else {
        let text = "changes are taken on the admin socket, or with a token: set `admin.socket` or `admin.token_file`\n";
        return Some(reply(StatusCode::FORBIDDEN, TEXT, text));
    };
    let given = only(headers, &AUTHORIZATION)
        .and_then(|value| value.split_at_checked("Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer "))
        .map_or("", |(_, given)| given);
    // Takes as long for every wrong token of the right length, wherever it differs.
    if bool::from(given.as_bytes().ct_eq(token.expose().as_bytes())) {
        return None;
    }
    let mut answer = reply(StatusCode::UNAUTHORIZED, TEXT, "the admin token is needed\n");
    let challenge = HeaderValue::from_static("Bearer realm=\"causeway admin\"");
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    Some(answer)
}

/// The refusal of a body that is not an empty JSON object, or does not say that it is one.
async fn refuse_body<B>(headers: &HeaderMap, body: B) -> Option<Response<Full<Bytes>>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let kind = only(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(JSON)) {
        let text = "send `{}` as application/json\n";
        return Some(reply(StatusCode::UNSUPPORTED_MEDIA_TYPE, TEXT, text));
    }
    let bytes = match Limited::new(body, BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Some(reply(StatusCode::PAYLOAD_TOO_LARGE, TEXT, "the body is too large\n"));
        }
        Err(_) => return Some(reply(StatusCode::BAD_REQUEST, TEXT, "the body broke off\n")),
    };
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes) {
        Ok(members) if members.is_empty() => None,
        Ok(members) => {
            let key = members.keys().next().map_or("", String::as_str);
            let text = format!("`{}` is no member that is known here\n", key.escape_debug());
            Some(reply(StatusCode::BAD_REQUEST, TEXT, text))
        }
        Err(error) => Some(reply(
            StatusCode::BAD_REQUEST,
            TEXT,
            format!("the body is no JSON object: {error}\n"),
        )),
    }
}

/// A field that is there exactly once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
