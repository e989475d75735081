//! The one connection and its channels. What is lost stays lost (the library recovers only where it is asked to); the next delivery
//! opens another. Each call of `deliver` has a channel of its own, because returned messages and refusals belong to a channel.

use futures_util::AsyncReadExt;
use lapin::options::ConfirmSelectOptions;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, runtime};
use rustls::ClientConfig;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::stream::{Address, CONNECT_MAX, Kept, REFUSAL_MAX, addresses, closed_at_once};
use switchyard_api::tls::{Tls, TlsError, is_refusal};
use switchyard_api::{Kit, Outcome};

use crate::answer;

/// Seconds after which a silent broker counts as gone.
const HEARTBEAT: u16 = 20;
/// Channels kept for the next call; more are closed.
const IDLE_MAX: usize = 32;
/// So long a channel that is used again may take to say that it lives; then the message goes out all the same.
const ASK_MAX: Duration = Duration::from_millis(250);
/// Who logs in where the URL names nobody: the broker's own default, which it lets in from its own machine alone.
const GUEST: &str = "guest";

/// A connection that was let in.
pub struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
}

impl Link {
    /// Whether the broker has said that it takes nothing for now.
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// A channel that confirms. One that is used again is asked whether it lives: the library reads on a thread of its own, which may
    /// not have noticed yet that the broker has left, and that is down and not unknown.
    pub async fn channel(&self) -> lapin::Result<Channel> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(channel) = kept.filter(|channel| channel.status().connected()) else { return self.new_channel().await };
        if let Ok(answer) = tokio::time::timeout(ASK_MAX, channel.confirm_select(ConfirmSelectOptions::default())).await {
            answer?;
        }
        Ok(channel)
    }

    /// A channel that was not there before: the broker has answered just now.
    pub async fn new_channel(&self) -> lapin::Result<Channel> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Keeps a channel on which nothing is under way.
    pub fn give_back(&self, channel: Channel) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(channel);
        }
    }
}

/// Why there is no connection: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// Not reached, or not let in.
    #[error("no connection to {to}: {}", answer::plain(.cause))]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        cause: lapin::Error,
    },
    /// Our certificates cannot be used.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// It says nothing.
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
            NoLink::Connect { cause, .. } => match cause.kind() {
                ErrorKind::IOError(cause) if is_refusal(cause) => Outcome::Misconfigured { why, after: None },
                ErrorKind::ProtocolError(said) if answer::is_set_up_wrong(said.get_id()) => Outcome::Misconfigured { why, after: None },
                ErrorKind::InvalidProtocolVersion(_) => Outcome::Misconfigured { why, after: None },
                _ => Outcome::Down { why, after: None },
            },
            NoLink::Files(_) => Outcome::Misconfigured { why, after: None },
            NoLink::Silent { .. } => Outcome::Down { why, after: None },
        }
    }
}

/// Opens connections.
pub struct Links {
    address: Address,
    tls: Option<Tls>,
    name: String,
    now: Kept<Link>,
}

impl Links {
    /// None is open yet.
    pub fn new(address: Address, tls: Option<Tls>, kit: &Kit) -> Self {
        Links { address, tls, name: format!("{} {}", kit.user_agent, kit.output), now: Kept::default() }
    }

    /// Host and port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The connection, opened if there is none that lives, for an attempt that may take `timeout`.
    pub async fn get(&self, timeout: Duration) -> Result<Arc<Link>, NoLink> {
        let silent = || NoLink::Silent { to: self.address.to_string() };
        self.now.get(timeout, |link| link.connection.status().connected(), self.reach(), silent).await
    }

    /// Leaves a connection, unless another has taken its place.
    pub async fn forget(&self, link: &Arc<Link>) {
        self.now.forget(link).await;
    }

    /// Lets go of what is open.
    pub async fn close(&self) {
        if let Some(link) = self.now.take().await {
            // It is going anyway: a broker that does not answer is left alone.
            let _ = tokio::time::timeout(CONNECT_MAX, link.connection.close(200, "done".into())).await;
        }
    }

    async fn reach(&self) -> Result<Link, NoLink> {
        let to = || self.address.to_string();
        let config = match &self.tls {
            Some(tls) => Some(tls.config().await?),
            None => None,
        };
        let connection = self.open(config).await.map_err(|cause| NoLink::Connect { to: to(), cause })?;
        Ok(Link { connection, idle: Mutex::new(vec![]) })
    }

    async fn open(&self, tls: Option<Arc<ClientConfig>>) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        // The first failure is ours to tell.
        let properties = properties.configure_backoff(|backoff| backoff.with_max_times(0));
        let connect = async move |uri: AMQPUri, runtime| {
            let host = uri.authority.host.as_str();
            let addresses = addresses(host, uri.authority.port).await.map_err(io::Error::other)?;
            let plain = AsyncTcpStream::connect(&runtime, addresses).await?;
            let Some(config) = &tls else { return Ok(plain) };
            let mut stream = plain.into_rustls(&RustlsConnector::from(Arc::clone(config)), host).await?;
            // The broker says nothing before we do, unless it refuses who we are.
            match tokio::time::timeout(REFUSAL_MAX, stream.read(&mut [0])).await {
                Ok(Ok(0)) => Err(closed_at_once().into()),
                Ok(Err(refusal)) => Err(refusal.into()),
                _ => Ok(stream),
            }
        };
        Connection::connector(self.uri(), runtime::default_runtime()?, connect, properties).await
    }

    fn uri(&self) -> AMQPUri {
        let password = self.address.password.as_ref().map(|password| password.expose().to_owned());
        AMQPUri {
            scheme: if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.address.user.clone().unwrap_or_else(|| GUEST.to_owned()),
                    password: password.unwrap_or_else(|| GUEST.to_owned()),
                },
                host: self.address.host.clone(),
                port: self.address.port,
            },
            // As the format of these URLs has it: without a `/` the default host, and behind one its exact name.
            vhost: self.address.path.clone().unwrap_or_else(|| "/".to_owned()),
            query: AMQPQueryString { heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() },
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({:?})", self.address)
    }
}
