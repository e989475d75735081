//! How a session is opened. What is lost stays lost; the next delivery opens another.

use futures_util::{SinkExt, StreamExt};
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{Codec, ConnAck, Connect, ConnectProperties, ConnectReturnCode, Login as Credentials, Packet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::Outcome;
use switchyard_api::stream::{Address, CONNECT_MAX, DialError, Kept, dial};
use switchyard_api::tls::{Tls, refuses_us};

use crate::session::{Session, Wire};

/// Seconds without a packet after which the broker may call us gone.
const KEEP_ALIVE: u16 = 60;
/// The largest packet we read: answers are small.
const READ_MAX: u32 = 64 * 1024;
/// The largest packet that the protocol can write, bytes.
const PACKET_MAX: usize = 268_435_455;
/// Messages under way where the broker names no maximum.
const UNDER_WAY_MAX: u16 = 1_000;

/// Who we say we are, besides user and password.
#[derive(Debug)]
pub struct Login {
    /// Empty: the broker gives one.
    pub client_id: String,
}

/// Why there is no session: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// No TCP or TLS.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Connected, and not let in.
    #[error("{to} refuses the connection: {code:?}")]
    Refused {
        /// Host and port.
        to: String,
        /// Why.
        code: ConnectReturnCode,
    },
    /// Connected, and it answers something else.
    #[error("{to} does not speak MQTT 5: {why}")]
    Greeting {
        /// Host and port.
        to: String,
        /// What it did.
        why: String,
    },
    /// Connected, and TLS does not take us for who we are.
    #[error("{to} refuses our certificate, or wants one: {why}")]
    Certificate {
        /// Host and port.
        to: String,
        /// Its words.
        why: String,
    },
    /// It takes only what need not arrive.
    #[error("{to} takes no QoS 1")]
    NoQos {
        /// Host and port.
        to: String,
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
        use ConnectReturnCode as Code;
        let why = self.to_string();
        match self {
            NoLink::Dial(wrong) => wrong.outcome(),
            NoLink::Refused { code, .. } => match code {
                Code::BadUserNamePassword
                | Code::NotAuthorized
                | Code::Banned
                | Code::BadAuthenticationMethod
                | Code::BadClientId
                | Code::ClientIdentifierNotValid
                | Code::RefusedProtocolVersion
                | Code::UnsupportedProtocolVersion
                | Code::UseAnotherServer
                | Code::ServerMoved => Outcome::Misconfigured { why, after: None },
                _ => Outcome::Down { why, after: None },
            },
            NoLink::NoQos { .. } | NoLink::Certificate { .. } => Outcome::Misconfigured { why, after: None },
            NoLink::Greeting { .. } | NoLink::Silent { .. } => Outcome::Down { why, after: None },
        }
    }
}

/// Opens sessions.
pub struct Links {
    address: Address,
    tls: Option<Tls>,
    login: Login,
    now: Kept<Session>,
}

impl Links {
    /// None is open yet.
    pub fn new(address: Address, tls: Option<Tls>, login: Login) -> Self {
        Links { address, tls, login, now: Kept::default() }
    }

    /// Host and port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The session, opened if there is none that lives, for an attempt that may take `timeout`.
    pub async fn get(&self, timeout: Duration) -> Result<Arc<Session>, NoLink> {
        let silent = || NoLink::Silent { to: self.address.to_string() };
        self.now.get(timeout, Session::is_alive, self.open(), silent).await
    }

    /// Leaves a session, unless another has taken its place.
    pub async fn forget(&self, session: &Arc<Session>) {
        self.now.forget(session).await;
    }

    /// Takes leave of what is open.
    pub async fn close(&self) {
        if let Some(session) = self.now.take().await {
            // It is going anyway: a broker that takes nothing is left alone.
            let _ = tokio::time::timeout(CONNECT_MAX, session.leave()).await;
        }
    }

    async fn open(&self) -> Result<Session, NoLink> {
        let stream = dial(&self.address, self.tls.as_ref(), CONNECT_MAX).await?;
        let codec = Codec { max_incoming_size: Some(READ_MAX), max_outgoing_size: None };
        let mut wire = Wire::new(stream, codec);
        let to = || self.address.to_string();
        let ack = self.greet(&mut wire).await?;
        if ack.code != ConnectReturnCode::Success {
            return Err(NoLink::Refused { to: to(), code: ack.code });
        }
        let told = ack.properties.as_ref();
        if told.and_then(|told| told.max_qos) == Some(0) {
            return Err(NoLink::NoQos { to: to() });
        }
        let packet_max = told.and_then(|told| told.max_packet_size).map_or(PACKET_MAX, |most| PACKET_MAX.min(most as usize));
        let under_way = told.and_then(|told| told.receive_max).map_or(UNDER_WAY_MAX, |most| most.clamp(1, UNDER_WAY_MAX));
        let keep_alive = told.and_then(|told| told.server_keep_alive).unwrap_or(KEEP_ALIVE);
        // Twice as often as it must be, and never without a pause.
        let quiet = Duration::from_secs(u64::from(keep_alive)).max(Duration::from_secs(2)) / 2;
        Ok(Session::start(wire, packet_max, under_way, quiet))
    }

    async fn greet(&self, wire: &mut Wire) -> Result<ConnAck, NoLink> {
        let wrong = |why: String| NoLink::Greeting { to: self.address.to_string(), why };
        let failed = |error: Error| {
            let why = error.to_string();
            if refuses_us(&error) { NoLink::Certificate { to: self.address.to_string(), why } } else { wrong(why) }
        };
        let connect = Connect {
            keep_alive: KEEP_ALIVE,
            client_id: self.login.client_id.clone(),
            clean_start: true,
            properties: Some(ConnectProperties { max_packet_size: Some(READ_MAX), ..ConnectProperties::new() }),
        };
        let (user, password) = (self.address.user.clone(), self.address.password.as_ref());
        let credentials = (user.is_some() || password.is_some())
            .then(|| Credentials::new(user.unwrap_or_default(), password.map(|password| password.expose().to_owned()).unwrap_or_default()));
        wire.send(Packet::Connect(connect, None, credentials)).await.map_err(failed)?;
        match wire.next().await {
            Some(Ok(Packet::ConnAck(ack))) => Ok(ack),
            Some(Ok(_)) => Err(wrong("its first packet is no CONNACK".to_owned())),
            Some(Err(error)) => Err(failed(error)),
            None => Err(wrong("it closed the connection".to_owned())),
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({:?})", self.address)
    }
}
