//! One running program: lines go in whole and in order, answers come out in any order, and its end settles what is open.
//!
//! Holds: a line is handed over whole or not at all, whenever the attempt is dropped. At the end the pipe tells how much the
//! program has read: what it has not read surely did not leave; what it has read and not answered is unknown.

use crate::answer::{ANSWER_MAX, Answer};
use crate::reader::{Lines, Next};
use crate::recipe::{GRACE, Pipes, Recipe, Started, allow_cpu};
use crate::stderr::{Tail, words};
use futures_util::FutureExt;
use futures_util::future::{FusedFuture, join};
use rustix::process::Pid;
use std::collections::HashMap;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switchyard_api::Outcome;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

/// How long a program may go on after its input was closed.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// A program that runs, or ran.
#[derive(Debug)]
pub struct Program {
    /// Whose turn it is to write. Closed with the program.
    turn: Arc<Semaphore>,
    /// Holds at most the batch of the turn.
    batches: mpsc::Sender<Batch>,
    stop: mpsc::Sender<Stop>,
    shared: Arc<Shared>,
    end: watch::Receiver<Option<End>>,
    life: tokio::task::JoinHandle<()>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct End {
    /// When.
    pub at: Instant,
    /// In one line.
    pub why: String,
    /// By itself, with nothing open and code 0: the next one may start at once.
    pub clean: bool,
    /// A person must mend something.
    pub wrong: bool,
    /// It has answered something.
    pub answered: bool,
}

/// One delivery on its way to a program.
#[derive(Debug)]
pub struct Ask {
    /// Its id.
    pub delivery: String,
    /// Which attempt.
    pub attempt: u32,
    /// Its line.
    pub line: Vec<u8>,
}

/// What was asked; forgotten when dropped, so that an answer nobody waits for is held by nobody.
#[derive(Debug)]
pub struct Asked {
    shared: Arc<Shared>,
    ids: Vec<(String, u64)>,
    /// When.
    pub at: Instant,
}

#[derive(Debug)]
struct Batch {
    lines: Vec<Line>,
    _turn: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Line {
    delivery: String,
    number: u64,
    bytes: Vec<u8>,
}

/// Why a program's life is over.
#[derive(Debug)]
enum Stop {
    /// It ended.
    Exited,
    /// It closed its input or its output.
    Closed,
    /// It does what it must not, in words.
    Broken(String),
    /// It is not needed any more.
    Leave,
}

#[derive(Debug, Default)]
struct Shared(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: HashMap<String, Open>,
    next: u64,
    /// Bytes that went into the pipe.
    written: u64,
    heard: Option<Instant>,
    /// The last delivery that was answered and not asked.
    stray: Option<String>,
    over: bool,
}

#[derive(Debug)]
struct Open {
    number: u64,
    attempt: u32,
    /// Where in all that was written its line begins; none until it does.
    begins: Option<u64>,
    tell: oneshot::Sender<Outcome>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Program {
    /// Starts one.
    pub fn start(recipe: &Arc<Recipe>) -> Result<Arc<Self>, Outcome> {
        let (started, pipes) = recipe.start()?;
        let shared = Arc::new(Shared::default());
        let (batches, to_write) = mpsc::channel(1);
        // One word is enough to stop; a second one changes nothing.
        let (stop, stopped) = mpsc::channel(1);
        let (tell, end) = watch::channel(None);
        let turn = Arc::new(Semaphore::new(1));
        let life = Life { recipe: Arc::clone(recipe), shared: Arc::clone(&shared), started, turn: Arc::clone(&turn), tell };
        let life = tokio::spawn(life.live(pipes, to_write, stopped));
        Ok(Arc::new(Program { turn, batches, stop, shared, end, life }))
    }

    /// Waits for the turn to write; `None` if the program is over.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        self.end().is_none().then_some(turn)
    }

    /// Hands lines over. From here on the program may have them.
    pub fn ask(&self, turn: OwnedSemaphorePermit, asks: Vec<Ask>) -> (Asked, Vec<oneshot::Receiver<Outcome>>) {
        let mut asked = Asked { shared: Arc::clone(&self.shared), ids: vec![], at: Instant::now() };
        let mut answers = vec![];
        let mut lines = vec![];
        let mut table = self.shared.table();
        for Ask { delivery, attempt, line } in asks {
            let (tell, answer) = oneshot::channel();
            table.next += 1;
            let open = Open { number: table.next, attempt, begins: None, tell };
            if table.over {
                let _ = open.tell.send(Outcome::Down { why: "the program ended before it was its turn".into(), after: None });
            } else {
                asked.ids.push((delivery.clone(), open.number));
                lines.push(Line { delivery: delivery.clone(), number: open.number, bytes: line });
                table.open.insert(delivery, open);
            }
            answers.push(answer);
        }
        drop(table);
        // Whoever has the turn finds room. A program that is over settles what is open.
        let _ = self.batches.try_send(Batch { lines, _turn: turn });
        (asked, answers)
    }

