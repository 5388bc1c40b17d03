//! The lines that the demo prints, to be copied into another terminal.

use super::places::Places;

/// A few lines of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What they show.
    pub title: &'static str,
    /// Each can be pasted as it is.
    pub lines: Vec<Line>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// For a shell.
    pub command: String,
    /// What one sees or needs; may be empty.
    pub note: &'static str,
}

/// What to try.
pub fn sections(places: &Places) -> Vec<Section> {
    let (aws, azure) = (places.aws.edge, places.azure.edge);
    let line = |command: String, note| Line { command, note };
    vec![
        Section {
            title: "HTTP",
            lines: vec![
                line(format!("curl http://{aws}/hello"), "HTTP/1.1"),
                line(format!("curl --http2-prior-knowledge http://{aws}/hello"), "HTTP/2"),
                line(
                    format!("curl -d 'some text' http://{aws}/echo"),
                    "a request with a body",
                ),
                line(
                    format!("curl -N 'http://{aws}/events?n=5&ms=300'"),
                    "server-sent events, as they come",
                ),
            ],
        },
        Section {
            title: "WebSocket",
            lines: vec![
                line(
                    format!("(echo hello; sleep 1) | python3 -m websockets ws://{aws}/"),
                    "pip install websockets",
                ),
                line(format!("npx wscat -c ws://{aws}/ -x hello"), "or with node"),
            ],
        },
        Section {
            title: "gRPC",
            lines: vec![
                line(
                    format!("grpcurl -plaintext -d '{{\"text\":\"hello\"}}' {aws} causeway.demo.v1.Chat/Say"),
                    "the schema comes by reflection",
                ),
                line(
                    format!("grpcurl -plaintext -d '{{\"to\":3,\"pause_ms\":300}}' {aws} causeway.demo.v1.Chat/Count"),
                    "a stream",
                ),
                line(
                    format!(
                        "python3 -c 'import grpc; print(grpc.insecure_channel(\"{aws}\").unary_unary(\"/causeway.demo.v1.Chat/Say\")(b\"\\n\\5hello\"))'"
                    ),
                    "pip install grpcio; prints the raw message",
                ),
            ],
        },
        Section {
            title: "The same at azure, without the tunnel",
            lines: vec![
                line(format!("curl http://{azure}/hello"), ""),
                line(
                    format!("(echo hello; sleep 1) | python3 -m websockets ws://{azure}/"),
                    "",
                ),
                line(
                    format!("grpcurl -plaintext -d '{{\"text\":\"hello\"}}' {azure} causeway.demo.v1.Chat/Say"),
                    "",
                ),
            ],
        },
    ]
}

/// What to look at. `program` is how a shell calls this one.
pub fn operator(places: &Places, program: &str) -> Section {
    let (aws, azure) = (places.aws.admin, places.azure.admin);
    let line = |command: String, note| Line { command, note };
    Section {
        title: "What an operator sees",
        lines: vec![
            line(
                format!("{program} traces --admin {aws} --admin {azure}"),
                "each call as spans over both sites, a second later",
            ),
            line(format!("curl http://{aws}/traces"), "the spans of one site"),
            line(format!("curl http://{aws}/status"), "tunnels, services, certificates"),
            line(format!("curl http://{azure}/metrics"), "for Prometheus"),
        ],
    }
}

/// Sections as text: a heading, and each command alone on its line, so that the line can be pasted whole.
pub fn text(sections: &[Section]) -> String {
    let mut out = String::new();
    for section in sections {
        out.push_str(&format!("# {}\n", section.title));
        for line in &section.lines {
            if !line.note.is_empty() {
                out.push_str(&format!("  # {}\n", line.note));
            }
            out.push_str(&format!("  {}\n", line.command));
        }
        out.push('\n');
    }
    out
}
