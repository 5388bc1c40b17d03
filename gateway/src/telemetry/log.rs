//! The gateway's own log: what happens to it, not to calls (they have the [access log](super::access)).
//!
//! To standard error, as text on a terminal and as JSON elsewhere, through a bounded queue: a terminal that is stopped or
//! a pipe that nobody reads costs lines, never a worker.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::lines::{Complain, Lines, Output};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A directive of the filter makes no sense.
    #[error("{variable} is not a log filter: {problem}; write e.g. `info` or `causeway_gateway=debug,info`")]
    Filter {
        /// `CAUSEWAY_LOG` or `RUST_LOG`.
        variable: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// There is a log already.
    #[error("the log is set up twice")]
    Twice,
    /// No thread for it.
    #[error("starting the thread that writes the log")]
    Thread(#[from] io::Error),
}

/// Keeps the log going; what waits is written when it goes.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
}

impl Log {
    /// The queue, to count what is dropped.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.flush(Duration::from_secs(1));
    }
}

/// Sets up the log of this process from `CAUSEWAY_LOG`, `RUST_LOG` and `NO_COLOR`.
///
/// # Errors
/// When the filter is malformed, the log was set up before, or no thread can be started.
pub fn init(format: LogFormat) -> Result<Log, LogError> {
    init_at(format, "info")
}

/// As [`init`], with another filter where no variable names one.
///
/// # Errors
/// As [`init`].
pub fn init_at(format: LogFormat, otherwise: &str) -> Result<Log, LogError> {
    let filter = filter(|name| std::env::var(name).ok(), otherwise)?;
    let lines = Lines::start(Output::Stderr, Complain::Never)?;
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    subscriber(filter, lines.clone(), json, colour)
        .try_init()
        .map_err(|_| LogError::Twice)?;
    Ok(Log { lines })
}

type Boxed = Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync>;

fn subscriber(
    filter: EnvFilter,
    lines: Lines,
    json: bool,
    colour: bool,
) -> impl SubscriberInitExt + tracing::Subscriber {
    // An error of ours while logging must not be printed: a broken standard error would make that panic.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(LineWriter(lines))
        .log_internal_errors(false);
    let layer: Boxed = if json {
        Box::new(layer.json().flatten_event(true).with_span_list(false))
    } else {
        Box::new(layer.with_ansi(colour))
    };
    tracing_subscriber::registry().with(layer).with(filter)
}

/// `CAUSEWAY_LOG` over `RUST_LOG` over `otherwise`.
fn filter(variable: impl Fn(&str) -> Option<String>, otherwise: &str) -> Result<EnvFilter, LogError> {
    for name in ["CAUSEWAY_LOG", "RUST_LOG"] {
        let Some(text) = variable(name).filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        return EnvFilter::try_new(&text).map_err(|error| LogError::Filter {
            variable: name,
            problem: error.to_string(),
        });
    }
    Ok(EnvFilter::new(otherwise))
}

#[derive(Clone, Debug)]
struct LineWriter(Lines);

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for LineWriter {
    /// The subscriber writes an event in one piece.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_variable_lies_over_the_common_one() {
        let both = |name: &str| Some(if name == "CAUSEWAY_LOG" { "debug" } else { "trace" }.to_owned());
        assert_eq!(filter(both, "info").unwrap().to_string(), "debug");
        let common = |name: &str| (name == "RUST_LOG").then(|| "warn".to_owned());
        assert_eq!(filter(common, "info").unwrap().to_string(), "warn");
        assert_eq!(filter(|_| None, "info").unwrap().to_string(), "info");
        assert_eq!(filter(|_| Some("  ".to_owned()), "info").unwrap().to_string(), "info");
        let wrong = filter(|_| Some("causeway=loud".to_owned()), "info")
            .unwrap_err()
            .to_string();
        assert!(
            wrong.contains("CAUSEWAY_LOG") && wrong.contains("write e.g."),
            "{wrong}"
        );
    }

    #[test]
    fn s13_an_event_is_one_line_of_json_whatever_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        for json in [true, false] {
            let path = directory.path().join(format!("{json}"));
            let lines = Lines::start(Output::File(path.clone()), Complain::Never).unwrap();
            let nasty = "a\r\n\u{1b}[31m\"}\u{0}";
            tracing::subscriber::with_default(subscriber(EnvFilter::new("info"), lines.clone(), json, false), || {
                tracing::info!(peer = nasty, "refused");
                tracing::debug!("not wanted");
            });
            assert!(lines.flush(Duration::from_secs(10)));
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
            if json {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!((&value["peer"], &value["message"]), (&nasty.into(), &"refused".into()));
            }
        }
    }
}
