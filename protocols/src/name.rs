//! Names of header fields: a static table of the common ones, each with an id of one byte.
//!
//! The ids are part of the wire form between two sites (`causeway/1`), so entries are only ever added at the end.
//! There is no dynamic table: it would depend on order, which QUIC streams do not keep, and invites HPACK bombs.

/// The id of a well-known field name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(u8);

macro_rules! names {
    ($( $id:literal $konst:ident $text:literal )*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $konst: NameId = NameId($id);
        )*
        const TEXTS: &[&str] = &["", $($text),*];
    };
}

names! {
    1 ACCEPT "accept"
    2 ACCEPT_CHARSET "accept-charset"
    3 ACCEPT_ENCODING "accept-encoding"
    4 ACCEPT_LANGUAGE "accept-language"
    5 ACCEPT_RANGES "accept-ranges"
    6 ACCESS_CONTROL_ALLOW_CREDENTIALS "access-control-allow-credentials"
    7 ACCESS_CONTROL_ALLOW_HEADERS "access-control-allow-headers"
    8 ACCESS_CONTROL_ALLOW_METHODS "access-control-allow-methods"
    9 ACCESS_CONTROL_ALLOW_ORIGIN "access-control-allow-origin"
    10 ACCESS_CONTROL_EXPOSE_HEADERS "access-control-expose-headers"
    11 ACCESS_CONTROL_MAX_AGE "access-control-max-age"
    12 ACCESS_CONTROL_REQUEST_HEADERS "access-control-request-headers"
    13 ACCESS_CONTROL_REQUEST_METHOD "access-control-request-method"
    14 AGE "age"
    15 ALLOW "allow"
    16 ALT_SVC "alt-svc"
    17 AUTHORIZATION "authorization"
    18 BAGGAGE "baggage"
    19 CACHE_CONTROL "cache-control"
    20 CACHE_STATUS "cache-status"
    21 CONNECTION "connection"
    22 CONTENT_DISPOSITION "content-disposition"
    23 CONTENT_ENCODING "content-encoding"
    24 CONTENT_LANGUAGE "content-language"
    25 CONTENT_LENGTH "content-length"
    26 CONTENT_LOCATION "content-location"
    27 CONTENT_RANGE "content-range"
    28 CONTENT_SECURITY_POLICY "content-security-policy"
    29 CONTENT_TYPE "content-type"
    30 COOKIE "cookie"
    31 DATE "date"
    32 ETAG "etag"
    33 EXPECT "expect"
    34 EXPIRES "expires"
    35 FORWARDED "forwarded"
    36 GRPC_ACCEPT_ENCODING "grpc-accept-encoding"
    37 GRPC_ENCODING "grpc-encoding"
    38 GRPC_MESSAGE "grpc-message"
    39 GRPC_STATUS "grpc-status"
    40 GRPC_STATUS_DETAILS_BIN "grpc-status-details-bin"
    41 GRPC_TIMEOUT "grpc-timeout"
    42 HOST "host"
    43 IF_MATCH "if-match"
    44 IF_MODIFIED_SINCE "if-modified-since"
    45 IF_NONE_MATCH "if-none-match"
    46 IF_RANGE "if-range"
    47 IF_UNMODIFIED_SINCE "if-unmodified-since"
    48 KEEP_ALIVE "keep-alive"
    49 LAST_MODIFIED "last-modified"
    50 LINK "link"
    51 LOCATION "location"
    52 ORIGIN "origin"
    53 PRAGMA "pragma"
    54 PRIORITY "priority"
    55 PROXY_AUTHENTICATE "proxy-authenticate"
    56 PROXY_AUTHORIZATION "proxy-authorization"
    57 PROXY_CONNECTION "proxy-connection"
    58 PROXY_STATUS "proxy-status"
    59 RANGE "range"
    60 REFERER "referer"
    61 RETRY_AFTER "retry-after"
    62 SEC_WEBSOCKET_ACCEPT "sec-websocket-accept"
    63 SEC_WEBSOCKET_EXTENSIONS "sec-websocket-extensions"
    64 SEC_WEBSOCKET_KEY "sec-websocket-key"
    65 SEC_WEBSOCKET_PROTOCOL "sec-websocket-protocol"
    66 SEC_WEBSOCKET_VERSION "sec-websocket-version"
    67 SERVER "server"
    68 SET_COOKIE "set-cookie"
    69 STRICT_TRANSPORT_SECURITY "strict-transport-security"
    70 TE "te"
    71 TRACEPARENT "traceparent"
    72 TRACESTATE "tracestate"
    73 TRAILER "trailer"
    74 TRANSFER_ENCODING "transfer-encoding"
    75 UPGRADE "upgrade"
    76 USER_AGENT "user-agent"
    77 VARY "vary"
    78 VIA "via"
    79 WWW_AUTHENTICATE "www-authenticate"
    80 X_CONTENT_TYPE_OPTIONS "x-content-type-options"
    81 X_FORWARDED_FOR "x-forwarded-for"
    82 X_FORWARDED_HOST "x-forwarded-host"
    83 X_FORWARDED_PROTO "x-forwarded-proto"
    84 X_FRAME_OPTIONS "x-frame-options"
    85 X_REAL_IP "x-real-ip"
    86 X_REQUEST_ID "x-request-id"
    87 X_REQUESTED_WITH "x-requested-with"
    88 SEC_FETCH_DEST "sec-fetch-dest"
    89 SEC_FETCH_MODE "sec-fetch-mode"
    90 SEC_FETCH_SITE "sec-fetch-site"
    91 UPGRADE_INSECURE_REQUESTS "upgrade-insecure-requests"
    92 X_API_KEY "x-api-key"
}

