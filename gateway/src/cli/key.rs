//! `causeway key`: API keys of consumers.

use std::io::Read;
use std::process::ExitCode;

use clap::Args;

use super::{Mistake, fail, print};
use crate::authentication::{api_keys, passwords};

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Read a key from standard input and print its digest, instead of making one.
    #[arg(long)]
    digest: bool,
    /// Read a password from standard input and print its digest.
    #[arg(long, conflicts_with = "digest")]
    password: bool,
}

/// Prints a new key and its digest. The key is shown this once and kept nowhere.
pub(super) fn key(args: &KeyArgs) -> ExitCode {
    if args.digest || args.password {
        let mut key = String::new();
        if let Err(error) = std::io::stdin().lock().take(4096).read_to_string(&mut key) {
            return fail(&Mistake::input(format!("reading a key: {error}")));
        }
        return match key.trim_end_matches(['\r', '\n']) {
            "" => fail(&Mistake::input("standard input holds no key")),
            password if args.password => match passwords::digest(password) {
                Ok(digest) => print(&format!("{digest}\n")),
                Err(_) => fail(&Mistake::run("the system has no random numbers")),
            },
            key => print(&format!("{}\n", api_keys::shown_digest(key))),
        };
    }
    match api_keys::make() {
        Ok(key) => print(&format!("key: {key}\ndigest: {}\n", api_keys::shown_digest(&key))),
        Err(_) => fail(&Mistake::run("the system has no random numbers")),
    }
}
