//! The wall clock in nanoseconds: the one clock that sender and sink share across processes.

/// Nanoseconds since 1970.
#[allow(clippy::disallowed_methods)] // a bench is about the machine's own clock
pub fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