/// The longest name in the table, in bytes.
const LONGEST: usize = 32;
const SLOTS: usize = 512;

/// Open addressing over [`hash`]; 0 marks an empty slot.
static INDEX: [u8; SLOTS] = index();

const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    (length * 67 + name[0] as usize * 31 + name[length - 1] as usize * 7 + name[length / 2] as usize * 131) % SLOTS
}

const fn index() -> [u8; SLOTS] {
    let mut table = [0u8; SLOTS];
    let mut id = 1;
    while id < TEXTS.len() {
        let mut slot = hash(TEXTS[id].as_bytes());
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = id as u8;
        id += 1;
    }
    table
}

impl NameId {
    /// The id of a name in any case, if it is in the table.
    pub fn of(name: &[u8]) -> Option<Self> {
        let mut lower = [0u8; LONGEST];
        let lower = lower.get_mut(..name.len())?;
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        let mut slot = hash(lower);
        loop {
            let id = INDEX[slot];
            if id == 0 {
                return None;
            }
            if TEXTS[id as usize].as_bytes() == lower {
                return Some(Self(id));
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// An id as it came over the wire.
    pub fn from_wire(id: u8) -> Option<Self> {
        (id != 0 && (id as usize) < TEXTS.len()).then_some(Self(id))
    }

    /// The byte that stands for this name on the wire; never 0.
    pub fn wire(self) -> u8 {
        self.0
    }

    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        TEXTS[self.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_under_its_own_id() {
        for (id, text) in TEXTS.iter().enumerate().skip(1) {
            assert!(text.len() <= LONGEST, "{text} is longer than LONGEST");
            assert_eq!(NameId::of(text.as_bytes()).map(NameId::wire), Some(id as u8), "{text}");
            assert_eq!(
                NameId::of(text.to_uppercase().as_bytes()).map(NameId::wire),
                Some(id as u8)
            );
            assert_eq!(NameId::from_wire(id as u8).map(NameId::as_str), Some(*text));
        }
    }

    #[test]
    fn names_outside_the_table_have_no_id() {
        for name in [
            "",
            "x",
            "content-typf",
            "a-name-that-is-longer-than-every-name-in-the-table",
        ] {
            assert_eq!(NameId::of(name.as_bytes()), None, "{name}");
        }
        assert_eq!(NameId::from_wire(0), None);
        assert_eq!(NameId::from_wire(255), None);
    }
}
