//! What every output does whose far side asks for a certificate.

use super::{deliver_one, parcel};
use crate::tls::TlsSettings;
use crate::{At, Message, Output, Span};
use std::path::Path;

/// Without a certificate, or with a stranger's, nothing is delivered and the backlog is held; a file that is none is told by its
/// path; and a new one is shown at the next connection, with no one having said so.
///
/// `words`: what a refusal may be, which cannot always be told from a lost connection. `folder` holds `ours.pem`, `ours.key`, and `strangers.pem`, `strangers.key`.
pub async fn client_certificate<O: Output>(
    folder: &Path,
    words: &[&str],
    connect: impl AsyncFn(Option<At<TlsSettings>>) -> O,
    message: &Message,
) {
    let (cert, key) = (folder.join("shown.pem"), folder.join("shown.key"));
    let show = |whose: &str| {
        for file in [&cert, &key] {
            let from = folder.join(whose).with_extension(file.extension().unwrap());
            std::fs::write(file, std::fs::read(from).unwrap()).unwrap();
        }
    };
    let held = async |output: &O, number: u64, words: &[&str]| {
        let outcome = deliver_one(output, parcel(number, message)).await;
        assert!(words.contains(&outcome.word()), "{outcome:?}");
        outcome.text().to_owned()
    };
    held(&connect(None).await, 1, words).await;

    show("strangers");
    let value = TlsSettings { ca: None, cert: Some(cert.clone()), key: Some(key.clone()) };
    let output = connect(Some(At { span: Span::default(), value })).await;
    held(&output, 2, words).await;

    std::fs::write(&cert, "nothing").unwrap();
    let told = held(&output, 3, &["misconfigured"]).await;
    assert!(told.contains(cert.to_str().unwrap()), "{told}");
    assert!(output.check().await.unwrap_err().to_string().contains(cert.to_str().unwrap()));

    show("ours");
    let outcome = deliver_one(&output, parcel(4, message)).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
}
