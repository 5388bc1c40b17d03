//! `causeway config diff`: what would change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::probe::{self, Door};
use super::{ConfigArgs, Mistake, fail, print};

/// How long the gateway may take to say what it runs with.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A configuration to compare with; given more than once, later files lie over earlier ones.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    against: Vec<PathBuf>,
    /// The gateway to compare with. Default: the one at `admin.socket` of the configuration, or else at `admin.bind`.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

pub(super) fn diff(args: &DiffArgs) -> ExitCode {
    let compared = new_and_old(args).and_then(|(new, old)| {
        let read = |text: &str| {
            text.parse::<toml::Table>()
                .map_err(|error| Mistake::run(error.message()))
        };
        Ok(lines(&read(&old)?, &read(&new)?))
    });
    match compared {
        Ok(lines) if lines.is_empty() => ExitCode::SUCCESS,
        Ok(lines) => {
            print(&lines);
            ExitCode::from(1)
        }
        Err(mistake) => fail(&mistake),
    }
}

fn new_and_old(args: &DiffArgs) -> Result<(String, String), Mistake> {
    let new = causeway_config::load(&args.config.config, &args.config.set).map_err(Mistake::input)?;
    if !args.against.is_empty() {
        let old = causeway_config::load(&args.against, &[]).map_err(Mistake::input)?;
        return Ok((new.effective.to_string(), old.effective.to_string()));
    }
    let door = args.admin.map_or_else(|| Door::of(&new.admin), Door::Port);
    let failed = |error: String| {
        let mistake = Mistake::input(format!("asking {door}: {error}"));
        mistake.hint("is the gateway running? `--against FILE` compares with a file instead")
    };
    let answer = probe::ask(&door, "GET", "/config", WITHIN).map_err(|error| failed(error.to_string()))?;
    if answer.status != 200 {
        return Err(failed(format!("status {}", answer.status)));
    }
    Ok((new.effective.to_string(), answer.body))
}

/// A line for each value that differs, by key: `-` what was, `+` what would be.
fn lines(old: &toml::Table, new: &toml::Table) -> String {
    let (old, new) = (flat(old), flat(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut lines = String::new();
    for key in keys {
        let (was, is) = (old.get(key), new.get(key));
        if was == is {
            continue;
        }
        for (sign, value) in [('-', was), ('+', is)] {
            if let Some(value) = value {
                lines.push_str(&format!("{sign} {key} = {value}\n"));
            }
        }
    }
    lines
}

/// Every value with the path of its key. Named entries of a list go by their names, so that a new one in the middle is one
/// difference and not many.
fn flat(table: &toml::Table) -> BTreeMap<String, String> {
    fn add(path: String, value: &toml::Value, into: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    add(format!("{path}.{key}"), value, into);
                }
            }
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                for (index, value) in list.iter().enumerate() {
                    let name = ["name", "site"].iter().find_map(|key| value.get(key)?.as_str());
                    let at = name.map_or_else(|| index.to_string(), str::to_owned);
                    add(format!("{path}[{at}]"), value, into);
                }
            }
            value => drop(into.insert(path, value.to_string())),
        }
    }
    let mut all = BTreeMap::new();
    for (key, value) in table {
        add(key.clone(), value, &mut all);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_by_the_key_and_an_entry_by_its_name() {
        let old = "workers = 2\n[limits]\nhead = '32KiB'\n[[services]]\nname = 'b'\nendpoints = ['10.0.0.1:80']\n";
        let new = "workers = 2\n[limits]\nhead = '64KiB'\n[[services]]\nname = 'a'\nprotocol = 'http'\n[[services]]\nname = 'b'\n\
                   endpoints = ['10.0.0.1:80', '10.0.0.2:80']\n";
        let wanted = "- limits.head = \"32KiB\"\n+ limits.head = \"64KiB\"\n+ services[a].name = \"a\"\n\
                      + services[a].protocol = \"http\"\n- services[b].endpoints = [\"10.0.0.1:80\"]\n\
                      + services[b].endpoints = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n";
        assert_eq!(lines(&old.parse().unwrap(), &new.parse().unwrap()), wanted);
        assert_eq!(lines(&new.parse().unwrap(), &new.parse().unwrap()), "");
    }
}
