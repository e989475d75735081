//! How a kind of destination is declared, and the shape in which the host sees every kind alike.

use crate::egress::Egress;
use crate::escape::Escape;
use crate::fit::{Cap, Total};
use crate::output::{Output, Parcel};
use crate::preview::Preview;
use crate::problem::Problem;
use crate::shape;
use crate::tls::{NamedFiles, SystemRoots};
use crate::tree::{self, At, Key, Node};
use crate::units::Rate;
use crate::vault::{NoVault, Vault};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a field of a message looks like in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One template.
    Text,
    /// One template, which is nothing for an event that lacks a value of it: a key by which a broker chooses a partition.
    OptionalText,
    /// Names with a template each, such as `headers`.
    Map,
}

/// How far a value of an event may reach in a rendered field (L8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confine {
    /// The field is content: escaped, else free.
    Content,
    /// The field is structure (a path, a topic, a key): the template needs a literal start, and a value is a plain name (letters,
    /// digits, `-`, `_`, inner dots) or fails the delivery; with [`Escape::Path`] it is one percent-encoded segment. Never reduced:
    /// two values would become one.
    Name,
    /// The field is a program (a statement): it is sent as the file has it, and holds no template at all.
    Constant,
}

/// A message field: a template that an output sets and a route may override.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its key in the file.
    pub name: Cow<'static, str>,
    /// What it is, for people.
    pub docs: Cow<'static, str>,
    /// One template or several.
    pub shape: Shape,
    /// How values in it are escaped.
    pub escape: Escape,
    /// How far values may reach.
    pub confine: Confine,
    /// Whether the output or the route must set it.
    pub required: bool,
    /// The template used where nobody sets it.
    pub default: Option<Cow<'static, str>>,
    /// The far side's limit for the rendered text, and what happens to what is over it. A name (`Confine::Name`) is never cut.
    pub cap: Option<Cap>,
}

/// What a kind suggests for the delivery's own keys where the file says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// The destination's published rate.
    pub rate: Option<Rate>,
    /// How many may go at once after a pause.
    pub burst: Option<u32>,
    /// How many at once.
    pub concurrency: Option<u32>,
    /// How many attempts in all.
    pub attempts: Option<u32>,
    /// Whether a delivery that was sent and never answered waits for a person: the destination does not recognise a repeat.
    pub hold_unknown: bool,
    /// Whether the far side answers with HTTP statuses, so that `retry: { on, reject }` can name them.
    pub statuses: bool,
}

/// Why an output could not be made. `Display` is one line without secrets and without the name of the output, which the host says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// Why a delivery would not work now. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(pub String);

/// What the host lends to outputs.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The output's name in the file.
    pub output: Arc<str>,
    /// The folder that relative paths in the file start from.
    pub base: PathBuf,
    /// The name we give ourselves, `switchyard/0.1.0`.
    pub user_agent: Arc<str>,
    /// The wall clock, for signatures and dates.
    pub wall: Wall,
    /// Whom the output may reach, and how names are resolved.
    pub egress: Egress,
    /// Whom the system believes, shared by the outputs that are connected together.
    pub roots: SystemRoots,
    /// How long one attempt may take. The output says by then what it knows; the host drops the attempt a little later.
    pub timeout: Duration,
    /// HTTP answers that are worth another try whatever the table says (`retry: { on: [..] }`).
    pub retry_on: Vec<u16>,
    /// HTTP answers that kill the delivery whatever the table says (`retry: { reject: [..] }`).
    pub reject_on: Vec<u16>,
    /// Where credentials are kept that change while in use, under the output's name.
    pub vault: Arc<dyn Vault>,
}

/// Credentials of an output that change while in use: what is in the vault is renewed there, and a person may hand over others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Where a person goes to be given a new one, where the file says so. Holds no secret.
    pub authorize: Option<String>,
}

