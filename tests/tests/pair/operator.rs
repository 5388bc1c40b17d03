//! What an operator does from the command line to a gateway that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use causeway_tests::{Site, binary, client, pair, tools};

use crate::backends::Running;

/// `causeway` with these words, and its exit code and what it said.
fn causeway(words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tools::output(
        Command::new(binary::causeway())
            .args(words)
            .env_remove("CAUSEWAY_CONFIG"),
    );
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn with_socket(backends: &Running, keys: &str) -> (Site, String) {
    let setup = pair::local(&backends.upstreams()).admin("socket = \"admin.sock\"");
    let site = setup.admin(keys).start();
    site.wait_ready();
    let file = site.file().display().to_string();
    (site, file)
}

/// A route of its own, so that one sees which configuration answers.
fn marked(site: &Site, status: u16) -> String {
    format!(
        "{}\n[[routes]]\nname = \"mark\"\nmatch = {{ path = \"/mark\" }}\nfixed = {{ status = {status}, body = \"mark\" }}\n",
        site.tables()
    )
}

#[test]
fn a_gateway_is_shown_compared_reloaded_and_drained_by_command() {
    let backends = Running::start("local");
    // The file is watched besides; a table of its own keeps that out of the test's way no longer than the commands take.
    let (mut site, file) = with_socket(&backends, "");
    let socket = site.folder().join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let (code, said, _) = causeway(&["status", "--config", &file]);
    assert_eq!(code, Some(0));
    assert!(
        said.starts_with("site local, causeway ") && said.contains("service demo-http: 127.0.0.1:"),
        "{said}"
    );
    let (code, said, _) = causeway(&["status", "--socket", socket.to_str().unwrap(), "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &status["site"]), (Some(0), &"local".into()));

    let same = causeway(&["config", "diff", "--config", &file]);
    assert_eq!(same, (Some(0), String::new(), String::new()));

    let admin = site.admin_address().to_string();
    let marked = marked(&site, 418);
    let folder = site.folder().join("next");
    fs::create_dir(&folder).unwrap();
    let next = folder.join("next.toml");
    let text = fs::read_to_string(site.file()).unwrap() + &marked[site.tables().len()..];
    fs::write(&next, text).unwrap();
    let (code, said, _) = causeway(&["config", "diff", "--config", next.to_str().unwrap(), "--admin", &admin]);
    assert_eq!(code, Some(1));
    assert!(said.contains("+ routes[mark].fixed.status = 418\n"), "{said}");
    let against = causeway(&["config", "diff", "--config", next.to_str().unwrap(), "--against", &file]).1;
    assert!(against.contains("+ routes[mark].fixed.status = 418\n"), "{against}");

    site.rewrite(&marked);
    let (code, said, wrong) = causeway(&["reload", "--config", &file]);
    assert_eq!((code, wrong.as_str()), (Some(0), ""));
    assert!(said.starts_with("reloaded: this is configuration "), "{said}");
    assert_eq!(
        client::get(site.public(), "/mark").unwrap().status,
        418,
        "it is in force when the command ends"
    );

    fs::write(site.file(), "nonsense = 1\n").unwrap();
    let (code, _, wrong) = causeway(&["reload", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(
        wrong.contains("nothing has changed") && wrong.contains("nonsense: unknown key"),
        "{wrong}"
    );
    assert_eq!(client::get(site.public(), "/mark").unwrap().status, 418);

    let (code, said, _) = causeway(&["drain", "--socket", socket.to_str().unwrap()]);
    assert_eq!((code, said.as_str()), (Some(0), "draining\n"));
    assert!(site.process().ended(Duration::from_secs(15)).success());
    assert!(!socket.exists(), "nothing is left behind");
    let (code, _, wrong) = causeway(&["drain", "--socket", socket.to_str().unwrap()]);
    assert!(
        code == Some(1) && wrong.contains("hint: is the gateway running"),
        "{wrong}"
    );
}

#[test]
fn s15_a_configuration_that_is_shown_has_no_secret_in_it() {
    let backends = Running::start("local");
    let token = "hush-hush-hush-hush";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, format!("{token}\n")).unwrap();
    let keys = format!(
        "token_file = {:?}\n[telemetry.otlp_headers]\nauthorization = \"{token}\"",
        path.display().to_string()
    );
    let (site, file) = with_socket(&backends, &keys);
    for target in ["/config", "/status", "/metrics", "/readyz?verbose"] {
        assert!(!site.admin(target).text().contains(token), "{target}");
    }
    assert!(site.admin("/config").text().contains("authorization = \"[redacted]\""));
    let shown = causeway(&["config", "show", "--config", &file]).1;
    assert!(!shown.contains(token) && shown.contains("[redacted]"), "{shown}");
}

#[test]
fn a_command_without_a_gateway_says_what_is_missing() {
    let (code, _, wrong) = causeway(&["reload"]);
    assert!(
        code == Some(2) && wrong.contains("hint: name its admin socket with `--socket`"),
        "{wrong}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    let text = "[site]\nname = \"a\"\ntrust_domain = \"a.example\"\n[[listeners]]\nname = \"public\"\nbind = \"127.0.0.1:0\"\n";
    fs::write(&file, text).unwrap();
    let (code, _, wrong) = causeway(&["drain", "--config", file.to_str().unwrap()]);
    assert!(
        code == Some(2) && wrong.contains("the configuration has no `admin.socket`"),
        "{wrong}"
    );
    let (code, _, wrong) = causeway(&[
        "config",
        "diff",
        "--config",
        file.to_str().unwrap(),
        "--admin",
        "127.0.0.1:1",
    ]);
    assert!(
        code == Some(2) && wrong.contains("`--against FILE` compares with a file instead"),
        "{wrong}"
    );
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let (code, page, _) = causeway(&["man"]);
    assert!(code == Some(0) && page.contains(".TH causeway 1"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(causeway(&["man", "--dir", folder.path().to_str().unwrap()]).0, Some(0));
    for page in [
        "causeway.1",
        "causeway-run.1",
        "causeway-config-diff.1",
        "causeway-pki-issue.1",
    ] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}
