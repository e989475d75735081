//! A server that takes what comes and answers nothing: its process is halted, and its sockets live on in the kernel.

use crate::Guarded;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// Halts the server.
///
/// # Errors
/// It is gone.
pub fn pause(server: &Guarded) -> anyhow::Result<()> {
    signal(server, Signal::STOP)
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