impl Kit {
    /// A kit with 10 s an attempt, nothing private for values of events to reach, and nothing said about answers.
    pub fn new(output: impl Into<Arc<str>>, base: impl Into<PathBuf>, user_agent: impl Into<Arc<str>>, wall: Wall) -> Self {
        Kit {
            output: output.into(),
            base: base.into(),
            user_agent: user_agent.into(),
            wall,
            egress: Egress::default(),
            roots: SystemRoots::default(),
            timeout: Duration::from_secs(10),
            retry_on: vec![],
            reject_on: vec![],
            vault: Arc::new(NoVault),
        }
    }
}

/// The wall clock as the host has it: milliseconds since 1970. May jump.
#[derive(Clone)]
pub struct Wall(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Wall {
    /// Takes the time from there.
    pub fn new(millis: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Wall(Arc::new(millis))
    }

    /// Milliseconds since 1970.
    pub fn millis(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

/// The message fields of one target as the file has them, before they are templates.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The output's own.
    pub output: &'a [(Key, Node)],
    /// The route's, which stand over them.
    pub route: &'a [(Key, Node)],
}

impl<'a> Written<'a> {
    /// A text that is the same for every event, as it will be sent: the route's, else the output's; `None` where there is none, or a template.
    pub fn constant(&self, field: &str) -> Option<At<&'a str>> {
        let of = |fields: &'a [(Key, Node)]| fields.iter().find(|(key, _)| key.name == field).map(|(_, node)| node);
        let node = of(self.route).or_else(|| of(self.output))?;
        let value = node.as_text().filter(|text| !text.contains(['{', '}']))?;
        Some(At { span: node.span, value })
    }
}

/// A kind of destination, as its crate declares it.
pub trait Kind: Send + Sync + 'static {
    /// Settings: documented fields read from the output's section of the file.
    type Config: DeserializeOwned + Clone + Send + Sync + 'static;
    /// The connected destination.
    type Output: Output + 'static;

    /// The word after `type:`.
    fn name(&self) -> &str;
    /// What it is, in one line.
    fn docs(&self) -> &str;
    /// An output of this kind as one writes it, on one line; `check` takes it as it is, and secrets in it are `${NAME}`.
    fn example(&self) -> &str;
    /// The message fields it has.
    fn fields(&self) -> Vec<Field>;
    /// The limit that several of them share.
    fn total(&self) -> Option<Total> {
        None
    }
    /// What it suggests for the delivery's own keys of an output with these settings.
    fn defaults(&self, _config: &Self::Config) -> Defaults {
        Defaults::default()
    }
    /// Reads the settings; problems are pushed, `None` if they cannot be used. For a kind whose keys are data.
    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Self::Config> {
        tree::read(settings, problems)
    }
    /// What its settings may be, for editors. For a kind whose keys are data.
    fn shape(&self) -> shape::Shape {
        shape::of::<Self::Config>()
    }
    /// The settings that hold a secret under a name of the destination's own: no report quotes their values. For a kind whose keys are data.
    fn secrets(&self) -> Vec<String> {
        vec![]
    }
    /// Finds what reading could not: touches nothing, no network, no files.
    fn validate(&self, config: &Self::Config) -> Vec<Problem>;
    /// The PEM files that settings name, for the host to read before the output is made. For a kind whose `ca` or `tls` is something else.
    fn files(&self, settings: &Node) -> NamedFiles {
        NamedFiles::of(settings)
    }
    /// Finds where the fields of one target's message do not fit each other. Touches nothing. A field by itself was judged already.
    fn judge(&self, _config: &Self::Config, _message: Written<'_>) -> Vec<Problem> {
        vec![]
    }
    /// Its credentials that change while in use, if it has such: the host then sees to a vault.
    fn login(&self, _config: &Self::Config) -> Option<Login> {
        None
    }
    /// What the far side would get of a delivery; `None`: the message's fields are all there is to see. Connects to nothing, asks for no
    /// credentials that change.
    ///
    /// # Errors
    /// Why it would not be sent, in one line without secrets.
    fn preview(&self, _config: &Self::Config, _kit: &Kit, _parcel: &Parcel) -> Option<Result<Preview, String>> {
        None
    }
    /// Makes the output ready. Opens what it needs; a destination that is down is no error here but an outcome later.
    fn connect(&self, config: Self::Config, kit: &Kit) -> impl Future<Output = Result<Self::Output, ConnectError>> + Send;
}

