//! What the suites of databases behind a port share besides `far`: a line to them that can be held up or cut, and certificates.
#![allow(clippy::unwrap_used)] // tests may

pub mod cases;
pub mod tls;

use crate::far::{Database, INSERT, config, connect, connect_within, message};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::{FarSide, Refused};
use switchyard_api::{Message, Output};
use switchyard_services::line::Line;

/// One that is reached over a port.
pub trait Server: Database {
    /// Its port.
    fn port(&self) -> u16;
    /// The URL for another user, password or database, and through another port.
    fn url_of(&self, user: &str, password: &str, database: Option<&str>, port: u16) -> String;
    /// Asks how many transactions of others are open in the database.
    const OPEN_TRANSACTIONS: &str;
    /// A statement that takes so many tenths of a second.
    fn pause(tenths: u8) -> String;
}

/// A server as the shared suite sees it: through a line of the test's own.
pub struct Far<S> {
    pub base: Arc<S>,
    line: Line,
}

impl<S: Server> FarSide for Far<S> {
    async fn start() -> Self {
        let base = Arc::new(tokio::task::spawn_blocking(S::make).await.unwrap());
        let line = line_to(base.port()).await;
        Far { base, line }
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(connect_within(&config(&through(&*self.base, self.line.port())), Duration::from_secs(20)).await)
    }
    fn message(&self) -> Message {
        message(INSERT, &[("n", "1"), ("note", "")])
    }
    async fn arrived(&self) -> Vec<String> {
        self.base.sql("SELECT delivery FROM arrived").lines().map(str::to_owned).collect()
    }
    async fn leave(&mut self) -> bool {
        self.line.cut().await;
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(&config(&self.base.url_of("switchyard", "made-up-wrong-one", None, self.base.port()))).await;
        Some(Refused { output: Arc::new(output), secret: "made-up-wrong-one".into() })
    }
    fn hang(&mut self) -> bool {
        self.line.hold_answers();
        true
    }
    fn answer(&mut self) {
        self.line.pass();
    }
    fn poison(&self) -> Option<Message> {
        Some(message(INSERT, &[("n", "-1"), ("note", "")]))
    }
    fn nowhere(&self) -> Option<Message> {
        Some(message("DELETE FROM not_there", &[]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config(&self.base.url());
        let output = connect(&config).await;
        (format!("{config:?}{output:?}"), vec![password(&self.base.url())])
    }
}

/// A line that holds up commits alone: both protocols send the word as it is written.
pub async fn line_to(port: u16) -> Line {
    Line::to(port, |piece| piece.windows(6).any(|word| word == b"COMMIT")).await.unwrap()
}

/// The database's URL, through another port.
pub fn through<S: Server>(base: &S, port: u16) -> String {
    let url = base.url();
    url.replace(&format!(":{}/", base.port()), &format!(":{port}/"))
}

pub fn password(url: &str) -> String {
    let (_, rest) = url.split_once("//").unwrap();
    let (user, _) = rest.split_once('@').unwrap();
    user.split_once(':').unwrap().1.to_owned()
}
