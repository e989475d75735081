//! HTTP digest (RFC 7616): SHA-256 or MD5, `qop=auth`. The nonce is remembered, so only the first request costs a round trip.

use super::{AuthError, filled};
use crate::Secret;
use crate::http::answer::Answer;
use crate::http::client::Request;
use ::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use ::http::uri::PathAndQuery;
use serde::Deserialize;
use sha2::Digest as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a challenge that are looked at; what is longer is none.
const CHALLENGE_MAX: usize = 8 * 1024;

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// The user.
    pub user: Secret,
    /// The password.
    pub password: Secret,
}

impl Digest {
    pub(super) fn check(&self) -> Result<(), AuthError> {
        if self.user.expose().contains(':') {
            return Err(AuthError::Colon);
        }
        if self.user.expose().chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(AuthError::Characters("user"));
        }
        filled("user", self.user.expose()).and(filled("password", self.password.expose())).map(drop)
    }
}

/// Answers challenges, and remembers the last.
#[derive(Debug)]
pub(super) struct Digester {
    settings: Digest,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    challenge: Challenge,
    /// How many requests were sent with its nonce.
    count: u32,
}

/// What the far side asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    hash: Hash,
    /// Whether the session's key is hashed with the nonces (`-sess`).
    session: bool,
    /// As written, to be sent back.
    algorithm: Option<String>,
    /// `qop=auth`; without it RFC 2069 is spoken.
    qop: bool,
    userhash: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
}

/// Which nonce a request was sent with; `None`: it was sent without.
pub(super) type Used = Option<String>;

impl Digester {
    pub fn new(settings: Digest) -> Self {
        Digester { settings, known: Mutex::default() }
    }

    /// Proves a request with the nonce that is known, if one is.
    pub fn prove(&self, request: &mut Request) -> Used {
        let mut known = self.lock();
        let Known { challenge, count } = known.as_mut()?;
        *count = count.checked_add(1)?;
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let text = challenge.answer(&self.settings, request.method().as_str(), target, *count, &client_nonce()?);
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        let nonce = challenge.nonce.clone();
        request.headers_mut().insert(AUTHORIZATION, value);
        Some(nonce)
    }

