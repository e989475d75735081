//! `type: azure_blob` against Azurite, read back with Microsoft's own client.
#![allow(clippy::unwrap_used)] // helpers of tests

mod far;

use std::sync::Arc;
use switchyard_api::conformance::{deliver, deliver_one};
use switchyard_api::{Handle, Kind, Output, Secret};
use switchyard_objects::{AzureBlob, AzureConfig, ObjectsOutput};
use switchyard_services::azurite::{Azurite, KEYS};
use switchyard_services::shared::Shared;

use far::{Cloud, Far, Given, at, kit, parcels};

impl Cloud for Azurite {
    const WRONG_KEY: &str = "bWFkZS11cC13cm9uZy1rZXk=";

    fn shared() -> Arc<Self> {
        static SHARED: Shared<Azurite> = Shared::new();
        SHARED.get(Azurite::start).unwrap()
    }
    fn own() -> Self {
        Azurite::start().unwrap()
    }
    fn port(&self) -> u16 {
        self.port()
    }
    fn make(&self, bucket: &str) {
        self.make_container(bucket).unwrap();
    }
    fn read(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        self.read(bucket).unwrap()
    }
    async fn output(&self, given: &Given) -> ObjectsOutput {
        connect(config(given)).await
    }
    async fn shown(&self, given: &Given) -> (String, Vec<String>) {
        (format!("{:?} {:?}", config(given), self.output(given).await), vec![KEYS.1.to_owned()])
    }
    fn down(&mut self) {
        self.down();
    }
    fn up(&mut self) {
        self.up().unwrap();
    }
}

async fn connect(config: AzureConfig) -> ObjectsOutput {
    assert_eq!(AzureBlob.validate(&config), []);
    AzureBlob.connect(config, &kit()).await.unwrap()
}

fn config(given: &Given) -> AzureConfig {
    AzureConfig {
        account: at(KEYS.0.to_owned()),
        container: at(given.bucket.clone()),
        key: Some(at(Secret::new(if given.wrong_key { Azurite::WRONG_KEY } else { KEYS.1 }))),
        sas: None,
        endpoint: Some(at(format!("http://127.0.0.1:{}/{}", given.port, KEYS.0))),
        objects: given.objects,
        ca: None,
        tls: None,
        proxy: None,
    }
}

switchyard_api::conformance!(Far<Azurite>);
cases!(Azurite);

#[tokio::test]
async fn a_signature_that_may_only_write_writes_each_batch_once() {
    let far = Far::<Azurite>::new().await;
    let sas = far.cloud.sas(&far.bucket, "cw").unwrap();
    let config = AzureConfig { key: None, sas: Some(at(Secret::new(format!("?{sas}")))), ..config(&far.given()) };
    let output = connect(config.clone()).await;
    for _ in 0..2 {
        let said = deliver(&output, parcels(0..9), None).await;
        assert!((0..9).all(|number| said.outcome(Handle(number)).word() == "delivered"), "{said:?}");
    }
    assert_eq!((far.objects().len(), far.deliveries().len()), (1, 9));
    // It may not list, so a check cannot tell; what it says shows nothing of the signature.
    let error = output.check().await.unwrap_err().to_string();
    let shown = format!("{config:?} {output:?} {error}");
    let signature = sas.split('&').find_map(|pair| pair.strip_prefix("sig=")).unwrap();
    assert!(error.contains("whether the key may write is not known") && !shown.contains(signature), "{shown}");
    // One that may nothing.
    let broken = AzureConfig { sas: Some(at(Secret::new(sas.replace("sig=", "sig=A")))), ..config };
    let outcome = deliver_one(&connect(broken).await, parcels([50]).remove(0)).await;
    assert_eq!(outcome.word(), "misconfigured", "{outcome:?}");
}

#[tokio::test]
async fn a_signature_that_may_list_passes_the_check() {
    let far = Far::<Azurite>::new().await;
    let sas = far.cloud.sas(&far.bucket, "rcl").unwrap();
    let output = connect(AzureConfig { key: None, sas: Some(at(Secret::new(sas))), ..config(&far.given()) }).await;
    output.check().await.unwrap();
}
