use super::*;
use crate::telemetry::metrics::Registry;

fn dropped() -> Counter {
    Registry::new(0).counter("dropped_total", "Dropped.", &[]).with(&[])
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn lines_arrive_in_order_and_a_rotated_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (
        directory.path().join("access.log"),
        directory.path().join("access.log.1"),
    );
    let lines = Lines::start(Output::File(path.clone()), Complain::InLog).unwrap();
    lines.push(b"one\n".to_vec());
    lines.push(b"two\n".to_vec());
    assert!(lines.flush(SOON));
    std::fs::rename(&path, &old).unwrap();
    lines.push(b"three\n".to_vec());
    assert!(lines.flush(SOON));
    lines.reopen();
    lines.push(b"four\n".to_vec());
    assert!(lines.flush(SOON));
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
}

#[test]
fn f3_a_full_disk_drops_lines_and_counts_them() {
    let lines = Lines::start(Output::File("/dev/full".into()), Complain::InLog).unwrap();
    let counter = dropped();
    lines.push(b"early\n".to_vec());
    assert!(lines.flush(SOON));
    lines.count_in(counter.clone());
    assert_eq!(counter.value(), 1, "those before there was a counter count too");
    for _ in 0..10 {
        lines.push(b"one\ntwo\n".to_vec());
    }
    assert!(lines.flush(SOON));
    assert_eq!(counter.value(), 21);
}

#[test]
fn f3_a_reader_that_reads_nothing_bounds_the_queue_and_blocks_nobody() {
    // A named pipe that nobody reads: opened for both so that opening does not wait, full after 64 KiB.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let lines = Lines::start(Output::File(path), Complain::InLog).unwrap();
    let counter = dropped();
    lines.count_in(counter.clone());
    let batch = [&[b'x'; 16 * 1024 - 1][..], b"\n"].concat();
    let start = Instant::now();
    for _ in 0..1000 {
        lines.push(batch.clone());
    }
    assert!(start.elapsed() < Duration::from_secs(5), "pushing waits for nobody");
    let waiting = 1000 - counter.value();
    assert!((200..=300).contains(&waiting), "4 MiB wait, not {waiting} batches");
    assert!(!lines.flush(Duration::from_millis(20)), "a flush has a deadline");
    drop(reader);
}

#[test]
fn a_line_cut_off_by_an_error_does_not_swallow_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    std::fs::write(&path, "half a li").unwrap();
    let output = Output::File(path.clone());
    let mut writer = Writer {
        target: Target::open(&output).unwrap(),
        output,
        shared: Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            dropped: Dropped::default(),
        }),
        complain: Complain::Never,
        failing: true,
        torn: true,
    };
    writer.write(b"whole\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a li\nwhole\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    assert!(Lines::start(Output::File("/nonexistent/access.log".into()), Complain::InLog).is_err());
}

#[test]
fn what_is_queued_is_written_when_the_last_handle_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let lines = Lines::start(Output::File(path.clone()), Complain::Never).unwrap();
    for n in 0..100 {
        lines.push(format!("{n}\n").into_bytes());
    }
    drop(lines);
    let deadline = Instant::now() + SOON;
    while std::fs::read_to_string(&path).unwrap().lines().count() < 100 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}
