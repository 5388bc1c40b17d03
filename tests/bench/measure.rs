//! What a set of processes has cost: processor time of each process and every descendant, and resident memory.

use std::collections::BTreeMap;
use std::{fs, io};

/// Processor time and memory of some processes with all their descendants, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Seconds in user mode.
    pub(crate) user: f64,
    /// Seconds in the kernel.
    pub(crate) system: f64,
    /// Resident KiB.
    pub(crate) rss_kib: u64,
}

/// The fields of `/proc/PID/stat` that count here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Clock ticks, its own threads and children it has waited for.
    user: u64,
    system: u64,
    /// Ticks after boot; tells a process from a later one with the same id.
    pub(crate) started: u64,
}

/// Sums over `roots` and their descendants.
///
/// # Errors
/// When `/proc` cannot be read, or one of `roots` is gone.
pub(crate) fn usage(roots: &[u32]) -> io::Result<Usage> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut sum = Usage::default();
    for stat in tree(roots)? {
        sum.user += stat.user as f64 / ticks;
        sum.system += stat.system as f64 / ticks;
        // A process that ends between the two reads has no memory any more.
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", stat.pid)).unwrap_or_default();
        sum.rss_kib += parse_rss(&rollup).unwrap_or(0);
    }
    Ok(sum)
}

/// The processes `roots` and every descendant.
pub(crate) fn tree(roots: &[u32]) -> io::Result<Vec<Stat>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            all.insert(pid, stat);
        }
    }
    if let Some(gone) = roots.iter().find(|root| !all.contains_key(root)) {
        return Err(io::Error::other(format!("process {gone} has ended")));
    }
    Ok(descend(roots, &all))
}

/// One process; none when it does not exist.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn descend(roots: &[u32], all: &BTreeMap<u32, Stat>) -> Vec<Stat> {
    let mut found: Vec<Stat> = roots.iter().filter_map(|root| all.get(root)).copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|stat| stat.pid) {
        found.extend(all.values().filter(|stat| stat.parent == parent && stat.pid != parent));
        next += 1;
    }
    found
}

/// proc(5): the name is in parentheses and may hold spaces and parentheses itself.
fn parse_stat(line: &str) -> Option<Stat> {
    let (pid, rest) = line.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first field after the name is number 3 of the manual.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        pid: pid.parse().ok()?,
        parent: u32::try_from(field(4)?).ok()?,
        user: field(14)? + field(16)?,
        system: field(15)? + field(17)?,
        started: field(22)?,
    })
}

fn parse_rss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "42 (a (b) c) S 7 42 7 0 -1 4194560 1 2 3 4 100 200 10 20 20 0 1 0 5555 1000000 300 18446744073709551615 1";

    #[test]
    fn a_stat_line_is_read_past_a_name_with_spaces_and_parentheses() {
        assert_eq!(
            parse_stat(LINE),
            Some(Stat {
                pid: 42,
                parent: 7,
                user: 110,
                system: 220,
                started: 5555
            })
        );
        for bad in [
            "",
            "42",
            "42 (a",
            "42 (a) S 7",
            "x (a) S 7 42 7 0 -1 4194560 1 2 3 4 1 2 3 4 20 0 1 0 5 6",
        ] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn descendants_of_descendants_count() {
        let stat = |pid, parent| {
            (
                pid,
                Stat {
                    pid,
                    parent,
                    user: 0,
                    system: 0,
                    started: 0,
                },
            )
        };
        let all = BTreeMap::from([stat(1, 0), stat(2, 1), stat(3, 2), stat(4, 1), stat(5, 3)]);
        let pids: Vec<u32> = descend(&[2], &all).iter().map(|stat| stat.pid).collect();
        assert_eq!(pids, [2, 3, 5]);
    }

    #[test]
    fn resident_memory_is_read_from_a_rollup() {
        assert_eq!(
            parse_rss("55d8-7ffd ---p 0 0:0 0 [rollup]\nRss:       1234 kB\nPss: 99 kB\n"),
            Some(1234)
        );
        assert_eq!(parse_rss("Pss: 99 kB\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_missing_one_is_an_error() {
        assert!(usage(&[std::process::id()]).unwrap().rss_kib > 0);
        assert!(usage(&[u32::MAX]).is_err());
    }
}
