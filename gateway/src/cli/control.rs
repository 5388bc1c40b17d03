//! `causeway status`, `causeway reload` and `causeway drain`: what one asks of a gateway that runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::probe::{self, Answer, Door};
use super::{Mistake, fail, print};

/// Reading a configuration may wait for look-ups of new names.
const WITHIN: Duration = Duration::from_secs(30);

/// Where the gateway is that should change.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    /// Its admin socket.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The configuration it runs with, which names the socket in `admin.socket`.
    #[arg(long, short, value_name = "FILE", env = "CAUSEWAY_CONFIG")]
    config: Vec<PathBuf>,
}

/// Which gateway is asked.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Its admin address.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["socket", "config"])]
    admin: Option<SocketAddr>,
    /// Its admin socket.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The configuration it runs with, which says where it is: `admin.socket`, or else `admin.bind`.
    #[arg(long, short, value_name = "FILE", env = "CAUSEWAY_CONFIG")]
    config: Vec<PathBuf>,
    /// Print everything, as JSON.
    #[arg(long)]
    json: bool,
}

impl ControlArgs {
    fn door(&self) -> Result<Door, Mistake> {
        if let Some(path) = &self.socket {
            return Ok(Door::Socket(path.clone()));
        }
        if self.config.is_empty() {
            let mistake = Mistake::input("which gateway?");
            return Err(mistake.hint("name its admin socket with `--socket`, or its configuration with `--config`"));
        }
        let config = causeway_config::load(&self.config, &[]).map_err(Mistake::input)?;
        config.admin.socket.map(Door::Socket).ok_or_else(|| {
            let mistake = Mistake::input("the configuration has no `admin.socket`");
            mistake.hint(
                "changes are taken on that socket only: set it and restart the gateway, or send SIGHUP or SIGTERM",
            )
        })
    }

    fn post(&self, target: &str) -> Result<Answer, Mistake> {
        let door = self.door()?;
        ask(&door, "POST", target)
    }
}

/// `causeway reload`.
pub(super) fn reload(args: &ControlArgs) -> ExitCode {
    let told = args.post("/reload").and_then(|answer| match answer.status {
        200 => {
            let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            Ok(format!(
                "reloaded: this is configuration {} of the process\n",
                said["generation"]
            ))
        }
        422 => {
            let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let problems = said["problems"].as_array().cloned().unwrap_or_default();
            let lines: Vec<_> = problems.iter().filter_map(Value::as_str).collect();
            Err(Mistake::run(format!("nothing has changed:\n{}", lines.join("\n"))))
        }
        _ => Err(odd(&answer)),
    });
    end(told)
}

/// `causeway drain`.
pub(super) fn drain(args: &ControlArgs) -> ExitCode {
    let told = args.post("/drain").and_then(|answer| match answer.status {
        200 => Ok("draining\n".to_owned()),
        _ => Err(odd(&answer)),
    });
    end(told)
}

/// `causeway status`.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let door = match (&args.admin, &args.socket, args.config.as_slice()) {
        (Some(address), _, _) => Ok(Door::Port(*address)),
        (None, Some(path), _) => Ok(Door::Socket(path.clone())),
        (None, None, []) => Ok(Door::Port(SocketAddr::from(([127, 0, 0, 1], 9000)))),
        (None, None, files) => causeway_config::load(files, &[])
            .map(|config| Door::of(&config.admin))
            .map_err(Mistake::input),
    };
    let told = door.and_then(|door| ask(&door, "GET", "/status")).and_then(|answer| {
        if answer.status != 200 {
            return Err(odd(&answer));
        }
        if args.json {
            return Ok(answer.body);
        }
        let status: Value = serde_json::from_str(&answer.body)
            .map_err(|error| Mistake::run(format!("the gateway's answer is not JSON: {error}")))?;
        Ok(summary(&status))
    });
    end(told)
}

fn ask(door: &Door, method: &str, target: &str) -> Result<Answer, Mistake> {
    probe::ask(door, method, target, WITHIN).map_err(|error| {
        let hint = match door {
            Door::Port(_) => "is the gateway running, and is this its `admin.bind`?",
            Door::Socket(_) => "is the gateway running, is this its `admin.socket`, and are you its owner?",
        };
        Mistake::run(format!("asking {door}: {error}")).hint(hint)
    })
}

fn odd(answer: &Answer) -> Mistake {
    Mistake::run(format!(
        "the gateway answered {}: {}",
        answer.status,
        answer.body.trim_end()
    ))
}

fn end(told: Result<String, Mistake>) -> ExitCode {
    match told {
        Ok(text) => print(&text),
        Err(mistake) => fail(&mistake),
    }
}

/// `/status` for people: a line for each thing.
fn summary(status: &Value) -> String {
    let mut lines = vec![format!(
        "site {}, causeway {}, configuration {}{}",
        text(&status["site"]),
        text(&status["version"]),
        status["generation"],
        if status["draining"] == true { ", draining" } else { "" },
    )];
    if let Some(identity) = status["identity"].as_object() {
        lines.push(format!(
            "identity {} until {}",
            text(identity.get("spiffe_id").unwrap_or(&Value::Null)),
            text(identity.get("not_after").unwrap_or(&Value::Null))
        ));
    }
    for (name, listener) in status["listeners"].as_object().into_iter().flatten() {
        lines.push(format!(
            "listener {} at {}",
            text(&Value::from(name.as_str())),
            text(&listener["address"])
        ));
    }
    if status["federation"].is_string() {
        lines.push(format!("tunnels arrive at {}", text(&status["federation"])));
    }
    for peer in status["peers"].as_array().into_iter().flatten() {
        let tunnels = &peer["tunnels"];
        lines.push(format!(
            "peer {}: {tunnels} tunnels, {} calls",
            text(&peer["site"]),
            peer["calls"]
        ));
    }
    for service in status["services"].as_array().into_iter().flatten() {
        let endpoints: Vec<_> = service["endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        let found = match &service["discovery"] {
            Value::String(state) => state.clone(),
            other => other.to_string(),
        };
        lines.push(format!(
            "service {}: {} ({found})",
            text(&service["name"]),
            endpoints.join(" ")
        ));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Text of an answer on a terminal: whatever it says, it moves no cursor.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_a_line_for_each_thing_and_no_control_characters() {
        let status = serde_json::json!({
            "site": "aws\u{1b}[2J", "version": "0.1.0", "generation": 3, "draining": true,
            "listeners": { "public": { "address": "127.0.0.1:8080" } },
            "federation": null,
            "peers": [{ "site": "azure", "tunnels": 2, "calls": 1 }],
            "services": [{ "name": "orders", "endpoints": ["10.0.0.1:80", "10.0.0.2:80"], "discovery": { "stale": "timeout" } }],
        });
        let wanted = "site aws\u{fffd}[2J, causeway 0.1.0, configuration 3, draining\nlistener public at 127.0.0.1:8080\n\
                      peer azure: 2 tunnels, 1 calls\nservice orders: 10.0.0.1:80 10.0.0.2:80 ({\"stale\":\"timeout\"})\n";
        assert_eq!(summary(&status), wanted);
        assert_eq!(
            summary(&Value::Null),
            "site ?, causeway ?, configuration null\n",
            "an odd answer is no panic"
        );
    }
}
