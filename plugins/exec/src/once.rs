//! One program for each delivery: its line on standard input, then the end; the exit code is the answer.

use crate::answer::by_exit;
use crate::line::line;
use crate::reader::{Lines, Next};
use crate::recipe::{GRACE, Pipes, Recipe};
use crate::stderr::{Tail, words};
use futures_util::future::join3;
use switchyard_api::{Outcome, Parcel, Period, Settle};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{timeout, timeout_at};

/// Runs it for one delivery. Dropped, the program and all that it started are killed.
pub async fn run(recipe: &Recipe, parcel: &Parcel, settle: &Settle) {
    let line = match line(parcel) {
        Ok(line) => line,
        Err(why) => return settle.settle(parcel.handle, Outcome::Rejected { why }),
    };
    settle.sent(parcel.handle);
    settle.settle(parcel.handle, outcome(recipe, &line).await);
}

async fn outcome(recipe: &Recipe, line: &[u8]) -> Outcome {
    let (mut started, Pipes { stdin, stdout, stderr }) = match recipe.start() {
        Ok(started) => started,
        Err(outcome) => return outcome,
    };
    // What is known by then is said before the host drops the attempt.
    let patience = recipe.timeout * 9 / 10;
    let deadline = tokio::time::Instant::now() + patience;
    let (mut said, mut grumbled, tail) = (words(stdout), words(stderr), Tail::default());
    let mut talk = Box::pin(join3(feed(stdin, line), last(&mut said), tail.read(&mut grumbled, &recipe.shown, &recipe.output)));
    let mut heard = None;
    let status = loop {
        tokio::select! {
            status = timeout_at(deadline, started.wait()) => break status,
            ((), said, ()) = &mut talk, if heard.is_none() => heard = Some(said),
        }
    };
    let name = recipe.name();
    let Ok(status) = status else {
        return Outcome::Unknown { why: format!("{name} did not end within {} and was killed", Period(patience)) };
    };
    if heard.is_none() {
        // Its group is gone, and the pipes are closed; what has left the group and holds them is not waited for.
        heard = timeout(GRACE, talk).await.ok().map(|((), said, ())| said);
    }
    let said = recipe.shown.line(&String::from_utf8_lossy(&heard.unwrap_or_default()));
    match status {
        Ok(status) if status.success() => by_exit(status, said),
        Ok(status) => by_exit(status, if tail.text().is_empty() { said } else { tail.text() }),
        Err(error) => Outcome::Unknown { why: format!("{name} is lost: {error}") },
    }
}

/// A program need not read: that it closed its input is no mistake.
async fn feed(mut stdin: ChildStdin, line: &[u8]) {
    let _ = stdin.write_all(line).await;
}

/// The last line with words in it.
async fn last(from: &mut Lines<ChildStdout>) -> Vec<u8> {
    let mut last = vec![];
    while let Ok(Next::Line(line) | Next::TooLong(line)) = from.next().await {
        if !line.trim_ascii().is_empty() {
            last = line;
        }
    }
    last
}
