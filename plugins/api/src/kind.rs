//! How a kind of destination is declared, and the shape in which the host sees every kind alike.

use crate::escape::Escape;
use crate::output::Output;
use crate::problem::Problem;
use crate::tree::{self, Node};
use crate::units::Rate;
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
    /// Names with a template each, such as `headers`.
    Map,
}

/// How far a value of an event may reach in a rendered field (L8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confine {
    /// The field is content: escaped, else free.
    Content,
    /// The field is structure (a path, a topic): the template needs a literal start, and values are reduced to safe names.
    Name,
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
    /// Most characters of the rendered text; what is over is cut at a word with a count.
    pub cap: Option<usize>,
}

/// What a kind suggests for the delivery's own keys where the file says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// The destination's published rate.
    pub rate: Option<Rate>,
    /// How many at once.
    pub concurrency: Option<u32>,
}

/// Why an output could not be made. `Display` is one line without secrets.
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
    /// How long one attempt may take. The output says by then what it knows; the host drops the attempt a little later.
    pub timeout: Duration,
    /// HTTP answers that are worth another try whatever the table says (`retry: { on: [..] }`).
    pub retry_on: Vec<u16>,
    /// HTTP answers that kill the delivery whatever the table says (`retry: { reject: [..] }`).
    pub reject_on: Vec<u16>,
}

impl Kit {
    /// A kit with 10 s an attempt and nothing said about answers.
    pub fn new(output: impl Into<Arc<str>>, base: impl Into<PathBuf>, user_agent: impl Into<Arc<str>>, wall: Wall) -> Self {
        Kit {
            output: output.into(),
            base: base.into(),
            user_agent: user_agent.into(),
            wall,
            timeout: Duration::from_secs(10),
            retry_on: vec![],
            reject_on: vec![],
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
    /// The message fields it has.
    fn fields(&self) -> Vec<Field>;
    /// What it suggests for the delivery's own keys.
    fn defaults(&self) -> Defaults {
        Defaults::default()
    }
    /// Finds what reading could not: touches nothing, no network, no files.
    fn validate(&self, config: &Self::Config) -> Vec<Problem>;
    /// Makes the output ready. Opens what it needs; a destination that is down is no error here but an outcome later.
    fn connect(&self, config: Self::Config, kit: &Kit) -> impl Future<Output = Result<Self::Output, ConnectError>> + Send;
}

/// A [`Kind`] as the host sees it.
pub trait AnyKind: Send + Sync {
    /// The word after `type:`.
    fn name(&self) -> &str;
    /// What it is, in one line.
    fn docs(&self) -> &str;
    /// The message fields it has.
    fn fields(&self) -> Vec<Field>;
    /// What it suggests for the delivery's own keys.
    fn defaults(&self) -> Defaults;
    /// Reads and validates the settings; problems are pushed, `None` if it can't run.
    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Arc<dyn AnyConfig>>;
}

/// Settings that were read, ready to connect.
pub trait AnyConfig: Send + Sync {
    /// As [`Kind::connect`].
    fn connect<'a>(&'a self, kit: &'a Kit) -> BoxFuture<'a, Result<Arc<dyn Output>, ConnectError>>;
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
    fn fields(&self) -> Vec<Field> {
        self.0.fields()
    }
    fn defaults(&self) -> Defaults {
        self.0.defaults()
    }
    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Arc<dyn AnyConfig>> {
        let config: K::Config = tree::read(settings, problems)?;
        let found = self.0.validate(&config);
        let good = found.iter().all(|p| p.severity != crate::problem::Severity::Error);
        problems.extend(found);
        good.then(|| Arc::new(Read(Arc::clone(&self.0), config)) as Arc<dyn AnyConfig>)
    }
}

impl<K: Kind> AnyConfig for Read<K> {
    fn connect<'a>(&'a self, kit: &'a Kit) -> BoxFuture<'a, Result<Arc<dyn Output>, ConnectError>> {
        Box::pin(async move {
            let output = self.0.connect(self.1.clone(), kit).await?;
            Ok(Arc::new(output) as Arc<dyn Output>)
        })
    }
}