    /// A delivery got no answer in time: a program that has said nothing since it was asked hangs, and is ended.
    /// True if it hangs: what is open is then told soon.
    pub fn hangs(&self, since: Instant, waited: Duration) -> bool {
        let heard = self.shared.table().heard;
        let silent = heard.is_none_or(|heard| heard < since);
        if silent {
            let _ = self.stop.try_send(Stop::Broken(format!("said nothing for {waited:.1?} and was killed")));
        }
        silent
    }

    /// A delivery that it answered and that nobody had asked, to be told where an answer is missed.
    pub fn stray(&self) -> Option<String> {
        self.shared.table().stray.clone()
    }

    /// Whether it has answered anything.
    pub fn has_answered(&self) -> bool {
        self.shared.table().heard.is_some()
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Option<End> {
        // An error: its task is gone, and the program with it.
        self.end.clone().wait_for(Option::is_some).await.ok().and_then(|end| end.clone())
    }

    /// Closes its input and waits for its end.
    pub async fn close(&self) {
        let _ = self.stop.try_send(Stop::Leave);
        self.ended().await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.life.abort();
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        for (id, number) in &self.ids {
            if table.open.get(id).is_some_and(|open| open.number == *number) {
                table.open.remove(id);
            }
        }
    }
}

struct Life {
    recipe: Arc<Recipe>,
    shared: Arc<Shared>,
    started: Started,
    turn: Arc<Semaphore>,
    tell: watch::Sender<Option<End>>,
}

impl Life {
    async fn live(mut self, pipes: Pipes, mut batches: mpsc::Receiver<Batch>, mut stopped: mpsc::Receiver<Stop>) {
        let Pipes { mut stdin, stdout, stderr } = pipes;
        let (mut answers, mut grumbles, tail) = (Lines::new(stdout, ANSWER_MAX), words(stderr), Tail::default());
        let (recipe, shared, pid) = (Arc::clone(&self.recipe), Arc::clone(&self.shared), self.started.pid);
        let mut log = Box::pin(tail.read(&mut grumbles, &recipe.shown, &recipe.output).fuse());
        let stop = {
            let mut write = std::pin::pin!(write(&mut stdin, &mut batches, &recipe, &shared, pid));
            let mut listen = std::pin::pin!(listen(&mut answers, &recipe, &shared));
            loop {
                tokio::select! {
                    _ = self.started.wait() => break Stop::Exited,
                    stop = &mut listen => break stop,
                    stop = &mut write => break stop,
                    // No sender: the output was dropped, and this task with it.
                    stop = stopped.recv() => break stop.unwrap_or(Stop::Leave),
                    () = &mut log, if !log.is_terminated() => {}
                }
            }
        };
        // Who waits for the turn hears that it will not come; what was asked already is told below.
        self.turn.close();
        let rest = async {
            if !log.is_terminated() {
                log.await;
            }
        };
        let (status, read) = match &stop {
            Stop::Broken(_) => {
                let status = self.started.end(Duration::ZERO).await;
                let _ = timeout(GRACE, rest).await;
                (status, consumed(&stdin, &shared))
            }
            Stop::Leave => {
                drop(stdin);
                (self.over(&mut answers, rest, CLOSE_WAIT).await, u64::MAX)
            }
            Stop::Exited | Stop::Closed => (self.over(&mut answers, rest, GRACE).await, consumed(&stdin, &shared)),
        };
        self.finish(&stop, status, read, &tail.text());
    }

    /// Lets it end, hearing what it still says.
    async fn over(
        &mut self,
        answers: &mut Lines<ChildStdout>,
        log: impl Future<Output = ()>,
        grace: Duration,
    ) -> std::io::Result<ExitStatus> {
        // With the last of its group the pipes are closed; what has left the group and holds them is not waited for.
        let hear = timeout(grace + GRACE, join(listen(answers, &self.recipe, &self.shared), log));
        join(self.started.end(grace), hear).await.0
    }

