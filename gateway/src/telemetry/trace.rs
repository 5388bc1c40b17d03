//! W3C trace context: what a `traceparent` says, who decides whether a call is sampled, and new ids.
//!
//! Everything here is cheap enough to run for every call: parsing and formatting touch the stack only, and `tracestate`
//! is kept only for calls that are sampled. For the others the field is forwarded as it came, once
//! [`is_tracestate`] has let it through.
//!
//! Posture: robust against an untrusted client. What is not exactly the form of the specification is no context at all.

use std::cell::RefCell;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

mod state;
#[cfg(test)]
mod tests;

pub use state::{is_tracestate, tracestate};

/// Length of a version 00 `traceparent`.
pub const TRACEPARENT: usize = 55;

/// Position of one span in one trace, as it travels between processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never all zero.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// Whether spans of this trace are recorded.
    pub sampled: bool,
    /// `tracestate`, at most 512 bytes and 32 members; only kept when sampled.
    pub state: Option<Box<str>>,
}

impl TraceContext {
    /// Reads a `traceparent` (W3C Trace Context, section 3.2). Of a version above 00 only the part that version 00 has is
    /// read, as section 4 asks for. Surrounding white space is not accepted: header values come trimmed.
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let version = hex_byte(*traceparent.first()?, *traceparent.get(1)?)?;
        let rest = traceparent.get(TRACEPARENT..)?;
        match (version, rest.first()) {
            (0xff, _) => return None,
            (_, None) => {}
            (0, Some(_)) => return None,
            (_, Some(b'-')) => {}
            (_, Some(_)) => return None,
        }
        if traceparent[2] != b'-' || traceparent[35] != b'-' || traceparent[52] != b'-' {
            return None;
        }
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        let mut flags = [0; 1];
        hex(&traceparent[3..35], &mut trace_id)?;
        hex(&traceparent[36..52], &mut span_id)?;
        hex(&traceparent[53..55], &mut flags)?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self {
            trace_id,
            span_id,
            sampled: flags[0] & 1 == 1,
            state: None,
        })
    }

    /// Reads both fields of a call. A second `traceparent` makes the context void (section 3.2.1: there is one).
    pub fn extract<'a>(
        traceparent: impl IntoIterator<Item = &'a [u8]>,
        tracestates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let mut parents = traceparent.into_iter();
        let mut context = Self::parse(parents.next()?)?;
        if parents.next().is_some() {
            return None;
        }
        if context.sampled {
            context.state = tracestate(tracestates);
        }
        Some(context)
    }

    /// The `traceparent` that makes the next hop a child of this span.
    pub fn traceparent(&self) -> [u8; TRACEPARENT] {
        let mut text = [b'-'; TRACEPARENT];
        text[..2].copy_from_slice(b"00");
        to_hex(&self.trace_id, &mut text[3..35]);
        to_hex(&self.span_id, &mut text[36..52]);
        to_hex(&[u8::from(self.sampled)], &mut text[53..55]);
        text
    }

    /// The trace id in lower-case hex.
    pub fn trace_id_hex(&self) -> [u8; 32] {
        let mut text = [0; 32];
        to_hex(&self.trace_id, &mut text);
        text
    }

    /// A new span in the same trace, whose parent is this one.
    pub fn child(&self, ids: &Ids) -> Self {
        Self {
            trace_id: self.trace_id,
            span_id: ids.span_id(),
            sampled: self.sampled,
            state: self.state.clone(),
        }
    }

    /// The first span of a trace of our own.
    pub fn root(ids: &Ids, sampler: &Sampler) -> Self {
        let trace_id = ids.trace_id();
        Self {
            trace_id,
            span_id: ids.span_id(),
            sampled: sampler.sample(None, &trace_id),
            state: None,
        }
    }

    /// The span of a call that came with `parent`, or the first one of a new trace. Whether it is sampled is the
    /// sampler's decision, which need not be the parent's.
    pub fn begin(parent: Option<&Self>, ids: &Ids, sampler: &Sampler) -> Self {
        let Some(parent) = parent else {
            return Self::root(ids, sampler);
        };
        let mut context = parent.child(ids);
        context.sampled = sampler.sample(Some(parent.sampled), &context.trace_id);
        context
    }
}

