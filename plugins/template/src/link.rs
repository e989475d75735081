//! One connection to a till: opened, let in, and then lines out and answers in.

use futures_util::FutureExt;
use std::fmt;
use std::io;
use switchyard_api::stream::{Address, CONNECT_MAX, DialError, Stream, dial};
use switchyard_api::tls::Tls;
use switchyard_api::{Outcome, Printable, Secret};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout_at};

/// Most bytes of an answer with its end; a longer one is none.
const ANSWER_MAX: u64 = 4 << 10;

/// Why there is no connection: no delivery has left yet. `Display` shows no password.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody there, or no TLS.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Lost before we were let in.
    #[error("{0} hung up before it let us in: {1}")]
    Lost(String, #[source] io::Error),
    /// Nothing was said before the attempt's time was up.
    #[error("{0} did not let us in in time")]
    Silent(String),
    /// The password is refused.
    #[error("{0} does not let us in: {1}")]
    Refused(String, String),
}

impl LinkError {
    /// Down, unless a person has to mend something.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            LinkError::Dial(error) => error.outcome(),
            LinkError::Lost(..) | LinkError::Silent(_) => Outcome::Down { why, after: None },
            LinkError::Refused(..) => Outcome::Misconfigured { why, after: None },
        }
    }
}

/// A connection that has let us in.
pub struct Link(BufReader<Box<dyn Stream>>);

impl Link {
    /// Connects and logs in, by the deadline.
    pub async fn open(address: &Address, tls: Option<&Tls>, deadline: Instant) -> Result<Self, LinkError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(CONNECT_MAX);
        let mut link = Link(BufReader::new(dial(address, tls, left).await?));
        let password = address.password.as_ref().map(Secret::expose).unwrap_or_default();
        let hello = async {
            link.write(format!("HELLO {password}\n").as_bytes()).await?;
            link.read().await
        };
        let to = address.to_string();
        match timeout_at(deadline, hello).await {
            Ok(Ok(said)) if said == "WELCOME" => Ok(link),
            Ok(Ok(said)) => Err(LinkError::Refused(to, Printable(&said).to_string())),
            Ok(Err(error)) => Err(LinkError::Lost(to, error)),
            Err(_) => Err(LinkError::Silent(to)),
        }
    }

    /// All of it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// One line without its end.
    pub async fn read(&mut self) -> io::Result<String> {
        let mut line = vec![];
        (&mut self.0).take(ANSWER_MAX).read_until(b'\n', &mut line).await?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| io::Error::other("its answer is no text (UTF-8)")),
            Some(_) if line.len() as u64 + 1 == ANSWER_MAX => Err(io::Error::other(format!("its answer has more than {ANSWER_MAX} bytes"))),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// A till says nothing unasked: there is something to read only once it has gone.
    pub fn is_open(&mut self) -> bool {
        self.0.fill_buf().now_or_never().is_none()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}
