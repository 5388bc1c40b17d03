//! How a status is written as JSON in the records that end a stream, and read from them.
//!
//! The form without schema is here. Who has the schema of the details gives functions that use it.

use std::fmt;
use std::rc::Rc;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::is_space;
use crate::status::{Status, json};

type WriteStatus = dyn Fn(&Status) -> Vec<u8>;
type ReadStatus = dyn Fn(&[u8]) -> Option<Status>;

/// Writes and reads the JSON of a `google.rpc.Status`.
#[derive(Clone)]
pub struct StatusJson {
    write: Rc<WriteStatus>,
    read: Rc<ReadStatus>,
}

impl StatusJson {
    /// The form without schema: details keep their bytes as base64.
    pub fn plain() -> Self {
        Self::new(json::write, json::read)
    }

    /// A form of one's own. `read` gives nothing for what is no Status.
    pub fn new(write: impl Fn(&Status) -> Vec<u8> + 'static, read: impl Fn(&[u8]) -> Option<Status> + 'static) -> Self {
        Self {
            write: Rc::new(write),
            read: Rc::new(read),
        }
    }

    /// The JSON of a status, without line breaks.
    pub fn of(&self, status: &Status) -> Vec<u8> {
        (self.write)(status)
    }

    /// The status in a JSON text; none if it is something else.
    pub fn read(&self, text: &[u8]) -> Option<Status> {
        (self.read)(text)
    }

    /// Writes `{"error": Status}`.
    pub fn write_record(&self, status: &Status, out: &mut BytesMut) {
        out.put_slice(b"{\"error\":");
        out.put_slice(&self.of(status));
        out.put_u8(b'}');
    }

    /// The status of a record `{"error": Status}`; none for anything else, an object with more keys among them.
    pub fn read_record(&self, text: &[u8]) -> Option<Status> {
        let inside = skip_spaces(text).strip_prefix(b"{")?;
        if !skip_spaces(inside).starts_with(b"\"error\"") {
            return None;
        }
        let record: Record<'_> = serde_json::from_slice(text).ok()?;
        self.read(record.error.get().as_bytes())
    }
}

impl Default for StatusJson {
    fn default() -> Self {
        Self::plain()
    }
}

impl fmt::Debug for StatusJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusJson").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| is_space(**byte)).count();
    &text[spaces..]
}
