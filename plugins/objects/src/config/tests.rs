//! What of the settings is found wrong, and where.

use super::*;
use switchyard_api::Span;
use switchyard_api::problem::Severity;

fn at<T>(start: usize, value: T) -> At<T> {
    At { span: Span { start, end: start + 1 }, value }
}
fn s3(bucket: &str, endpoint: Option<&str>) -> S3Config {
    S3Config {
        bucket: at(1, bucket.into()),
        region: at(2, "eu-west-1".into()),
        endpoint: endpoint.map(|endpoint| at(3, endpoint.into())),
        access_key: at(4, Secret::new("made-up-id")),
        secret_key: at(5, Secret::new("made-up-key")),
        session_token: None,
        objects: Objects::default(),
        ca: None,
        tls: None,
        proxy: None,
    }
}
fn azure(key: Option<&str>, sas: Option<&str>) -> AzureConfig {
    let secret = |place: usize| move |text: &str| at(place, Secret::new(text));
    AzureConfig {
        account: at(1, "acme".into()),
        container: at(2, "events".into()),
        key: key.map(secret(3)),
        sas: sas.map(secret(4)),
        endpoint: None,
        objects: Objects::default(),
        ca: None,
        tls: None,
        proxy: None,
    }
}
fn told(problems: &[Problem]) -> Vec<(&'static str, usize)> {
    assert!(problems.iter().all(|problem| problem.help.is_some()));
    problems.iter().map(|problem| (problem.id, problem.at.start)).collect()
}

#[test]
fn a_bucket_has_its_address() {
    for (bucket, endpoint, address) in [
        ("acme", None, "https://acme.s3.eu-west-1.amazonaws.com"),
        ("acme.nl", None, "https://s3.eu-west-1.amazonaws.com/acme.nl"),
        ("acme", Some("http://10.0.0.1:9000/"), "http://10.0.0.1:9000/acme"),
    ] {
        assert_eq!(s3(bucket, endpoint).address(), address);
    }
    let china = S3Config { region: at(2, "cn-north-1".into()), ..s3("acme", None) };
    assert_eq!(china.address(), "https://acme.s3.cn-north-1.amazonaws.com.cn");
    assert_eq!(azure(None, None).address(), "https://acme.blob.core.windows.net/events");
}

#[test]
fn what_cannot_work_is_told_at_its_place() {
    assert_eq!(told(&s3("acme", None).problems()), []);
    for (bucket, endpoint, expected) in [
        ("", None, vec![("bad-name", 1)]),
        ("a/b", None, vec![("bad-name", 1)]),
        ("..", None, vec![("bad-name", 1)]),
        ("a?b", Some("minio.example"), vec![("bad-name", 1), ("bad-url", 3)]),
        ("acme", Some("https://minio.example?x"), vec![("bad-url", 3)]),
        ("acme", Some("http://minio.example"), vec![("insecure-url", 3)]),
        ("acme", Some("http://127.0.0.1:9000"), vec![]),
    ] {
        assert_eq!(told(&s3(bucket, endpoint).problems()), expected, "{bucket} {endpoint:?}");
    }
    assert_eq!(s3("acme", Some("http://minio.example")).problems()[0].severity, Severity::Warning);
    let empty = S3Config { access_key: at(4, Secret::new("")), secret_key: at(5, Secret::new(" ")), ..s3("acme", None) };
    assert_eq!(told(&empty.problems()), [("empty-secret", 4), ("empty-secret", 5)]);
    let broken = S3Config { access_key: at(4, Secret::new("made-up\n")), ..s3("acme", None) };
    assert_eq!(told(&broken.problems()), [("bad-auth", 5)]);
}

#[test]
fn an_account_has_one_credential() {
    for (key, sas, expected) in [
        (Some("bWFkZS11cA=="), None, vec![]),
        (None, Some("?sv=2021&sig=made%2Fup"), vec![]),
        (Some("sv=2021&sig=made-up"), None, vec![("bad-auth", 3)]),
        (None, Some("bWFkZS11cA=="), vec![("bad-auth", 4)]),
        (None, Some("sig=made up"), vec![("bad-auth", 4)]),
        (Some(""), None, vec![("empty-secret", 3)]),
        (Some("bWFkZS11cA=="), Some("sig=x"), vec![("two-credentials", 4)]),
        (None, None, vec![("missing-key", 2)]),
    ] {
        assert_eq!(told(&azure(key, sas).problems()), expected, "{key:?} {sas:?}");
    }
    let open = AzureConfig { endpoint: Some(at(6, "http://blob.example".into())), ..azure(None, Some("sig=x")) };
    assert_eq!(told(&open.problems()), [("insecure-url", 6)]);
    assert_eq!(open.problems()[0].severity, Severity::Error);
}

#[test]
fn a_service_account_is_judged() {
    let gcs = GcsConfig {
        bucket: at(1, "acme".into()),
        service_account: at(2, Secret::new("{}")),
        endpoint: Some(at(3, "http://storage.example".into())),
        objects: Objects::default(),
        ca: None,
        tls: None,
        proxy: None,
    };
    assert_eq!(told(&gcs.problems()), [("bad-auth", 2), ("insecure-url", 3)]);
    assert_eq!(GcsConfig { endpoint: None, ..gcs }.address(), "https://storage.googleapis.com/acme");
}

#[test]
fn the_way_there_is_judged() {
    let half = TlsSettings { cert: Some("us.pem".into()), ..TlsSettings::default() };
    let (tls, proxy) = (Some(at(7, half)), Some(at(8, Secret::new("socks5://proxy.example"))));
    let ours = S3Config { tls: tls.clone(), proxy: proxy.clone(), ..s3("acme", None) };
    assert_eq!(told(&ours.problems()), [("half-certificate", 7), ("bad-proxy", 8)]);
    let open = AzureConfig { endpoint: Some(at(6, "http://127.0.0.1:1".into())), tls, proxy, ..azure(Some("a2V5"), None) };
    assert_eq!(told(&open.problems()), [("half-certificate", 7), ("tls-unused", 7), ("bad-proxy", 8)]);
}
