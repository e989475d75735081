//! `type: s3` against S3Proxy, read back with Amazon's own client.
#![allow(clippy::unwrap_used)] // helpers of tests

mod far;

use std::sync::Arc;
use switchyard_api::conformance::deliver_one;
use switchyard_api::{Kind, Secret};
use switchyard_objects::{ObjectsOutput, S3, S3Config};
use switchyard_services::Tinyproxy;
use switchyard_services::s3::{KEYS, S3Proxy};
use switchyard_services::shared::Shared;
use switchyard_services::tinyproxy::{PASSWORD, USER};

use far::{Cloud, Far, Given, at, kit, parcels};

impl Cloud for S3Proxy {
    const WRONG_KEY: &str = "made-up-wrong-key";

    fn shared() -> Arc<Self> {
        static SHARED: Shared<S3Proxy> = Shared::new();
        SHARED.get(S3Proxy::start).unwrap()
    }
    fn own() -> Self {
        S3Proxy::start().unwrap()
    }
    fn port(&self) -> u16 {
        self.port()
    }
    fn make(&self, bucket: &str) {
        self.make_bucket(bucket).unwrap();
    }
    fn read(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        self.read(bucket).unwrap()
    }
    async fn output(&self, given: &Given) -> ObjectsOutput {
        let config = config(given);
        assert_eq!(S3.validate(&config), []);
        S3.connect(config, &kit()).await.unwrap()
    }
    async fn shown(&self, given: &Given) -> (String, Vec<String>) {
        let given = Given { wrong_key: false, ..given.clone() };
        (format!("{:?} {:?}", config(&given), self.output(&given).await), vec![KEYS.1.to_owned()])
    }
    fn down(&mut self) {
        self.down();
    }
    fn up(&mut self) {
        self.up().unwrap();
    }
}

fn config(given: &Given) -> S3Config {
    S3Config {
        bucket: at(given.bucket.clone()),
        region: at("us-east-1".into()),
        endpoint: Some(at(format!("http://127.0.0.1:{}", given.port))),
        access_key: at(Secret::new(KEYS.0)),
        secret_key: at(Secret::new(if given.wrong_key { S3Proxy::WRONG_KEY } else { KEYS.1 })),
        session_token: None,
        objects: given.objects,
        ca: None,
        tls: None,
        proxy: None,
    }
}

switchyard_api::conformance!(Far<S3Proxy>);
cases!(S3Proxy);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_go_through_a_proxy_where_the_file_has_one() {
    let (far, proxy) = (Far::<S3Proxy>::new().await, Tinyproxy::start(&[]).unwrap());
    let through = |password: &str| Some(at(Secret::new(format!("http://{USER}:{password}@{}", proxy.address()))));
    let output = async |password| {
        let config = S3Config { proxy: through(password), ..config(&far.given()) };
        assert_eq!(S3.validate(&config), []);
        S3.connect(config, &kit()).await.unwrap()
    };
    let [parcel] = parcels([1]).try_into().unwrap();
    assert_eq!(deliver_one(&output(PASSWORD).await, parcel.clone()).await.word(), "delivered");
    assert_eq!(far.deliveries(), [&*parcel.delivery]);
    assert!(proxy.log().unwrap().contains(&format!("/{}/", far.bucket)));
    let refused = deliver_one(&output("made-up-wrong-password").await, parcel).await;
    assert!(refused.word() == "misconfigured" && !refused.text().contains("made-up"), "{refused:?}");
}
