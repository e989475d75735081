//! A server that takes what comes and answers nothing: its process is halted, and its sockets live on in the kernel.

use crate::Guarded;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// How often it is looked, a millisecond apart, before a server goes on that was to halt.
const LOOKS: u32 = 30_000;

/// Halts the server. When this returns none of its threads runs any more: a signal alone is heard by each of them in its own time.
///
/// # Errors
/// It is gone, or goes on.
pub fn pause(server: &Guarded) -> anyhow::Result<()> {
    signal(server, Signal::STOP)?;
    let pid = server.pid()?;
    for _ in 0..LOOKS {
        if halted(pid).context("its threads can't be seen")? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("the server goes on")
}

/// Whether all threads of a process are stopped (proc_pid_stat(5): the letter behind the name).
fn halted(pid: u32) -> std::io::Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ends meanwhile runs no more.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, Some('T' | 't' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets it run on.
///
/// # Errors
/// It is gone.
pub fn resume(server: &Guarded) -> anyhow::Result<()> {
    signal(server, Signal::CONT)
}

fn signal(server: &Guarded, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(server.pid()?)?).context("no process")?;
    Ok(kill_process(pid, signal)?)
}