/// Decides which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// A caller's decision is followed; the share applies to new traces only.
    follow_parent: bool,
    /// Trace ids whose lower 63 bits are below this are sampled; above [`u64::MAX`] / 2: all.
    threshold: u64,
}

/// All trace ids: one above the largest value of 63 bits.
const ALL: u64 = 1 << 63;

impl Sampler {
    /// Follows the caller, and samples this share (0.0 to 1.0) of the traces that begin here.
    pub fn parent_based(ratio: f64) -> Self {
        Self {
            follow_parent: true,
            threshold: threshold(ratio),
        }
    }

    /// Samples this share of all traces, whatever the caller decided. By trace id, so that every gateway of a trace
    /// decides the same.
    pub fn ratio(ratio: f64) -> Self {
        Self {
            follow_parent: false,
            threshold: threshold(ratio),
        }
    }

    /// Nothing is ever sampled.
    pub fn off() -> Self {
        Self::ratio(0.0)
    }

    /// The sampler that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name.
    ///
    /// # Errors
    /// With a sentence for the operator, when the name is not one of the specification's or the share is no number
    /// from 0 to 1.
    pub fn of_env(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let ratio = || match argument.map(str::trim).filter(|text| !text.is_empty()) {
            None => Ok(1.0),
            Some(text) => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                _ => Err(format!("OTEL_TRACES_SAMPLER_ARG `{text}` is not a number from 0 to 1")),
            },
        };
        match name.trim() {
            "always_on" => Ok(Self::ratio(1.0)),
            "always_off" => Ok(Self::off()),
            "traceidratio" => ratio().map(Self::ratio),
            "parentbased_always_on" => Ok(Self::parent_based(1.0)),
            "parentbased_always_off" => Ok(Self::parent_based(0.0)),
            "parentbased_traceidratio" => ratio().map(Self::parent_based),
            other => Err(format!(
                "OTEL_TRACES_SAMPLER `{other}` is not known: use always_on, always_off, traceidratio, \
                 parentbased_always_on, parentbased_always_off or parentbased_traceidratio"
            )),
        }
    }

    /// Whether a call is traced: `parent` is the caller's decision, if it made one.
    pub fn sample(&self, parent: Option<bool>, trace_id: &[u8; 16]) -> bool {
        if let (true, Some(sampled)) = (self.follow_parent, parent) {
            return sampled;
        }
        let [.., a, b, c, d, e, f, g, h] = *trace_id;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.threshold
    }
}

fn threshold(ratio: f64) -> u64 {
    if ratio >= 1.0 {
        ALL
    } else {
        // A float to integer `as` saturates, and turns NaN into 0.
        (ratio.max(0.0) * ALL as f64) as u64
    }
}

/// New trace and span ids. One per worker: no lock and no system call, so not for secrets.
#[derive(Debug)]
pub struct Ids(RefCell<SmallRng>);

impl Default for Ids {
    fn default() -> Self {
        Self(RefCell::new(SmallRng::from_os_rng()))
    }
}

impl Ids {
    /// The same ids in the same order for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(RefCell::new(SmallRng::seed_from_u64(seed)))
    }

    /// 16 random bytes, never all zero.
    pub fn trace_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.span_id());
        id[8..].copy_from_slice(&self.span_id());
        id
    }

    /// 8 random bytes, never all zero.
    pub fn span_id(&self) -> [u8; 8] {
        self.0.borrow_mut().next_u64().max(1).to_be_bytes()
    }
}

/// Lower-case hex of `bytes` into `text`, which is twice as long.
pub(crate) fn to_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn hex(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_byte(pair[0], pair[1])?;
    }
    Some(())
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

/// Upper case is not accepted (section 3.2.2).
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
