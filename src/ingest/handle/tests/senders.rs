//! What known senders hear, and by what their repeats are known.

use super::*;

fn yard(sources_text: &str) -> Yard {
    let yard = Yard::new(Limits::default());
    yard.ingest.swap(sources(sources_text, Limits::default()));
    yard
}

/// What a sender of the source would send, by the source's first secret.
fn sent(yard: &Yard, source: &str, by: &str, body: &str) -> HttpRequest<Full<Bytes>> {
    let signer = sources(&format!("{{ {source}: {by} }}"), Limits::default());
    let verifier: &Verifier = &signer.named(source).unwrap().verifier;
    let headers = verifier.sign(&Draft { topic: "", body: body.as_bytes(), id: None }, yard.wall.wall()).unwrap().headers;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    post(&format!("/{source}"), &headers, body.to_owned())
}

#[tokio::test]
async fn a_validation_is_hashed_with_the_secret_that_its_sender_has() {
    let yard = yard("{ zoom: { verify: zoom, secret: [made-up-new, made-up-old] } }");
    let asked = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    // HMAC-SHA256 of the plain token, as another program says it.
    for (secret, hash) in [
        ("made-up-new", "c830730c0ac258a917c9f82f02f34d08079a6433b8eaccf42b66e4008e7cbef3"),
        ("made-up-old", "1580fb0e08ac7965ba40cc6724792f6c2c91d98d5738b9579bb4b3c4f152d24f"),
    ] {
        let said = yard.send(sent(&yard, "zoom", &format!("{{ verify: zoom, secret: {secret} }}"), asked)).await;
        assert_eq!((said.status, said.header("content-type")), (200, Some("application/json")), "{secret}");
        let said: serde_json::Value = serde_json::from_str(&said.body).unwrap();
        assert_eq!(said["encryptedToken"], hash, "{secret}");
    }
    assert_eq!(yard.keep.events().len(), 0, "a handshake is no event");
}

/// What Discord would send: its key is made up.
fn discord(body: &str) -> (String, HttpRequest<Full<Bytes>>) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signature = hex::encode(key.sign(format!("1700000000{body}").as_bytes()));
    let headers = [("x-signature-timestamp", "1700000000"), ("x-signature-ed25519", signature.as_str())];
    (hex::encode(key.public_key().as_ref()), post("/discord", &headers, body.to_owned()))
}

#[tokio::test]
async fn a_sender_that_shows_204_hears_204() {
    let body = r#"{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}"#;
    let key = discord("").0;
    let known = yard(&format!("{{ discord: {{ verify: discord, secret: {key} }} }}"));
    // A repeat hears the same.
    for _ in 0..2 {
        let said = known.send(discord(body).1).await;
        assert_eq!((said.status, said.body.as_str()), (204, ""));
    }
    assert_eq!(known.keep.events().len(), 1);
    let mut other = discord(body).1;
    *other.body_mut() = Full::new("{}".into());
    let said = known.send(other).await;
    assert_eq!((said.status, said.body.as_str()), (401, ""), "not what was signed");
    // What the source says itself goes before.
    let own = yard(&format!("{{ discord: {{ verify: discord, secret: {key}, answer: taken }} }}"));
    let said = own.send(discord(body).1).await;
    assert_eq!((said.status, said.body.as_str()), (200, "taken"));
}