/// A [`Kind`] as the host sees it.
pub trait AnyKind: Send + Sync {
    /// The word after `type:`.
    fn name(&self) -> &str;
    /// What it is, in one line.
    fn docs(&self) -> &str;
    /// As [`Kind::example`].
    fn example(&self) -> &str;
    /// The message fields it has.
    fn fields(&self) -> Vec<Field>;
    /// The limit that several of them share.
    fn total(&self) -> Option<Total>;
    /// As [`Kind::shape`].
    fn shape(&self) -> shape::Shape;
    /// As [`Kind::secrets`].
    fn secrets(&self) -> Vec<String>;
    /// As [`Kind::files`].
    fn files(&self, settings: &Node) -> NamedFiles;
    /// Reads and validates the settings; problems are pushed, `None` if it can't run.
    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Arc<dyn AnyConfig>>;
}

/// Settings that were read, ready to connect.
pub trait AnyConfig: Send + Sync {
    /// As [`Kind::defaults`].
    fn defaults(&self) -> Defaults;
    /// As [`Kind::judge`].
    fn judge(&self, message: Written<'_>) -> Vec<Problem>;
    /// As [`Kind::connect`].
    fn connect<'a>(&'a self, kit: &'a Kit) -> BoxFuture<'a, Result<Arc<dyn Output>, ConnectError>>;
    /// As [`Kind::login`].
    fn login(&self) -> Option<Login>;
    /// As [`Kind::preview`].
    fn preview(&self, kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>>;
}

/// Wraps a kind for the host.
pub fn any<K: Kind>(kind: K) -> Arc<dyn AnyKind> {
    Arc::new(Wrapped(Arc::new(kind)))
}

struct Wrapped<K>(Arc<K>);
struct Read<K: Kind>(Arc<K>, K::Config);

impl<K: Kind> AnyKind for Wrapped<K> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn docs(&self) -> &str {
        self.0.docs()
    }
    fn example(&self) -> &str {
        self.0.example()
    }
    fn fields(&self) -> Vec<Field> {
        self.0.fields()
    }
    fn total(&self) -> Option<Total> {
        self.0.total()
    }
    fn shape(&self) -> shape::Shape {
        self.0.shape()
    }
    fn secrets(&self) -> Vec<String> {
        self.0.secrets()
    }
    fn files(&self, settings: &Node) -> NamedFiles {
        self.0.files(settings)
    }
    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Arc<dyn AnyConfig>> {
        let config = self.0.read(settings, problems)?;
        let found = self.0.validate(&config);
        let good = found.iter().all(|p| p.severity != crate::problem::Severity::Error);
        problems.extend(found);
        good.then(|| Arc::new(Read(Arc::clone(&self.0), config)) as Arc<dyn AnyConfig>)
    }
}

impl fmt::Debug for dyn AnyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyConfig")
    }
}

impl<K: Kind> AnyConfig for Read<K> {
    fn defaults(&self) -> Defaults {
        self.0.defaults(&self.1)
    }
    fn judge(&self, message: Written<'_>) -> Vec<Problem> {
        self.0.judge(&self.1, message)
    }
    fn connect<'a>(&'a self, kit: &'a Kit) -> BoxFuture<'a, Result<Arc<dyn Output>, ConnectError>> {
        Box::pin(async move {
            let output = self.0.connect(self.1.clone(), kit).await?;
            Ok(Arc::new(output) as Arc<dyn Output>)
        })
    }
    fn login(&self) -> Option<Login> {
        self.0.login(&self.1)
    }
    fn preview(&self, kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        self.0.preview(&self.1, kit, parcel)
    }
}
