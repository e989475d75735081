//! A few workers, started when they are needed, replaced when they die or break a limit.
//!
//! Holds L6: a run takes at most [`WALL_MAX`] of the clock, its results [`RESULTS_BYTES_MAX`]. Runs beyond the number of workers
//! wait in turn; each waits on behalf of an event whose bytes are counted already. A worker that dies fails the run it was on and
//! no other.

use super::frame::{self, LOAD, RUN};
use super::worker::{Here, PROGRAMS_MAX};
use super::{JqError, Program};
use crate::route::filter::shorten;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// The longest a run may take.
pub const WALL_MAX: Duration = Duration::from_millis(100);
/// Bytes of all results of a run, with 4 more for each.
pub const RESULTS_BYTES_MAX: usize = 8 << 20;
/// The longest a worker may take to start, or to compile a program: a busy machine's, not a program's fault.
const START_MAX: Duration = Duration::from_secs(10);
/// A worker that was busy so long is replaced, well before its own limit on processor time.
const BUSY_MAX: Duration = Duration::from_mins(1);

/// Runs programs in worker processes.
#[derive(Debug)]
pub struct JqPool {
    exe: PathBuf,
    wall: Duration,
    turns: Semaphore,
    idle: Mutex<Vec<Worker>>,
    here: Option<Here>,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    known: HashSet<[u8; frame::ID]>,
    busy: Duration,
}

impl JqPool {
    /// A pool of at most so many workers (at least one) of this binary. Starts none yet.
    pub fn start(exe: PathBuf, workers: usize) -> Self {
        JqPool { exe, wall: WALL_MAX, turns: Semaphore::new(workers.max(1)), idle: Mutex::default(), here: None }
    }

    /// One that runs programs in this process, by the worker's own code: steps and results are limited, memory and time are not. Only for
    /// programs and events of our own, where there are no processes: as on virtual time.
    pub fn here() -> Self {
        JqPool { here: Some(Here::default()), ..JqPool::start(PathBuf::new(), 1) }
    }

    /// The same with another limit on the time of a run.
    #[must_use]
    pub fn with_wall(self, wall: Duration) -> Self {
        JqPool { wall, ..self }
    }

    /// The results of a program for an input, each as JSON text.
    ///
    /// # Errors
    /// The program's own, or the limit that it broke.
    pub async fn run(&self, program: &Program, input: &str) -> Result<Vec<String>, JqError> {
        if let Some(here) = &self.here {
            return frame::split(&here.run(program, input.as_bytes())?).ok_or(JqError::Died);
        }
        let closed = |_| JqError::NotStarted("the pool is closed".into());
        let _turn = self.turns.acquire().await.map_err(closed)?;
        let mut worker = self.worker().await?;
        worker.load(program).await?;
        let started = Instant::now();
        // Whatever goes wrong here, or if nobody waits for the answer any more, the worker is dropped and so killed:
        // nobody knows what it is doing.
        let (status, rest) = match timeout(self.wall, worker.ask(&[&[RUN], &program.id, input.as_bytes()])).await {
            Err(_) => return Err(JqError::Time(self.wall)),
            Ok(Err(_)) => return Err(JqError::Died),
            Ok(Ok(answer)) => answer,
        };
        worker.busy += started.elapsed();
        if worker.busy < BUSY_MAX && worker.known.len() < PROGRAMS_MAX {
            self.idle().push(worker);
        }
        match status {
            frame::OK => frame::split(&rest).ok_or(JqError::Died),
            frame::INPUT_ERROR => Err(JqError::Input),
            frame::STEPS => Err(JqError::Steps),
            frame::TOO_MANY => Err(JqError::TooMany),
            frame::TOO_LARGE => Err(JqError::TooLarge),
            frame::NOT_JSON => Err(JqError::NotJson),
            _ => Err(JqError::Program(shorten(&String::from_utf8_lossy(&rest)))),
        }
    }

    async fn worker(&self) -> Result<Worker, JqError> {
        loop {
            let Some(mut worker) = self.idle().pop() else { break };
            // One that died while nobody looked is no run's fault.
            if matches!(worker.child.try_wait(), Ok(None)) {
                return Ok(worker);
            }
        }
        let not_started = |error: io::Error| JqError::NotStarted(error.kind().to_string());
        let mut worker = Worker::spawn(&self.exe).map_err(not_started)?;
        match timeout(START_MAX, worker.hear()).await {
            Ok(Ok((frame::OK, _))) => Ok(worker),
            Ok(Ok(_)) => Err(JqError::NotStarted("not a worker".into())),
            Ok(Err(error)) => Err(not_started(error)),
            Err(_) => Err(JqError::NotStarted("it does not answer".into())),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn spawn(exe: &PathBuf) -> io::Result<Self> {
        let mut child = Command::new(exe)
            .arg("jq-worker")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal is for the daemon, which drains first.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Worker { child, input, output, known: HashSet::new(), busy: Duration::ZERO })
    }

    async fn load(&mut self, program: &Program) -> Result<(), JqError> {
        if self.known.contains(&program.id) {
            return Ok(());
        }
        match timeout(START_MAX, self.ask(&[&[LOAD], &program.id, program.text.as_bytes()])).await {
            Ok(Ok((frame::OK, _))) => {
                self.known.insert(program.id);
                Ok(())
            }
            Err(_) => Err(JqError::Time(START_MAX)),
            Ok(_) => Err(JqError::Died),
        }
    }

    async fn ask(&mut self, parts: &[&[u8]]) -> io::Result<(u8, Vec<u8>)> {
        self.input.write_all(&frame::frame(parts)).await?;
        self.hear().await
    }

    async fn hear(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let length = self.output.read_u32_le().await? as usize;
        if length == 0 || length > RESULTS_BYTES_MAX + 1 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let status = self.output.read_u8().await?;
        let mut rest = vec![0; length - 1];
        self.output.read_exact(&mut rest).await?;
        Ok((status, rest))
    }
}
