//! Named places at which a torture run kills the daemon. Compiled to nothing without the feature `torture`.
//!
//! `SWITCHYARD_KILL_AT=<point>:<hit>` names the place and at which visit the process kills itself, as a SIGKILL would: nothing
//! is flushed, nothing is said.

/// The places, in the order in which an event meets them.
pub const POINTS: [&str; 11] = [
    "accepted",
    "verified",
    "queued",
    "in_transaction",
    "committed",
    "answered",
    "sent",
    "answered_not_settled",
    "settle_in_transaction",
    "reload",
    "retention",
];

/// Marks a place.
#[cfg(not(feature = "torture"))]
#[inline(always)]
#[allow(clippy::inline_always)] // it must cost nothing
pub fn point(_name: &'static str) {}

/// Marks a place; ends the process when it is the one asked for.
#[cfg(feature = "torture")]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    /// The one piece of global state: a place can be anywhere, and the feature is never in a release.
    static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static VISITS: AtomicU64 = AtomicU64::new(0);
    #[allow(clippy::disallowed_methods)] // no secret, and only under `torture`
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("SWITCHYARD_KILL_AT").ok()?;
        let (point, hit) = text.split_once(':')?;
        Some((point.to_owned(), hit.parse().ok()?))
    });
    let Some((point, hit)) = asked else { return };
    if point == name && VISITS.fetch_add(1, Ordering::SeqCst) + 1 == *hit {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
