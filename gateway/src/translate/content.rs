//! What becomes of the content of each message: nothing, or JSON to protobuf and back.

use std::sync::Arc;

use causeway_protocols::message::Message;
use causeway_protocols::transcode::{Found, Method, ReplyContent, TranscodeError};

/// What messages hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON text.
    Json,
    /// Protobuf.
    Proto,
    /// Nobody knows, and it passes as it is.
    Opaque,
}

/// What a call is for, as far as it is known.
#[derive(Clone, Debug)]
pub enum Called {
    /// A rule of `google.api.http`, or the default one: path and query are a part of the request.
    Found(Box<Found>),
    /// A method by its path.
    Method(Arc<Method>),
    /// A path that nothing describes.
    Unknown,
}

impl Called {
    /// The method, if it is known.
    pub fn method(&self) -> Option<&Arc<Method>> {
        match self {
            Self::Found(found) => Some(found.method()),
            Self::Method(method) => Some(method),
            Self::Unknown => None,
        }
    }
}

/// What is done to each message of one direction.
#[derive(Debug)]
pub enum Content {
    /// Nothing.
    AsIs,
    /// JSON of a request to protobuf.
    RequestFromJson(Arc<Method>),
    /// The same, and the first message is joined with path and query.
    RequestOfRule {
        /// The rule with its path variables.
        found: Box<Found>,
        /// The query; gone after the first message.
        query: Option<Box<str>>,
    },
    /// A body that is no JSON, for `google.api.HttpBody`.
    RequestOfRaw {
        /// The rule with its path variables.
        found: Box<Found>,
        /// The query.
        query: Option<Box<str>>,
        /// What the body says that it is.
        content_type: Box<str>,
    },
    /// Protobuf of a request to JSON.
    RequestToJson(Arc<Method>),
    /// Protobuf of a reply to JSON.
    ReplyToJson(Arc<Method>),
    /// The same, as the rule wants it.
    ReplyOfRule {
        /// The rule.
        found: Box<Found>,
        /// What the last message said that it is, where it is no JSON (`google.api.HttpBody`).
        raw: Option<Box<str>>,
    },
    /// JSON of a reply to protobuf.
    ReplyFromJson(Arc<Method>),
    /// The body of an HTTP reply to protobuf.
    ReplyFromHttp {
        /// The method.
        method: Arc<Method>,
        /// What the body says that it is.
        content_type: Box<str>,
        /// And to JSON again, for a client that speaks JSON: the rule may have taken a field out.
        json: bool,
    },
}

impl Content {
    /// The message as the other side wants it.
    ///
    /// # Errors
    /// When it is not what the schema says.
    pub fn apply(&mut self, message: Message) -> Result<Message, TranscodeError> {
        let data = &message.data;
        // JSON is some times as long as protobuf; growing once costs less than most guesses.
        let mut out = Vec::with_capacity(data.len() + data.len() / 2 + 16);
        Ok(match self {
            Self::AsIs => message,
            Self::RequestFromJson(method) => {
                method.request_from_json(data, &mut out)?;
                Message::binary(out)
            }
            Self::RequestOfRule { found, query } => {
                // A client stream that has only path and query has no body for its one message.
                let body = (!data.is_empty()).then_some(&**data);
                found.request(query.take().as_deref(), body, &mut out)?;
                Message::binary(out)
            }
            Self::RequestOfRaw {
                found,
                query,
                content_type,
            } => {
                found.request_raw(query.take().as_deref(), content_type, data, &mut out)?;
                Message::binary(out)
            }
            Self::RequestToJson(method) => {
                method.request_to_json(data, &mut out)?;
                Message::text(out)
            }
            Self::ReplyToJson(method) => {
                method.reply_to_json(data, &mut out)?;
                Message::text(out)
            }
            Self::ReplyOfRule { found, raw } => match found.reply(data, &mut out)? {
                ReplyContent::Json => Message::text(out),
                ReplyContent::Raw { content_type } => {
                    *raw = Some(content_type.into());
                    Message::binary(out)
                }
            },
            Self::ReplyFromJson(method) => {
                method.reply_from_json(data, &mut out)?;
                Message::binary(out)
            }
            Self::ReplyFromHttp {
                method,
                content_type,
                json,
            } => {
                method.from_http_reply(content_type, data, &mut out)?;
                if *json {
                    let proto = std::mem::take(&mut out);
                    method.reply_to_json(&proto, &mut out)?;
                    return Ok(Message::text(out));
                }
                Message::binary(out)
            }
        })
    }

    /// What the messages are declared as, where they say so themselves and are no JSON.
    pub fn raw(&self) -> Option<&str> {
        match self {
            Self::ReplyOfRule { raw, .. } => raw.as_deref(),
            _ => None,
        }
    }
}
