//! What is told: progress on standard error, tables on standard output, and the results in the README.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::Path;

use crate::failure::{During, Failure, Result};
use crate::find::Missing;
use crate::results::Summary;
use crate::systems::System;

/// Around the results in the README.
const BEGIN: &str = "<!-- results: written by `--readme` -->";
const END: &str = "<!-- end of results -->";

/// One line of progress. Nobody listening is no reason to stop.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// When, where and how the results came about.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) notes: Vec<String>,
}

/// The results as Markdown: the setup, what is missing, a table for each case, and every failure.
pub(crate) fn render(setup: &Setup, missing: &[Missing], summaries: &[Summary]) -> String {
    let mut text = format!("{}, {}\n\n`{}`\n", setup.date, setup.machine, setup.command);
    for note in &setup.notes {
        let _ = write!(text, "\n{note}\n");
    }
    for missing in missing {
        let _ = write!(text, "\nNot measured: {}: {}\n", missing.system.name(), missing.reason);
    }
    for group in summaries.chunk_by(|one, other| one.case == other.case) {
        let Some(case) = group.first().map(|summary| summary.case) else {
            continue;
        };
        let _ = write!(text, "\n### {}\n\n{}", case.title(), table(group));
        for summary in group {
            if let Some(failure) = &summary.failure {
                let _ = write!(
                    text,
                    "\n{} failed {} times, first: {failure}\n",
                    summary.system.name(),
                    summary.failures
                );
            }
        }
    }
    text
}

fn table(group: &[Summary]) -> String {
    let ours = group.iter().find(|summary| summary.system == System::Causeway);
    let idle = group.iter().any(|summary| summary.kib_per_idle.is_some());
    let head: &[&str] = if idle {
        &[
            "system",
            "connections",
            "KiB per connection",
            "RSS MiB",
            "failures",
            "causeway leads by",
        ]
    } else {
        &[
            "system",
            "req/CPU-s",
            "user + sys us",
            "req/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "alone p50 us",
            "RSS MiB",
            "failures",
            "causeway leads by",
        ]
    };
    let mut rows = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    for summary in group {
        let lead = ours
            .filter(|ours| ours.system != summary.system)
            .and_then(|ours| summary.lead(ours));
        let mut row = vec![format!("{} {}", summary.system.name(), summary.version)];
        if idle {
            row.extend([number(summary.idle, 0), number(summary.kib_per_idle, 2)]);
        } else {
            let [user, system] = [summary.user_us, summary.system_us].map(|us| number(us, 1));
            row.extend([
                number(summary.req_per_cpu_s, 0),
                format!("{user} + {system}"),
                number(summary.rps, 0),
            ]);
            let latencies = [summary.p50_us, summary.p99_us, summary.p999_us, summary.alone_p50_us];
            row.extend(latencies.map(|us| number(us, 0)));
        }
        row.extend([number(summary.rss_mib, 0), summary.failures.to_string()]);
        row.push(lead.map_or_else(|| "-".to_owned(), |lead| format!("{lead:.2}x")));
        rows.push(row);
    }
    align(&rows)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A Markdown table whose columns line up: the first to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| cell(row, column).len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, width) in widths.iter().enumerate() {
            let value = cell(row, column);
            let _ = if column == 0 {
                write!(text, "| {value:<width$} ")
            } else {
                write!(text, "| {value:>width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = if column == 0 {
                    write!(text, "|-{:-<width$}-", "")
                } else {
                    write!(text, "|-{:-<width$}:", "")
                };
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .during("printing the results")
}

/// Writes the results where the README keeps them, in place of the last ones.
pub(crate) fn write_readme(path: &Path, results: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).during(format_args!("reading {}", path.display()))?;
    let text = replace(&text, results)?;
    std::fs::write(path, text).during(format_args!("writing {}", path.display()))
}

fn replace(readme: &str, results: &str) -> Result<String> {
    let parts = readme
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| Failure::new(format!("no `{BEGIN}` and `{END}` in the README")))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", results.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Case;
    use crate::results::Sample;

    fn summary(case: Case, system: System, rate: f64) -> Summary {
        let sample = Sample {
            req_per_cpu_s: Some(rate),
            p99_us: Some(1234.4),
            ..Sample::default()
        };
        Summary::of(case, system, "1.0", &[sample])
    }

    #[test]
    fn the_report_has_a_table_for_each_case_with_leads_versions_and_what_is_missing() {
        let setup = Setup {
            date: "2026-01-02".into(),
            machine: "2 cores".into(),
            command: "bench".into(),
            notes: vec!["a note".into()],
        };
        let missing = [Missing {
            system: System::Envoy,
            reason: "not installed".into(),
        }];
        let mut failed = Summary::of(Case::Ws, System::Nginx, "1.0", &[Sample::failed("closed".into())]);
        failed.failures = 7;
        let summaries = [
            summary(Case::Http1, System::Causeway, 60_000.0),
            summary(Case::Http1, System::Nginx, 30_000.0),
            summary(Case::Ws, System::Causeway, 5.0),
            failed,
        ];
        let text = render(&setup, &missing, &summaries);
        for part in [
            "2026-01-02, 2 cores",
            "a note",
            "Not measured: envoy: not installed",
            "### Pair, HTTP/1.1 GET, 1 KiB body",
            "| nginx 1.0    |     30000 |",
            "2.00x |",
            "nginx failed 7 times, first: closed",
        ] {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }

    #[test]
    fn only_the_results_of_the_readme_are_replaced() {
        let readme = format!("# Title\n{BEGIN}\nold\n{END}\nmore\n");
        let once = replace(&readme, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n{BEGIN}\n\nnew\n\n{END}\nmore\n"));
        assert_eq!(replace(&once, "new\n").unwrap(), once);
        assert!(replace("# Title\n", "new").is_err());
    }
}
