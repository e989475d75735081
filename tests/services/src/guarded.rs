//! A server's process that cannot outlive who started it.

use anyhow::{Context, bail};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the command and ends it when its own input ends: on drop, and when whoever holds the other end dies in whatever way.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(
    read -r _ <&3
    kill -TERM $server 2>/dev/null
    n=0
    while kill -0 $server 2>/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
    kill -KILL $server 2>/dev/null
) >/dev/null 2>&1 &
watcher=$!
wait $server
code=$?
kill $watcher 2>/dev/null
exit $code
"#;

/// A server that runs.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    log: std::path::PathBuf,
    name: String,
}

impl Guarded {
    /// Starts the command; what it prints goes to `log`.
    ///
    /// # Errors
    /// The program is not there, or the log cannot be written.
    pub fn start(command: &Command, log: &Path) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let name = program.to_string_lossy().into_owned();
        let out = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&program).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(key, value),
                None => guard.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guard.current_dir(folder);
        }
        guard.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let guard = guard.spawn().with_context(|| format!("cannot start `{name}`"))?;
        Ok(Guarded { guard, log: log.to_owned(), name })
    }

    /// Waits until `ready` answers, at most so long.
    ///
    /// # Errors
    /// The server ended or is not ready in time: with the last lines of what it printed.
    pub fn wait<T>(&mut self, most: Duration, mut ready: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let begin = now();
        loop {
            if let Some(answer) = ready() {
                return Ok(answer);
            }
            if self.guard.try_wait()?.is_some() {
                bail!("`{}` ended at once:\n{}", self.name, self.last_lines());
            }
            if begin.elapsed() > most {
                bail!("`{}` is not ready after {most:?}:\n{}", self.name, self.last_lines());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server's process.
    ///
    /// # Errors
    /// It is gone.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.guard.id());
        let children = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).with_context(|| format!("`{}` is gone", self.name))
    }

    /// Kills the server at once, as a crash would.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        let pid = rustix::process::Pid::from_raw(pid).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        drop(self.guard.stdin.take());
        self.guard.wait()?;
        Ok(())
    }

    /// Ends the server as an operator would, and waits for its end.
    pub fn stop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The machine's clock: a server takes real time to start.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Guarded {
        let mut command = Command::new("sleep");
        command.arg("600");
        Guarded::start(&command, &folder.join("log")).unwrap()
    }
    fn is_gone(pid: u32) -> bool {
        !Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_server_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = sleeper(folder.path());
        let mut pid = server.pid();
        while pid.is_err() {
            server.wait(Duration::from_secs(10), || Some(())).unwrap();
            pid = server.pid();
        }
        let pid = pid.unwrap();
        drop(server);
        assert!(is_gone(pid));
    }

    #[test]
    fn a_server_that_ends_at_once_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing"]);
        let mut server = Guarded::start(&command, &folder.path().join("log")).unwrap();
        let wrong = server.wait(Duration::from_secs(10), || None::<()>).unwrap_err().to_string();
        assert!(wrong.contains("ended at once") && wrong.contains("no such thing"), "{wrong}");
    }
}
