//! Prometheus text, as far as assertions need it.

use std::collections::BTreeMap;

/// One scrape of `/metrics`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text form; comments and lines that are none of it are passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            // A label's value may hold spaces; the sample's value may be followed by a time.
            let end = line.rfind('}').map_or_else(|| line.find(' '), |at| Some(at + 1))?;
            let value = line.get(end..)?.split_ascii_whitespace().next()?.parse().ok()?;
            Some((line.get(..end)?.to_owned(), value))
        });
        Self(samples.collect())
    }

    /// The sum of all series of `name` whose labels contain each of `labels`, written as `key="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.series(name)
            .filter(|(key, _)| labels.iter().all(|label| key.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    /// All series of `name`, with their labels.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let ours = move |key: &str| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.0
            .iter()
            .filter(move |(key, _)| ours(key))
            .map(|(key, value)| (key.as_str(), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"b c\"} 2\na{x=\"2\"} 3.5 1700000000\nab 7\nplain 1e3\n";
        let metrics = Metrics::parse(text);
        for (name, labels, sum) in [
            ("a", &[][..], 5.5),
            ("a", &["x=\"1\""], 2.0),
            ("ab", &[], 7.0),
            ("plain", &[], 1000.0),
            ("none", &[], 0.0),
        ] {
            assert!((metrics.sum(name, labels) - sum).abs() < 1e-9, "{name} {labels:?}");
        }
    }
}
