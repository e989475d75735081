//! What the suites of all stores share: a bucket for one test behind a line, and outputs to it.
#![allow(clippy::unwrap_used)] // tests may

pub mod cases;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use switchyard_api::conformance::{FarSide, Refused, parcel};
use switchyard_api::{At, Kit, Message, Output, Parcel, Rendered, Span, Wall};
use switchyard_objects::{Compress, Objects, ObjectsOutput};
use switchyard_services::line::Line;

/// What an output is given that a test changes.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The port of the store, or of a line to it.
    pub port: u16,
    pub bucket: String,
    pub objects: Objects,
    pub wrong_key: bool,
}

/// A store that speaks one of the three protocols.
pub trait Cloud: Sized + Send + Sync + 'static {
    /// What must not be shown of the key that it does not know.
    const WRONG_KEY: &str;

    /// The one that this binary's tests share, or one of its own for a test that stops it.
    fn shared() -> Arc<Self>;
    fn own() -> Self;
    fn port(&self) -> u16;
    fn make(&self, bucket: &str);
    /// Name and bytes of each object, as the vendor's own client reads them where there is one.
    fn read(&self, bucket: &str) -> Vec<(String, Vec<u8>)>;
    fn output(&self, given: &Given) -> impl Future<Output = ObjectsOutput> + Send;
    /// What stands in settings and output, and the secrets that must not be in it.
    fn shown(&self, given: &Given) -> impl Future<Output = (String, Vec<String>)> + Send;
    fn down(&mut self);
    fn up(&mut self);
}

/// A bucket of one test.
pub struct Far<C> {
    pub cloud: Arc<C>,
    pub line: Line,
    pub bucket: String,
}

/// A line on which every request counts.
pub async fn line_to(port: u16) -> Line {
    Line::to(port, |_| true).await.unwrap()
}

/// A name that no other test of the binary has.
pub fn bucket() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl<C: Cloud> Far<C> {
    pub async fn new() -> Self {
        let cloud = C::shared();
        let (line, bucket) = (line_to(cloud.port()).await, bucket());
        cloud.make(&bucket);
        Far { cloud, line, bucket }
    }
    pub fn given(&self) -> Given {
        Given { port: self.line.port(), bucket: self.bucket.clone(), ..Given::default() }
    }
    pub async fn connect(&self) -> ObjectsOutput {
        self.cloud.output(&self.given()).await
    }
    /// The objects' names, and their lines.
    pub fn objects(&self) -> Vec<(String, Vec<serde_json::Value>)> {
        self.cloud.read(&self.bucket).into_iter().map(|(name, bytes)| (name, lines(&bytes))).collect()
    }
    /// The delivery of each line of each object.
    pub fn deliveries(&self) -> Vec<String> {
        let lines = self.objects().into_iter().flat_map(|(_, lines)| lines);
        let mut all: Vec<String> = lines.map(|line| line["delivery"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    }
}

pub fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    } else {
        text.push_str(std::str::from_utf8(bytes).unwrap());
    }
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}

/// The real time: a store refuses signatures of another.
#[allow(clippy::disallowed_methods)]
pub fn kit() -> Kit {
    let millis = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    Kit::new("lake", "/", "switchyard/0", Wall::new(millis))
}

pub fn message(prefix: &str) -> Message {
    Message { fields: [("prefix".to_owned(), Rendered::Text(prefix.to_owned()))].into(), ..Message::default() }
}

pub fn parcels(numbers: impl IntoIterator<Item = u64>) -> Vec<Parcel> {
    numbers.into_iter().map(|number| parcel(number, &message("shop/topic=ORDER_PAID"))).collect()
}

pub fn plain() -> Objects {
    Objects { compress: Compress::None, ..Objects::default() }
}

impl<C: Cloud> FarSide for Far<C> {
    async fn start() -> Self {
        Far::new().await
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(self.connect().await)
    }
    fn message(&self) -> Message {
        message("shop/topic=ORDER_PAID")
    }
    async fn arrived(&self) -> Vec<String> {
        self.deliveries()
    }
    async fn leave(&mut self) -> bool {
        self.line.cut().await;
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = self.cloud.output(&Given { wrong_key: true, ..self.given() }).await;
        Some(Refused { output: Arc::new(output), secret: C::WRONG_KEY.into() })
    }
    fn in_order(&self) -> bool {
        false // objects are found by their names, which their content decides
    }
    fn hang(&mut self) -> bool {
        self.line.hold_answers();
        true
    }
    fn answer(&mut self) {
        self.line.pass();
    }
    fn poison(&self) -> Option<Message> {
        Some(message("shop/../../elsewhere"))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        self.cloud.shown(&self.given()).await
    }
}
