//! What an answer of Redis means. Judged by the error's code, never by its words.

use redis::{ErrorKind, RedisError, ServerError, Value};
use switchyard_api::{Outcome, Printable};

/// Longest piece of an error that is shown.
const SHOWN_MAX: usize = 300;

/// The outcome of one `XADD`.
pub fn outcome(value: &Value) -> Outcome {
    match value {
        Value::BulkString(id) => Outcome::Delivered { detail: format!("entry {}", Printable(&String::from_utf8_lossy(id))) },
        Value::SimpleString(id) => Outcome::Delivered { detail: format!("entry {}", Printable(id)) },
        Value::ServerError(error) => refused(error),
        _ => Outcome::Unknown { why: "sent, and the answer is no entry's id".to_owned() },
    }
}

/// The outcome of an error that the server answered.
pub fn refused(error: &ServerError) -> Outcome {
    let why = shown(error.code(), error.details());
    match error.code() {
        "OOM" | "LOADING" | "MASTERDOWN" | "READONLY" | "CLUSTERDOWN" | "MISCONF" | "NOREPLICAS" | "BUSY" | "TRYAGAIN" => {
            Outcome::Down { why, after: None }
        }
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Outcome::Misconfigured { why, after: None },
        "MOVED" | "ASK" | "CROSSSLOT" => Outcome::Misconfigured {
            why: format!("{why}: this is a node of a cluster; write the URL of a proxy in front of it, or of a single server"),
            after: None,
        },
        "WRONGTYPE" | "ERR" => Outcome::Rejected { why },
        _ => Outcome::Retry { why, after: None },
    }
}

/// An error in one line, without what was sent.
pub fn plain(error: &RedisError) -> String {
    match error.code() {
        Some(code) => shown(code, error.detail()),
        None if error.kind() == ErrorKind::Parse => {
            "what answers there does not speak the protocol of Redis; is it the right port?".to_owned()
        }
        None => Printable(&error.to_string()).to_string(),
    }
}

fn shown(code: &str, details: Option<&str>) -> String {
    let whole = format!("{code} {}", details.unwrap_or_default());
    Printable(whole.trim_end()).to_string().chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_another_protocol_is_told_in_plain_words() {
        let error = redis::parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
        assert!(plain(&error).contains("does not speak the protocol of Redis"), "{error}");
    }

    #[test]
    fn every_code_has_its_outcome() {
        for (line, word) in [
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "down"),
            ("-LOADING Redis is loading the dataset in memory\r\n", "down"),
            ("-READONLY You can't write against a read only replica.\r\n", "down"),
            ("-MASTERDOWN Link with MASTER is down\r\n", "down"),
            ("-CLUSTERDOWN Hash slot not served\r\n", "down"),
            ("-MISCONF Redis is configured to save RDB snapshots\r\n", "down"),
            ("-NOREPLICAS Not enough good replicas to write.\r\n", "down"),
            ("-NOAUTH Authentication required.\r\n", "misconfigured"),
            ("-NOPERM this user has no permissions\r\n", "misconfigured"),
            ("-MOVED 3999 127.0.0.1:6381\r\n", "misconfigured"),
            ("-WRONGTYPE Operation against a key\r\n", "rejected"),
            ("-ERR Protocol error: invalid bulk length\r\n", "rejected"),
            ("-STALE something new\r\n", "retry"),
            ("$3\r\n1-1\r\n", "delivered"),
            (":7\r\n", "unknown"),
        ] {
            let outcome = outcome(&redis::parse_redis_value(line.as_bytes()).unwrap());
            assert_eq!(outcome.word(), word, "{line} {outcome:?}");
            assert!(!outcome.text().is_empty() && !outcome.text().contains('\n'));
        }
    }
}