    /// Whether the answer asks with a nonce that was not used, so that the request is worth repeating.
    pub fn challenged(&self, used: &Used, answer: &Answer) -> bool {
        if answer.status.as_u16() != 401 {
            return false;
        }
        let mut known = self.lock();
        // Another request may have heard a newer one.
        if known.as_ref().is_some_and(|known| used.as_ref().is_some_and(|used| *used != known.challenge.nonce)) {
            return true;
        }
        let asked = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = best(asked) else { return false };
        if used.as_ref().is_some_and(|used| *used == challenge.nonce) {
            return false;
        }
        *known = Some(Known { challenge, count: 0 });
        true
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 16 random bytes; `None`: the system has none.
fn client_nonce() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

impl Hash {
    fn hex(self, text: &str) -> String {
        match self {
            Hash::Md5 => hex::encode(md5::Md5::digest(text)),
            Hash::Sha256 => hex::encode(sha2::Sha256::digest(text)),
        }
    }
}

impl Challenge {
    /// The value of `Authorization` (section 3.4).
    fn answer(&self, who: &Digest, method: &str, target: &str, count: u32, cnonce: &str) -> String {
        let Challenge { realm, nonce, hash, .. } = self;
        let (user, password) = (who.user.expose(), who.password.expose());
        let mut secret = hash.hex(&format!("{user}:{realm}:{password}"));
        if self.session {
            secret = hash.hex(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let request = hash.hex(&format!("{method}:{target}"));
        let response = if self.qop {
            hash.hex(&format!("{secret}:{nonce}:{count:08x}:{cnonce}:auth:{request}"))
        } else {
            hash.hex(&format!("{secret}:{nonce}:{request}"))
        };
        let shown_user = if self.userhash { hash.hex(&format!("{user}:{realm}")) } else { user.to_owned() };
        let mut text = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{response}\"",
            quoted(&shown_user),
            quoted(realm),
            quoted(nonce),
            quoted(target),
        );
        text.extend(self.algorithm.iter().map(|algorithm| format!(", algorithm={algorithm}")));
        if self.qop {
            text.extend([format!(", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\"")]);
        } else if self.session {
            text.extend([format!(", cnonce=\"{cnonce}\"")]);
        }
        text.extend(self.opaque.iter().map(|opaque| format!(", opaque=\"{}\"", quoted(opaque))));
        if self.userhash {
            text.push_str(", userhash=true");
        }
        text
    }

    /// A challenge that we can answer.
    fn of(params: &[(String, String)]) -> Option<Challenge> {
        let get = |name: &str| params.iter().find(|(param, _)| param == name).map(|(_, value)| value.clone());
        let algorithm = get("algorithm");
        let word = algorithm.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (word, session) = word.strip_suffix("-SESS").map_or((word.as_str(), false), |word| (word, true));
        let hash = match word {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            _ => return None,
        };
        let qop = get("qop");
        let auth = qop.as_ref().is_some_and(|all| all.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
        if qop.is_some() && !auth {
            return None; // only `auth-int`
        }
        let algorithm = algorithm.filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        let userhash = get("userhash").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        Some(Challenge { realm: get("realm")?, nonce: get("nonce")?, opaque: get("opaque"), hash, session, algorithm, qop: auth, userhash })
    }
}

/// The strongest digest challenge among these headers.
fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all = headers.filter(|text| text.len() <= CHALLENGE_MAX).flat_map(challenges);
    let digests = all.filter(|(scheme, _)| scheme == "digest").filter_map(|(_, params)| Challenge::of(&params));
    // Of equals the first: the order is the far side's preference.
    digests.fold(None, |best, next| match best {
        Some(best) if best.hash >= next.hash => Some(best),
        _ => Some(next),
    })
}

/// Scheme and parameters of a challenge; names in lower case.
type Parsed = (String, Vec<(String, String)>);

/// Takes a `WWW-Authenticate` apart (RFC 9110, section 11.6.1). What makes no sense is left out.
fn challenges(text: &str) -> Vec<Parsed> {
    let mut found: Vec<Parsed> = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            let mut chars = rest.chars();
            if chars.next().is_none() {
                return found;
            }
            rest = chars.as_str(); // a character that stands nowhere
            continue;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            None => {
                found.push((word.to_ascii_lowercase(), vec![]));
                rest = after;
            }
            Some(after) => {
                let (value, after) = parameter(after.trim_start_matches([' ', '\t']));
                if let Some((_, params)) = found.last_mut() {
                    params.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
        }
    }
}

/// A token or a quoted text, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // RFC 7616, section 3.9.1.
    const MD5: &str = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5,
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn mufasa() -> Digest {
        Digest { user: Secret::new("Mufasa"), password: Secret::new("Circle of Life") }
    }

    #[test]
    fn the_example_of_rfc_7616_is_answered_as_published() {
        let sha = MD5.replace("algorithm=MD5", "algorithm=SHA-256");
        for (asked, response) in
            [(MD5, "8ca523f5e9506fed4657c9700eebdbec"), (sha.as_str(), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")]
        {
            let answer = best([asked].into_iter()).unwrap().answer(&mufasa(), "GET", "/dir/index.html", 1, CNONCE);
            assert!(answer.contains(&format!("response=\"{response}\"")), "{answer}");
            assert!(answer.contains("nc=00000001") && answer.contains("qop=auth,") && answer.contains("opaque=\"FQhe/"), "{answer}");
        }
        let both = format!("Basic realm=\"x\", {MD5}");
        assert_eq!(best([both.as_str(), sha.as_str()].into_iter()).unwrap().hash, Hash::Sha256);
        assert_eq!(best([both.as_str()].into_iter()).unwrap().hash, Hash::Md5);
    }

    #[test]
    fn rfc_2617s_example_and_the_older_form_are_answered_too() {
        let asked = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let who = Digest { user: Secret::new("Mufasa"), password: Secret::new("Circle Of Life") };
        let answer = best([asked].into_iter()).unwrap().answer(&who, "GET", "/dir/index.html", 1, "0a4f113b");
        assert!(answer.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{answer}");
        let old = best([r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#].into_iter()).unwrap();
        let answer = old.answer(&who, "GET", "/dir/index.html", 1, "0a4f113b");
        assert!(answer.contains("response=\"670fd8c2df070c60b045671b8b24ff02\"") && !answer.contains("qop"), "{answer}");
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for asked in [
            "Basic realm=\"x\"",
            "Negotiate abc==",
            "Digest realm=\"x\"",
            r#"Digest realm="x", nonce="y", algorithm=SHA-512-256"#,
            r#"Digest realm="x", nonce="y", qop="auth-int""#,
            "",
        ] {
            assert_eq!(best([asked].into_iter()), None, "{asked}");
        }
    }

    proptest! {
        #[test]
        fn no_challenge_is_a_panic_and_quotes_read_back(text in "(Digest )?[a-z\"\\\\=, \\PC]{0,60}", value in "\\PC{0,20}") {
            best([text.as_str()].into_iter());
            let one = format!("Digest realm=\"{}\", nonce=\"n\"", quoted(&value));
            prop_assert_eq!(best([one.as_str()].into_iter()).map(|challenge| challenge.realm), Some(value));
        }
    }
}
