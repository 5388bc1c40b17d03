//! A bar chart as SVG: requests per CPU-second, one group of bars for each case.

use std::fmt::Write as _;

use crate::results::Summary;
use crate::systems::System;

const BAR: usize = 18;
const GAP: usize = 22;
const LEFT: usize = 150;
const WIDTH: usize = 420;

/// Bars within a group are relative to its longest: the cases are not comparable with one another.
pub(crate) fn svg(summaries: &[Summary], caption: &str) -> String {
    let measured: Vec<&Summary> = summaries
        .iter()
        .filter(|summary| summary.req_per_cpu_s.is_some())
        .collect();
    let mut body = String::new();
    let mut y = 2 * GAP;
    let _ = writeln!(
        body,
        "<text x=\"10\" y=\"{GAP}\" class=\"h\">Requests per CPU-second, {}</text>",
        escape(caption)
    );
    for group in measured.chunk_by(|one, other| one.case == other.case) {
        let longest = group
            .iter()
            .filter_map(|summary| summary.req_per_cpu_s)
            .fold(0.0, f64::max);
        if let Some(first) = group.first() {
            let _ = writeln!(body, "<text x=\"10\" y=\"{y}\">{}</text>", escape(first.case.title()));
        }
        y += 8;
        for summary in group {
            let rate = summary.req_per_cpu_s.unwrap_or(0.0);
            let width = if longest > 0.0 {
                rate / longest * WIDTH as f64
            } else {
                0.0
            };
            let class = if summary.system == System::Causeway {
                "ours"
            } else {
                "peer"
            };
            let (text, end) = (y + 13, LEFT as f64 + width + 6.0);
            let name = format!("{} {}", summary.system.name(), summary.version);
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{text}\" class=\"n\">{}</text>",
                LEFT - 8,
                escape(&name)
            );
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" class=\"{class}\"/>\
                 <text x=\"{end:.1}\" y=\"{text}\">{rate:.0}</text>",
                BAR - 2
            );
            y += BAR;
        }
        y += GAP;
    }
    let style = "text{font:12px sans-serif;fill:#222}.h{font-weight:bold}.n{text-anchor:end}.ours{fill:#1a73b8}.peer{fill:#9aa5b1}";
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{y}\">\n<style>{style}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n",
        LEFT + WIDTH + 80
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Case;
    use crate::results::Sample;

    #[test]
    fn the_longest_bar_of_a_group_fills_the_width_and_others_are_in_proportion() {
        let summary = |system, rate| {
            let sample = Sample {
                req_per_cpu_s: Some(rate),
                ..Sample::default()
            };
            Summary::of(Case::Http1, system, "1", &[sample])
        };
        let chart = svg(
            &[summary(System::Causeway, 200.0), summary(System::Nginx, 50.0)],
            "a < b",
        );
        assert!(chart.contains("width=\"420.0\""), "{chart}");
        assert!(chart.contains("width=\"105.0\""), "{chart}");
        assert!(chart.contains("a &lt; b") && chart.ends_with("</svg>\n"));
    }
}
