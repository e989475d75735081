//! Lines of a file: one write and one sync a batch, by the system's own calls.

use crate::crew::{Crew, Hand};
use crate::delivery::{Delivery, Sample};
use crate::far_side::{AtOnce, FarSide, text};
use serde_json::{Value as Json, json};
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchyard_api::{AnyKind, Rendered, kind};

/// A folder on the disk.
pub struct Folder(PathBuf);

impl Folder {
    fn file(&self, place: &str) -> PathBuf {
        self.0.join(place)
    }
}

impl FarSide for Folder {
    const NAME: &'static str = "file";
    const COUNT: u64 = 100_000;
    type Bare = Crew<Appender>;

    fn start(scratch: &Path) -> anyhow::Result<Self> {
        Ok(Folder(scratch.to_owned()))
    }
    async fn make(&self, place: &str) -> anyhow::Result<()> {
        Ok(File::create(self.file(place))?.sync_all()?)
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        kind::any(switchyard_file::FileKind)
    }
    fn settings(&self, place: &str) -> Json {
        json!({ "path": self.file(place) })
    }
    fn message(&self, _place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        vec![text("line", &sample.body)]
    }
    async fn bare(&self, place: &str, _at_once: AtOnce) -> anyhow::Result<Crew<Appender>> {
        Ok(Crew::new(vec![Appender(Arc::new(File::options().append(true).open(self.file(place))?))]))
    }
    async fn arrived(&self, place: &str) -> anyhow::Result<u64> {
        let all = std::fs::read_to_string(self.file(place))?;
        let bodies: HashSet<&str> = crate::delivery::samples().iter().map(|sample| sample.body.as_str()).collect();
        Ok(all.split_terminator('\n').filter(|line| bodies.contains(line)).count() as u64)
    }
    async fn remove(&self, place: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.file(place))?)
    }
}

/// An open file. Written to where it does not block who else uses the runtime, as tokio's docs ask.
pub struct Appender(Arc<File>);

impl Hand for Appender {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let file = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::with_capacity(batch.iter().map(|delivery| delivery.sample.body.len() + 1).sum());
            for delivery in &batch {
                lines.extend_from_slice(delivery.sample.body.as_bytes());
                lines.push(b'\n');
            }
            (&*file).write_all(&lines)?;
            file.sync_data()
        });
        Ok(written.await??)
    }
}
