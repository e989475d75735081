//! What a store's answers mean: the kit's table, and what the stores say in their own words.
//!
//! The content of an object is never why a store refuses it, so nothing here is dead: what is refused is the bucket, the key or the
//! rights, and the backlog waits for whoever mends them.

use bytes::Bytes;
use switchyard_api::Kit;
use switchyard_api::Secret;
use switchyard_api::http::answer::Case;
use switchyard_api::http::{Answer, Rules};

use crate::store::Speaks;

/// 412: there already, by the name that only this content has. S3's 409: another request for the same name is under way.
const S3: &str = r#"[
    {"when": {"status": 412}, "then": "delivered"},
    {"when": {"status": 409}, "then": "retry"},
    {"when": {"status": 503, "contains": "SlowDown"}, "then": "retry"},
    {"when": {"status": 400, "contains": ["RequestTimeout", "IncompleteBody"]}, "then": "retry"},
    {"when": {"status": "4xx", "not": {"status": [408, 425, 429]}}, "then": "misconfigured"}
]"#;

const GCS: &str = r#"[
    {"when": {"status": 412}, "then": "delivered"},
    {"when": {"status": 409}, "then": "retry"},
    {"when": {"status": "4xx", "not": {"status": [408, 425, 429]}}, "then": "misconfigured"}
]"#;

/// A signature that may create and not overwrite hears 403 where there is one already.
const AZURE: &str = r#"[
    {"when": {"status": 412}, "then": "delivered"},
    {"when": {"status": [403, 409], "contains": ["BlobAlreadyExists", "UnauthorizedBlobOverwrite"]}, "then": "delivered"},
    {"when": {"status": 409, "not": {"contains": ["ContainerBeingDeleted", "ContainerDisabled", "AccountBeingCreated"]}}, "then": "retry"},
    {"when": {"status": 503, "contains": "ServerBusy"}, "then": "retry"},
    {"when": {"status": "4xx", "not": {"status": [408, 425, 429]}}, "then": "misconfigured"}
]"#;

/// The rules of one output.
///
/// # Errors
/// The tables of this file cannot be read; its tests prove that they can.
pub fn rules(speaks: Speaks, kit: &Kit, secrets: Vec<Secret>) -> Result<Rules, serde_json::Error> {
    let table = match speaks {
        Speaks::S3 => S3,
        Speaks::Gcs => GCS,
        Speaks::Azure => AZURE,
    };
    let map: Vec<Case> = serde_json::from_str(table)?;
    Ok(Rules { map, secrets, retry_on: kit.retry_on.clone(), reject_on: kit.reject_on.clone(), ..Rules::default() })
}

/// The answer with the code and message of a store's XML as its body, for people: `NoSuchBucket: The specified bucket does not exist`.
pub fn readable(answer: Answer) -> Answer {
    let text = String::from_utf8_lossy(&answer.body);
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let code = element(&text, "Code").or_else(|| header("x-ms-error-code"));
    let said = match (code, element(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {}", message.lines().next().unwrap_or_default()),
        (Some(code), None) => code.to_owned(),
        (None, _) => return answer,
    };
    Answer { body: Bytes::from(said), ..answer }
}

/// The text of the first element of that name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use switchyard_api::Wall;

    fn answer(status: u16, body: &str) -> Answer {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::copy_from_slice(body.as_bytes()));
        Answer { status, headers: HeaderMap::new(), body, whole: true }
    }
    fn xml(code: &str) -> String {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>What it\nsays</Message><Resource>x</Resource></Error>")
    }
    fn word(speaks: Speaks, status: u16, body: &str) -> &'static str {
        let kit = Kit::new("x", "/", "switchyard/0", Wall::new(|| 0));
        rules(speaks, &kit, vec![]).unwrap().judge(&readable(answer(status, body)), 0, false).word()
    }

    #[test]
    fn the_stores_words_have_their_outcomes() {
        use Speaks::{Azure, Gcs, S3};
        for (speaks, status, code, expected) in [
            (S3, 200, "", "delivered"),
            (S3, 412, "PreconditionFailed", "delivered"),
            (S3, 409, "ConditionalRequestConflict", "retry"),
            (S3, 500, "InternalError", "retry"),
            (S3, 503, "SlowDown", "retry"),
            (S3, 503, "ServiceUnavailable", "down"),
            (S3, 400, "RequestTimeout", "retry"),
            (S3, 400, "ExpiredToken", "misconfigured"),
            (S3, 400, "AuthorizationHeaderMalformed", "misconfigured"),
            (S3, 403, "AccessDenied", "misconfigured"),
            (S3, 403, "SignatureDoesNotMatch", "misconfigured"),
            (S3, 404, "NoSuchBucket", "misconfigured"),
            (S3, 413, "EntityTooLarge", "misconfigured"),
            (S3, 429, "", "retry"),
            (S3, 301, "PermanentRedirect", "misconfigured"),
            (S3, 501, "NotImplemented", "misconfigured"),
            (Gcs, 412, "PreconditionFailed", "delivered"),
            (Gcs, 429, "SlowDown", "retry"),
            (Gcs, 503, "ServiceUnavailable", "down"),
            (Gcs, 401, "AuthenticationRequired", "misconfigured"),
            (Gcs, 404, "NoSuchBucket", "misconfigured"),
            (Azure, 201, "", "delivered"),
            (Azure, 409, "BlobAlreadyExists", "delivered"),
            (Azure, 403, "UnauthorizedBlobOverwrite", "delivered"),
            (Azure, 403, "AuthenticationFailed", "misconfigured"),
            (Azure, 404, "ContainerNotFound", "misconfigured"),
            (Azure, 409, "ContainerBeingDeleted", "misconfigured"),
            (Azure, 409, "LeaseAlreadyPresent", "retry"),
            (Azure, 500, "OperationTimedOut", "retry"),
            (Azure, 503, "ServerBusy", "retry"),
        ] {
            assert_eq!(word(speaks, status, &xml(code)), expected, "{speaks:?} {status} {code}");
        }
    }

    #[test]
    fn code_and_message_are_what_people_read() {
        let text = |answer: Answer| String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!(text(readable(answer(404, &xml("NoSuchBucket")))), "NoSuchBucket: What it");
        assert_eq!(text(readable(answer(502, "<html>bad gateway"))), "<html>bad gateway");
        let mut head = answer(404, "");
        head.headers.insert("x-ms-error-code", "BlobNotFound".parse().unwrap());
        assert_eq!(text(readable(head)), "BlobNotFound");
    }
}
