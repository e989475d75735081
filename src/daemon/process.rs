//! What the process asks of the machine before it opens anything.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many open files as the machine allows: a connection is one, and the usual soft limit of 1,024 is soon reached.
/// Writes no core dump: it would hold secrets (L7).
pub fn prepare() {
    let files = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let silent = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    for refused in [raised, silent].into_iter().filter_map(Result::err) {
        tracing::warn!(%refused, "the machine refuses the limits of this process; it runs with those it has");
    }
}