    /// Tells everybody.
    fn finish(self, stop: &Stop, status: std::io::Result<ExitStatus>, read: u64, said: &str) {
        let how = match (stop, &status) {
            (Stop::Broken(why), _) => why.clone(),
            (_, Ok(status)) => format!("ended ({status})"),
            (_, Err(error)) => format!("ended ({error})"),
        };
        let name = self.recipe.name();
        let why = if said.is_empty() { format!("{name} {how}") } else { format!("{name} {how}: {said}") };
        let wrong = matches!(status.as_ref().ok().and_then(ExitStatus::code), Some(77 | 78 | 126 | 127));
        let mut table = self.shared.table();
        table.over = true;
        let answered = table.heard.is_some();
        let well = matches!(stop, Stop::Leave) || !matches!(stop, Stop::Broken(_)) && status.is_ok_and(|status| status.success());
        let clean = well && (answered || table.open.is_empty());
        for (_, open) in table.open.drain() {
            let outcome = match open.begins {
                Some(begins) if begins < read => Outcome::Unknown { why: format!("{why}; it had read the delivery and not answered") },
                _ if wrong => Outcome::Misconfigured { why: why.clone(), after: None },
                _ => Outcome::Down { why: format!("{why}; it had not read the delivery"), after: None },
            };
            // Nobody listens where the attempt was dropped just now.
            let _ = open.tell.send(outcome);
        }
        drop(table);
        self.tell.send_replace(Some(End { at: Instant::now(), why, clean, wrong, answered }));
    }
}

/// Bytes that the program took out of the pipe.
fn consumed(stdin: &ChildStdin, shared: &Shared) -> u64 {
    // Where the system does not say how much is left, everything counts as read.
    let left = rustix::io::ioctl_fionread(stdin).unwrap_or(0);
    shared.table().written.saturating_sub(left)
}

/// Writes batch after batch; ends when nobody reads.
async fn write(stdin: &mut ChildStdin, batches: &mut mpsc::Receiver<Batch>, recipe: &Recipe, shared: &Shared, pid: Pid) -> Stop {
    while let Some(batch) = batches.recv().await {
        allow_cpu(pid, recipe.cpu);
        for line in &batch.lines {
            if !is_open(shared, line) {
                continue; // given up before it was its turn
            }
            let mut rest = line.bytes.as_slice();
            while !rest.is_empty() {
                let count = match stdin.write(rest).await {
                    Ok(0) | Err(_) => return Stop::Closed,
                    Ok(count) => count,
                };
                let mut table = shared.table();
                let before = table.written;
                table.written += count as u64;
                if let Some(open) = table.open.get_mut(&line.delivery).filter(|open| open.number == line.number) {
                    open.begins.get_or_insert(before);
                }
                rest = &rest[count..];
            }
        }
    }
    Stop::Leave
}

fn is_open(shared: &Shared, line: &Line) -> bool {
    shared.table().open.get(&line.delivery).is_some_and(|open| open.number == line.number)
}

/// Hears answer after answer; ends with the program's output, or with what is no answer.
async fn listen(answers: &mut Lines<ChildStdout>, recipe: &Recipe, shared: &Shared) -> Stop {
    loop {
        let line = match answers.next().await {
            Ok(Next::Line(line)) if line.trim_ascii().is_empty() => continue,
            Ok(Next::Line(line)) => line,
            Ok(Next::End) => return Stop::Closed,
            Ok(Next::TooLong(begin)) => {
                let begin = recipe.shown.line(&String::from_utf8_lossy(&begin));
                return Stop::Broken(format!("wrote a line of more than {ANSWER_MAX} bytes: `{begin}`"));
            }
            Err(error) => return Stop::Broken(format!("cannot be heard: {error}")),
        };
        match Answer::read(&line, &recipe.shown) {
            Ok(answer) => hear(answer, recipe, shared),
            Err(why) => {
                let line = recipe.shown.line(&String::from_utf8_lossy(&line));
                return Stop::Broken(format!("wrote a line that is no answer, `{line}` ({why})"));
            }
        }
    }
}

fn hear(answer: Answer, recipe: &Recipe, shared: &Shared) {
    let mut table = shared.table();
    table.heard = Some(Instant::now());
    // Only what was begun can be answered: a guess of a delivery that waits for its turn is none.
    let meant = |open: &Open| open.begins.is_some() && answer.attempt.is_none_or(|attempt| attempt == open.attempt);
    if table.open.get(&answer.delivery).is_some_and(meant)
        && let Some(open) = table.open.remove(&answer.delivery)
    {
        let _ = open.tell.send(answer.outcome);
    } else {
        table.stray = Some(recipe.shown.line(&answer.delivery));
    }
}
