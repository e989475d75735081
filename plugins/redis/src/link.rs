//! The one connection: opened when it is needed, left when it hangs or is lost. Opening sends nothing that counts.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::Outcome;
use switchyard_api::stream::{Address, CONNECT_MAX, DialError, Kept, dial};
use switchyard_api::tls::{Tls, refuses_us};
use tokio::task::JoinHandle;

use crate::answer;
use crate::entry::Server;

/// The longest value of a Redis that was not told otherwise, in bytes (`proto-max-bulk-len`).
const BULK_MAX: usize = 512 << 20;

/// A connection that was let in.
pub struct Link {
    /// Shared by all that send.
    pub connection: MultiplexedConnection,
    /// What entries depend on.
    pub server: Server,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why there is no connection: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// No TCP or TLS.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Connected, and not let in.
    #[error("{to} refuses user or password")]
    Login {
        /// Host and port.
        to: String,
    },
    /// Connected, and it answers something else.
    #[error("{to} cannot be used: {}", answer::plain(.cause))]
    Greeting {
        /// Host and port.
        to: String,
        /// Why.
        cause: RedisError,
    },
    /// Connected, and it says nothing.
    #[error("{to} does not answer")]
    Silent {
        /// Host and port.
        to: String,
    },
}

impl NoLink {
    /// What this means for deliveries.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            NoLink::Dial(wrong) => wrong.outcome(),
            NoLink::Login { .. } => Outcome::Misconfigured { why, after: None },
            // `SELECT` of a database that is not there answers ERR.
            NoLink::Greeting { cause, .. } if matches!(cause.kind(), ErrorKind::Server(_)) && cause.code() == Some("ERR") => {
                Outcome::Misconfigured { why, after: None }
            }
            NoLink::Greeting { cause, .. } if refuses_us(cause) => Outcome::Misconfigured { why, after: None },
            NoLink::Greeting { .. } | NoLink::Silent { .. } => Outcome::Down { why, after: None },
        }
    }
}

/// Opens connections.
pub struct Links {
    address: Address,
    login: RedisConnectionInfo,
    tls: Option<Tls>,
    now: Kept<Link>,
}

impl Links {
    /// None is open yet.
    pub fn new(address: Address, database: i64, tls: Option<Tls>) -> Self {
        let mut login = RedisConnectionInfo::default().set_db(database).set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        if let Some(user) = &address.user {
            login = login.set_username(user);
        }
        if let Some(password) = &address.password {
            login = login.set_password(password.expose());
        }
        Links { address, login, tls, now: Kept::default() }
    }

    /// Host and port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The connection, opened if there is none that lives, for an attempt that may take `timeout`.
    pub async fn get(&self, timeout: Duration) -> Result<Arc<Link>, NoLink> {
        let silent = || NoLink::Silent { to: self.address.to_string() };
        self.now.get(timeout, |link| !link.driver.is_finished(), self.open(), silent).await
    }

    /// Leaves a connection, unless another has taken its place.
    pub async fn forget(&self, link: &Arc<Link>) {
        self.now.forget(link).await;
    }

    /// Lets go of what is open.
    pub async fn close(&self) {
        self.now.take().await;
    }

    async fn open(&self) -> Result<Link, NoLink> {
        let to = || self.address.to_string();
        let stream = dial(&self.address, self.tls.as_ref(), CONNECT_MAX).await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let greeting = async {
            let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
            // From here on its end aborts the driver, also where this is given up half-way.
            let mut link = Link { connection, server: Server { idempotent: false, bulk_max: BULK_MAX }, driver: tokio::spawn(driver) };
            link.server.idempotent = knows_idempotency(&mut link.connection).await?;
            link.server.bulk_max = bulk_max(&mut link.connection).await?;
            Ok::<_, RedisError>(link)
        };
        match greeting.await {
            Ok(link) => Ok(link),
            Err(cause) if cause.kind() == ErrorKind::AuthenticationFailed || cause.code() == Some("NOAUTH") => {
                Err(NoLink::Login { to: to() })
            }
            Err(cause) => Err(NoLink::Greeting { to: to(), cause }),
        }
    }
}

/// Asks for a command that came with idempotency ids. Also tells whether we are let in at all: a server with a password refuses any command.
async fn knows_idempotency(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    let answer = redis::cmd("COMMAND").arg("INFO").arg("XCFGSET").query_async::<Value>(connection).await;
    match answer {
        Ok(Value::Array(commands)) => Ok(commands.iter().any(|command| matches!(command, Value::Array(facts) if !facts.is_empty()))),
        Ok(_) => Ok(false),
        // A user may be allowed to add and not to ask.
        Err(error) if error.code() == Some("NOPERM") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks how long a value may be. Who may not ask gets what Redis takes unless told otherwise.
async fn bulk_max(connection: &mut MultiplexedConnection) -> Result<usize, RedisError> {
    let answer = redis::cmd("CONFIG").arg("GET").arg("proto-max-bulk-len").query_async::<Vec<String>>(connection).await;
    match answer {
        Ok(pair) => Ok(pair.get(1).and_then(|most| most.parse().ok()).unwrap_or(BULK_MAX)),
        Err(error) if error.code().is_some() => Ok(BULK_MAX),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({:?})", self.address)
    }
}
