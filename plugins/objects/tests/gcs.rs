//! `type: gcs` against a far side of our own: Google has no server to run, and what S3Proxy and others speak is not its protocol.
#![allow(clippy::unwrap_used)] // helpers of tests

mod far;
#[path = "far/google.rs"]
mod google;

use std::sync::Arc;
use switchyard_api::{Kind, Secret};
use switchyard_objects::{Gcs, GcsConfig, ObjectsOutput};
use switchyard_services::shared::Shared;

use far::{Cloud, Far, Given, at, kit};
use google::Google;

impl Cloud for Google {
    /// Of the key that is made for each.
    const WRONG_KEY: &str = "PRIVATE KEY";

    fn shared() -> Arc<Self> {
        static SHARED: Shared<Google> = Shared::new();
        SHARED.get(|| Ok(Google::start())).unwrap()
    }
    fn own() -> Self {
        Google::start()
    }
    fn port(&self) -> u16 {
        self.port()
    }
    fn make(&self, bucket: &str) {
        self.make(bucket);
    }
    fn read(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        self.read(bucket)
    }
    async fn output(&self, given: &Given) -> ObjectsOutput {
        let config = self.config(given);
        assert_eq!(Gcs.validate(&config), []);
        Gcs.connect(config, &kit()).await.unwrap()
    }
    async fn shown(&self, given: &Given) -> (String, Vec<String>) {
        (format!("{:?} {:?}", self.config(given), self.output(given).await), self.secrets())
    }
    fn down(&mut self) {
        self.down();
    }
    fn up(&mut self) {
        self.up();
    }
}

impl Google {
    /// Tokens are fetched from the server itself, objects go through the given port.
    fn config(&self, given: &Given) -> GcsConfig {
        GcsConfig {
            bucket: at(given.bucket.clone()),
            service_account: at(Secret::new(self.account(self.port(), given.wrong_key))),
            endpoint: Some(at(format!("http://127.0.0.1:{}", given.port))),
            objects: given.objects,
            ca: None,
            tls: None,
            proxy: None,
        }
    }
}

switchyard_api::conformance!(Far<Google>);
cases!(Google);
