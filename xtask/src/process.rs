//! What the kernel says of a process and of a disk, from outside, so that floor and daemon are measured alike.

use anyhow::Context;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The kernel counts CPU time in hundredths of a second for every program, whatever its own clock.
const US_PER_TICK: u64 = 10_000;

/// CPU time of a process so far, µs, in steps of 10 ms.
pub fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    ticks(&stat).map(|ticks| ticks * US_PER_TICK).with_context(|| format!("{path}: no CPU times"))
}

/// User and system ticks. The process's name, which may hold anything, ends at the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Memory a process holds, KiB.
pub fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The processes that a process started and that live.
pub fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Descriptors a process has open.
pub fn files(pid: u32) -> anyhow::Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&path).with_context(|| path.clone())?.count())
}

/// Bytes written so far to the disk that a folder is on, by everybody and with the file system's own; none where the kernel shows no such
/// disk. (A process's own `write_bytes` counts whole large pages, many times what is written.)
pub fn disk_bytes(folder: &Path) -> Option<u64> {
    const SECTOR: u64 = 512;
    let dev = std::fs::metadata(folder).ok()?.dev();
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(dev), rustix::fs::minor(dev))).ok()?;
    Some(stat.split_whitespace().nth(6)?.parse::<u64>().ok()? * SECTOR)
}

/// The machine's clock, for waiting and measuring.
#[allow(clippy::disallowed_methods)] // what is measured here is real time
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970, the clock that processes share.
#[allow(clippy::disallowed_methods)] // as above
pub fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks every few milliseconds until there is an answer or time is up.
pub fn wait_for<T>(most: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() >= most {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        let own = std::process::id();
        let mut sum = 0_u64;
        let used = wait_for(Duration::from_secs(10), || {
            sum = (0..1_000_000).fold(sum, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
            cpu_us(own).ok().filter(|us| *us > 0)
        });
        assert!(used.is_some(), "{sum}");
        assert!(rss_kib(own).unwrap() > 100);
    }

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 3 0 100 1 2"), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }
}
