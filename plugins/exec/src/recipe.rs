//! How a program is started: what is run, where, with which environment and limits, in a process group of its own.
//!
//! Never: a shell's words. The one `sh` sets the limits and becomes the program; command and arguments reach it as they are.

use crate::stderr::Shown;
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::{Outcome, Secret};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// Where a program without `/` is looked for, unless `env` has a `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Sets the limits (`$1` KiB of memory, `$2` seconds of CPU) and becomes the program.
const LIMITED: &str = r#"ulimit -c 0; ulimit -v "$1" && ulimit -S -t "$2" && shift 2 && exec "$@""#;
/// How long a program that has closed its pipes may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(1);

/// All that starting needs.
#[derive(Debug)]
pub struct Recipe {
    /// The output's name.
    pub output: Arc<str>,
    /// Program and arguments.
    pub command: Vec<Secret>,
    /// Its whole environment.
    pub env: Vec<(String, Secret)>,
    /// Where it runs; a whole path.
    pub cwd: PathBuf,
    /// Bytes of address space.
    pub memory: u64,
    /// CPU time of a delivery.
    pub cpu: Duration,
    /// How long a delivery may take.
    pub timeout: Duration,
    /// How what it says is shown.
    pub shown: Shown,
}

/// A program that was started. Its whole group is killed when this is dropped.
#[derive(Debug)]
pub struct Started {
    child: Child,
    /// The process.
    pub pid: Pid,
}

/// The ends of its pipes.
#[derive(Debug)]
pub struct Pipes {
    /// It reads.
    pub stdin: ChildStdin,
    /// It answers.
    pub stdout: ChildStdout,
    /// It grumbles.
    pub stderr: ChildStderr,
}

impl Recipe {
    /// The command as a person reads it.
    pub fn name(&self) -> String {
        let words: Vec<&str> = self.command.iter().map(Secret::expose).collect();
        format!("`{}`", self.shown.line(&words.join(" ")))
    }

    /// The file that would run, or what a person must mend.
    pub fn find(&self) -> Result<PathBuf, String> {
        if !self.cwd.is_dir() {
            return Err(format!("there is no folder `{}` to run {} in", self.cwd.display(), self.name()));
        }
        let program = self.command.first().map(Secret::expose).unwrap_or_default();
        let runs = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
        let shown = |path: &Path| format!("`{}`", self.shown.line(&path.display().to_string()));
        if program.contains('/') {
            let path = self.cwd.join(program);
            return match (runs(&path), path.exists()) {
                (true, _) => Ok(path),
                (false, true) => Err(format!("{} cannot be run: make it an executable file", shown(&path))),
                (false, false) => Err(format!("there is no program {}", shown(&path))),
            };
        }
        let path = self.env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value.expose());
        let found = path.split(':').map(|folder| self.cwd.join(folder).join(program)).find(|path| runs(path));
        found.ok_or_else(|| format!("there is no program {} in {path}: write its whole path", shown(Path::new(program))))
    }

    /// Starts it. What keeps it from starting is the outcome of what waits for it: nothing was sent.
    pub fn start(&self) -> Result<(Started, Pipes), Outcome> {
        let program = self.find().map_err(|why| Outcome::Misconfigured { why, after: None })?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITED, "sh"]).arg((self.memory >> 10).to_string()).arg(self.cpu.as_secs().max(1).to_string());
        command.arg(program).args(self.command.iter().skip(1).map(Secret::expose));
        command.env_clear().env("PATH", PATH).envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        command.current_dir(&self.cwd).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let down = |why: String| Outcome::Down { why: format!("{} cannot be started: {why}", self.name()), after: None };
        let mut child = command.spawn().map_err(|error| down(error.to_string()))?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        match (pid, child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(pid), Some(stdin), Some(stdout), Some(stderr)) => Ok((Started { child, pid }, Pipes { stdin, stdout, stderr })),
            _ => Err(down("it has no pipes".into())),
        }
    }
}

impl Started {
    /// Waits for its end. May be dropped and called again.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let first = self.child.id().is_some();
        let status = self.child.wait().await;
        if first {
            // Right after it was reaped its number can't be another's yet, and as long as one of its group lives it stays taken.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        status
    }

    /// Gives it that long to end, then kills it and all that it started.
    pub async fn end(&mut self, grace: Duration) -> std::io::Result<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(grace, self.wait()).await {
            return status;
        }
        self.kill();
        self.wait().await
    }

    fn kill(&self) {
        // None once it was reaped: then its group was killed too.
        if self.child.id().is_some() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets a running program use so much CPU time from now on; more, and the system ends it. Over its life it may use any amount.
#[cfg(target_os = "linux")]
pub fn allow_cpu(pid: Pid, most: Duration) {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
    // A program that is gone has no such file, and needs no limit.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else { return };
    let Some(ticks) = cpu_ticks(&stat) else { return };
    let used = ticks / rustix::param::clock_ticks_per_second().max(1) + 1;
    let maximum = getrlimit(Resource::Cpu).maximum;
    let limit = Rlimit { current: Some(used + most.as_secs().max(1)), maximum };
    // Refused for a program of another user: it keeps the limit that it began with.
    let _ = prlimit(Some(pid), Resource::Cpu, limit);
}

/// Elsewhere the limit stands from the start.
#[cfg(not(target_os = "linux"))]
pub fn allow_cpu(_: Pid, _: Duration) {}

/// User and system time in `/proc/PID/stat` (proc_pid_stat(5): fields 14 and 15; the name in brackets may hold anything).
#[cfg(target_os = "linux")]
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "12 (a) S 1 2) R 1 12 12 0 -1 4194304 100 0 0 0 17 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("12 (a) R 1"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(cpu_ticks(&own).is_some());
    }
}
