//! The one connection. The library would reconnect by itself and then send what it still held, hours after we called it unknown:
//! here a connection that is lost stays lost, and the next delivery opens another.

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Auth, AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use rustls::ClientConfig;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchyard_api::stream::{Address, CONNECT_MAX, Kept};
use switchyard_api::tls::{Tls, TlsError, is_refusal, plain};
use switchyard_api::{Kit, Outcome, Printable, Secret};
use tokio::sync::watch;

/// Acknowledgements that may be awaited on a connection; more wait before they are sent.
const ACKS_MAX: usize = 20_000;
/// How often a silent server is asked whether it lives.
const PING: Duration = Duration::from_secs(20);
/// Refused subjects that are remembered for a connection; further ones are heard as silence.
const DENIED_MAX: usize = 1_000;
/// The server's words for a subject that may not be published to. The protocol has no numbers:
/// <https://docs.nats.io/reference/reference-protocols/nats-protocol#okerr>.
const DENIED: &str = "Permissions Violation for Publish to ";

/// A connection that was let in.
pub struct Link {
    /// Publishes.
    pub jetstream: Context,
    /// Subjects that the server refused.
    pub denied: watch::Receiver<Denied>,
    /// What it publishes on.
    pub client: Client,
}

/// Subjects that the server refused on one connection.
#[derive(Debug, Default)]
pub struct Denied(BTreeSet<String>);

impl Denied {
    /// Whether this one was.
    pub fn contains(&self, subject: &str) -> bool {
        self.0.contains(subject)
    }
}

/// Why there is no connection: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// Not reached, or not let in.
    #[error("no connection to {to}: {}", Printable(&said(.cause)))]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        cause: ConnectError,
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
            NoLink::Connect { cause, .. } if is_set_up_wrong(cause) => Outcome::Misconfigured { why, after: None },
            NoLink::Files(_) => Outcome::Misconfigured { why, after: None },
            _ => Outcome::Down { why, after: None },
        }
    }
}

/// Why, for a person.
fn said(cause: &ConnectError) -> String {
    use std::error::Error;
    match cause.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        // As the library calls a line that is none of the protocol's.
        Some(error) if error.kind() == io::ErrorKind::InvalidInput => {
            "what answers there does not speak the protocol of NATS; is it the right port?".to_owned()
        }
        Some(error) => plain(error),
        None => cause.to_string(),
    }
}

fn is_set_up_wrong(cause: &ConnectError) -> bool {
    use std::error::Error;
    match cause.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication | ConnectErrorKind::Tls => true,
        ConnectErrorKind::Io => cause.source().and_then(|source| source.downcast_ref()).is_some_and(is_refusal),
        _ => false,
    }
}

/// Opens connections.
pub struct Links {
    address: Address,
    tls: Option<Tls>,
    name: String,
    timeout: Duration,
    now: Kept<Link>,
}

impl Links {
    /// None is open yet.
    pub fn new(address: Address, tls: Option<Tls>, kit: &Kit) -> Self {
        Links { address, tls, name: kit.user_agent.to_string(), timeout: kit.timeout, now: Kept::default() }
    }

    /// Host and port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The connection, opened if there is none that lives, for an attempt that may take `timeout`.
    pub async fn get(&self, timeout: Duration) -> Result<Arc<Link>, NoLink> {
        let silent = || NoLink::Silent { to: self.address.to_string() };
        self.now.get(timeout, |link| link.client.connection_state() == State::Connected, self.reach(), silent).await
    }

    /// Leaves a connection, unless another has taken its place.
    pub async fn forget(&self, link: &Arc<Link>) {
        self.now.forget(link).await;
    }

    /// Lets go of what is open.
    pub async fn close(&self) {
        self.now.take().await;
    }

    async fn reach(&self) -> Result<Link, NoLink> {
        let to = || self.address.to_string();
        let config = match &self.tls {
            Some(tls) => Some(tls.config().await?),
            None => None,
        };
        Box::pin(self.open(config)).await.map_err(|cause| NoLink::Connect { to: to(), cause })
    }

    async fn open(&self, tls: Option<Arc<ClientConfig>>) -> Result<Link, ConnectError> {
        let (deny, denied) = watch::channel(Denied::default());
        let mut options = ConnectOptions::with_auth_callback(once(self.address.user.clone(), self.address.password.clone()))
            // One more try is what the library calls "none": that one is refused by `once`.
            .max_reconnects(1)
            .reconnect_delay_callback(|_| Duration::ZERO)
            .ignore_discovered_servers()
            .connection_timeout(CONNECT_MAX)
            .request_timeout(Some(self.timeout))
            .ping_interval(PING)
            .name(&self.name)
            .event_callback(move |event| {
                note(&deny, &event);
                std::future::ready(())
            });
        if let Some(config) = tls {
            options = options.require_tls(true).tls_client_config(config.as_ref().clone());
        }
        let client = options.connect(format!("nats://{}", self.address)).await?;
        let jetstream = ContextBuilder::new().timeout(self.timeout).ack_timeout(self.timeout).max_ack_inflight(ACKS_MAX);
        Ok(Link { jetstream: jetstream.build(client.clone()), denied, client })
    }
}

/// Says who we are, the first time. Every later time the library asks because it reconnects; then there is no answer, and it gives up.
fn once(user: Option<String>, password: Option<Secret>) -> impl Fn(Vec<u8>) -> std::future::Ready<Result<Auth, AuthError>> + Send + Sync {
    let asked = AtomicBool::new(false);
    move |_nonce| {
        if asked.swap(true, Ordering::Relaxed) {
            return std::future::ready(Err(AuthError::new("a lost connection stays lost")));
        }
        let mut auth = Auth::new();
        match &password {
            Some(password) => {
                auth.username = Some(user.clone().unwrap_or_default());
                auth.password = Some(password.expose().to_owned());
            }
            None => auth.token.clone_from(&user),
        }
        std::future::ready(Ok(auth))
    }
}

fn note(deny: &watch::Sender<Denied>, event: &Event) {
    let Event::ServerError(ServerError::Other(text)) = event else { return };
    let Some(subject) = text.strip_prefix(DENIED) else { return };
    let subject = subject.trim_matches('"').to_owned();
    deny.send_if_modified(|denied| denied.0.len() < DENIED_MAX && denied.0.insert(subject));
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({:?})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Wall;
    use switchyard_api::stream::Schemes;
    use switchyard_services::gate::Gate;
    use switchyard_services::nats::{Nats, PASSWORD, USER};

    #[tokio::test]
    async fn a_lost_connection_stays_lost_though_the_server_is_there() {
        let server = Nats::start(false, true).unwrap();
        let gate = Gate::to(server.port).unwrap();
        let url = format!("nats://{USER}:{PASSWORD}@127.0.0.1:{}", gate.port);
        let address = Address::parse(&url, Schemes { plain: ("nats", 4222), tls: ("tls", 4222) }).unwrap();
        let links = Links::new(address, None, &Kit::new("bus", "/", "switchyard/0", Wall::new(|| 0)));
        let link = links.get(CONNECT_MAX).await.unwrap();
        link.client.flush().await.unwrap();
        gate.cut();
        let given_up = async {
            while link.client.flush().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), given_up).await.unwrap();
        links.get(CONNECT_MAX).await.unwrap().client.flush().await.unwrap();
    }
}
