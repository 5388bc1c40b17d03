//! The binary `causeway`.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway_gateway::cli::main()
}
