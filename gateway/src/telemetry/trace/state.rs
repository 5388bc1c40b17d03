//! `tracestate`: checked, bounded, never interpreted (W3C Trace Context, section 3.3).

/// Bytes that are kept; whole members beyond it are left out from the right.
const LONGEST: usize = 512;
/// Members of a list; more make it void (section 3.3.1.1).
const MEMBERS: usize = 32;

/// Joins the `tracestate` fields of a call. None where there is no member or where anything is malformed: then the
/// whole list is dropped, as section 3.3.1 asks for.
pub fn tracestate<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let mut text = String::new();
    let mut keys: [&[u8]; MEMBERS] = [&[]; MEMBERS];
    let mut count = 0;
    let mut full = false;
    for value in values {
        for member in members(value) {
            let (member, key) = member?;
            if count == MEMBERS || keys[..count].contains(&key) {
                return None;
            }
            keys[count] = key;
            count += 1;
            let member = std::str::from_utf8(member).ok()?;
            full |= text.len() + usize::from(!text.is_empty()) + member.len() > LONGEST;
            if !full {
                if !text.is_empty() {
                    text.push(',');
                }
                text.push_str(member);
            }
        }
    }
    (!text.is_empty()).then(|| text.into_boxed_str())
}

/// Whether one `tracestate` field may be forwarded as it is. Allocates nothing.
pub fn is_tracestate(value: &[u8]) -> bool {
    value.len() <= LONGEST && members(value).all(|member| member.is_some()) && members(value).count() <= MEMBERS
}

/// The members of one field with their keys; None for a malformed one. Empty members are legal and left out.
fn members(value: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
        .map(|member| {
            let equals = member.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&member[..equals], &member[equals + 1..]);
            (is_key(key) && is_value(value)).then_some((member, key))
        })
}

fn trim(mut member: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = member {
        member = rest;
    }
    member
}

/// `simple-key` or `multi-tenant-key`.
fn is_key(key: &[u8]) -> bool {
    let rest = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => matches!(key, [b'a'..=b'z', tail @ ..] if tail.len() <= 255 && rest(tail)),
        Some(at) => {
            matches!(&key[..at], [b'a'..=b'z' | b'0'..=b'9', tail @ ..] if tail.len() <= 240 && rest(tail))
                && matches!(&key[at + 1..], [b'a'..=b'z', tail @ ..] if tail.len() <= 13 && rest(tail))
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
}
