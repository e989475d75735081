//! Clock and CPU of this process.

use anyhow::Context;
use std::time::Instant;

/// The kernel counts CPU time in hundredths of a second for every program, whatever its own clock.
const US_PER_TICK: u64 = 10_000;

/// Now.
#[allow(clippy::disallowed_methods)] // a bench is about the machine's own clock
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time so far of this process and threads of it that have ended, µs, in steps of 10 ms.
pub fn cpu_us() -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    ticks(&stat).map(|ticks| ticks * US_PER_TICK).context("/proc/self/stat: no CPU times")
}

/// User and system time of a `stat` line. The name, which may hold anything, ends at the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 3 0 100 1 2"), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }
}
