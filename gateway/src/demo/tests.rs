use super::backend::Ports;
use super::places::{self, Inner, MAX_OFFSET, Places};
use super::sites::certificates;
use super::{eject, lines};

#[test]
fn both_configurations_are_good_wherever_their_certificates_are() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("a \"quoted\" \\ dir");
    certificates(&odd).unwrap();
    for places in [Places::fixed(0, Inner::Fixed), Places::fixed(MAX_OFFSET, Inner::Fixed)] {
        for text in [
            places::aws(&places, &odd.join("aws")),
            places::azure(&places, &odd.join("azure")),
        ] {
            let config =
                causeway_config::load_str("demo.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!((config.routes.len(), config.listeners.len()), (5, 1));
            assert!(config.listeners[0].bind.ip().is_loopback() && config.admin.bind.ip().is_loopback());
        }
    }
}

#[test]
fn the_ports_are_those_that_are_promised() {
    let places = Places::fixed(0, Inner::Free);
    let known = places.known().map(|(_, at)| at.to_string());
    assert_eq!(
        known,
        [
            "127.0.0.1:18080",
            "127.0.0.1:28080",
            "127.0.0.1:19000",
            "127.0.0.1:29000"
        ]
    );
    assert_eq!(places.backend_ports(), Ports::default());
    let moved = Places::fixed(100, Inner::Fixed);
    assert_eq!((moved.aws.edge.port(), moved.tunnel.port()), (18_180, 27_543));
}

#[test]
fn every_line_stands_alone() {
    let places = Places::fixed(0, Inner::Free);
    let mut sections = lines::sections(&places);
    sections.push(lines::operator(&places, "causeway"));
    let text = lines::text(&sections);
    for line in sections.iter().flat_map(|section| &section.lines) {
        assert!(
            text.lines().any(|shown| shown.trim() == line.command),
            "{}",
            line.command
        );
        assert!(
            !line.command.contains('#'),
            "a shell may not know comments: {}",
            line.command
        );
    }
}

#[test]
fn ejected_files_load_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("deep/er");
    let places = Places::fixed(7, Inner::Fixed);
    eject::eject(&target, &places).unwrap();
    for site in ["aws", "azure"] {
        let file = target.join(format!("{site}.toml"));
        let config = causeway_config::load(&[file], &[]).unwrap_or_else(|error| panic!("{error}"));
        crate::app::App::check(config).unwrap();
    }
    let readme = std::fs::read_to_string(target.join("README.md")).unwrap();
    for command in eject::commands(&places) {
        assert!(readme.contains(&command), "{command}");
    }
    let error = eject::eject(&target, &places).unwrap_err();
    assert!(error.to_string().contains("is not empty") && error.hint().is_some());
}
