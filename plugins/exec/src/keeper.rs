//! Keeps one program running: starts it when a delivery needs it, rests after it died, and asks it about deliveries.

use crate::line::line;
use crate::program::{Ask, Asked, End, Program};
use crate::recipe::Recipe;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::{Handle, Outcome, Parcel, Period, Settle};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// Rest after the first death; doubles with each death without an answer before it.
const REST_FIRST: Duration = Duration::from_millis(500);
/// Longest rest.
const REST_MAX: Duration = Duration::from_mins(1);
/// How long a check watches a program that has not answered anything yet.
const CHECK_FOR: Duration = Duration::from_secs(1);

/// The program of an output.
#[derive(Debug)]
pub struct Keeper {
    recipe: Arc<Recipe>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    program: Option<Arc<Program>>,
    /// Deaths in a row without an answer.
    deaths: u32,
    rest: Option<(Instant, End)>,
    closed: bool,
}

/// Deliveries that wait for their answers.
struct Waiting {
    answers: FuturesUnordered<BoxFuture<'static, (Handle, Option<Outcome>)>>,
    open: Vec<Handle>,
}

impl Waiting {
    fn new(handles: Vec<Handle>, answers: Vec<oneshot::Receiver<Outcome>>) -> Self {
        let pairs = handles.iter().copied().zip(answers);
        let answers = pairs.map(|(handle, answer)| async move { (handle, answer.await.ok()) }.boxed()).collect();
        Waiting { answers, open: handles }
    }

    /// Says each outcome as it comes. May be dropped and called again.
    async fn tell(&mut self, settle: &Settle) {
        while let Some((handle, outcome)) = self.answers.next().await {
            self.open.retain(|open| *open != handle);
            let gone = || Outcome::Unknown { why: "the program is gone".into() };
            settle.settle(handle, outcome.unwrap_or_else(gone));
        }
    }
}

impl Keeper {
    /// Starts nothing yet.
    pub fn new(recipe: Arc<Recipe>) -> Self {
        Keeper { recipe, state: Mutex::default() }
    }

    /// The program that runs, or a new one; or why there is none now.
    fn program(&self) -> Result<Arc<Program>, Outcome> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.closed {
            return Err(Outcome::Down { why: "the output is closed".into(), after: None });
        }
        if let Some(program) = &state.program {
            let Some(end) = program.end() else { return Ok(Arc::clone(program)) };
            state.program = None;
            state.deaths = if end.answered || end.clean { 1 } else { state.deaths + 1 };
            state.rest = (!end.clean).then(|| (end.at + rest(state.deaths), end));
        }
        if let Some((until, end)) = state.rest.as_ref().filter(|(until, _)| *until > now) {
            let after = *until - now;
            let whole = Period(Duration::from_millis(after.as_millis() as u64));
            let why = format!("{}; it is started again in {whole}", end.why);
            return Err(if end.wrong { Outcome::Misconfigured { why, after: None } } else { Outcome::Down { why, after: Some(after) } });
        }
        let program = Program::start(&self.recipe)?;
        state.program = Some(Arc::clone(&program));
        Ok(program)
    }

    /// A program and the turn to write to it.
    async fn turn(&self) -> Result<(Arc<Program>, OwnedSemaphorePermit), Outcome> {
        loop {
            let program = self.program()?;
            match program.turn().await {
                Some(turn) => return Ok((program, turn)),
                // It ended meanwhile: another one, or a rest. It is told apart only once its end was told.
                None => drop(program.ended().await),
            }
        }
    }

    /// Asks the program about all of them, in their order.
    pub async fn deliver(&self, parcels: &[Parcel], settle: &Settle) {
        let begin = Instant::now();
        // What is known by then is said before the host drops the attempt: a program that hangs takes a moment to be ended.
        let patience = self.recipe.timeout * 9 / 10;
        let (mut handles, mut asks) = (vec![], vec![]);
        for parcel in parcels {
            match line(parcel) {
                Ok(line) => {
                    handles.push(parcel.handle);
                    asks.push(Ask { delivery: parcel.delivery.clone(), attempt: parcel.attempt, line });
                }
                Err(why) => settle.settle(parcel.handle, Outcome::Rejected { why }),
            }
        }
        if asks.is_empty() {
            return;
        }
        let (program, turn) = match timeout_at(begin + patience, self.turn()).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(outcome)) => return all(&handles, settle, &outcome),
            Err(_) => {
                let why = format!("not sent within {}: {} is busy with those before it", Period(patience), self.recipe.name());
                return all(&handles, settle, &Outcome::Retry { why, after: None });
            }
        };
        for handle in &handles {
            settle.sent(*handle);
        }
        let (asked, answers) = program.ask(turn, asks);
        let mut waiting = Waiting::new(handles, answers);
        if timeout_at(begin + patience, waiting.tell(settle)).await.is_err() {
            self.late(&program, &asked, waiting, settle).await;
        }
    }

    /// Time is up for these: a program that hangs is ended, which tells what it has read.
    async fn late(&self, program: &Program, asked: &Asked, mut waiting: Waiting, settle: &Settle) {
        let waited = asked.at.elapsed();
        if program.hangs(asked.at, waited) {
            let _ = timeout(self.recipe.timeout / 20, waiting.tell(settle)).await;
        }
        let stray = program.stray().map(|id| format!("; it answered for `{id}`, which was not asked")).unwrap_or_default();
        let why = format!("{} did not answer within {:.1?}{stray}", self.recipe.name(), waited);
        all(&waiting.open, settle, &Outcome::Unknown { why });
    }

    /// Starts the program and watches that it does not end at once; one that has answered already is well.
    pub async fn check(&self) -> Result<(), String> {
        let program = self.program().map_err(|outcome| outcome.text().to_owned())?;
        if program.has_answered() && program.end().is_none() {
            return Ok(());
        }
        match timeout(CHECK_FOR, program.ended()).await {
            Ok(Some(end)) => Err(end.why),
            Ok(None) => Err(format!("{} ended", self.recipe.name())),
            Err(_) => Ok(()),
        }
    }

    /// Closes the program's input and waits until it has ended; starts none any more.
    pub async fn close(&self) {
        let program = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            state.program.take()
        };
        if let Some(program) = program {
            program.close().await;
        }
    }
}

fn rest(deaths: u32) -> Duration {
    REST_FIRST.saturating_mul(1 << deaths.saturating_sub(1).min(16)).min(REST_MAX)
}

fn all(handles: &[Handle], settle: &Settle, outcome: &Outcome) {
    for handle in handles {
        settle.settle(*handle, outcome.clone());
    }
}
