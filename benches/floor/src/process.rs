//! What the kernel says of a process.

use anyhow::Context;

/// The kernel counts CPU time in hundredths of a second for every program, whatever its own clock.
const US_PER_TICK: u64 = 10_000;

/// CPU time of this process so far, µs, in steps of 10 ms.
pub fn own_cpu_us() -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    cpu_us(&stat).context("/proc/self/stat: no CPU times")
}

/// Memory a process holds now, KiB.
pub fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("{path}: is the server running?"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// User and system time from a `stat` line. The name, which may hold anything, ends at the last parenthesis.
fn cpu_us(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * US_PER_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 3 0 100 1 2";
        assert_eq!(cpu_us(stat), Some(420_000));
        assert_eq!(cpu_us("7 (a"), None);
    }
}
