//! JSON Web Tokens (RFC 7519, signed as RFC 7515): a proof that an issuer signs, whose keys stand in a set that it publishes.
//!
//! What a token is signed with is what the key in the set is for; a token that says otherwise is not proven. `none` and keys that both sides know
//! are no words here.
//!
//! Never: believes a claim before the signature holds, though one that makes the token worthless refuses it sooner.

use super::Refused;
use super::elsewhere::Address;
use super::pick::{self, Steps};
use super::signature::only;
use super::token::after;
use crate::model::Timestamp;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

/// The longest token that is looked at.
const LONGEST: usize = 16 << 10;
/// Keys of a set that are looked at.
const MOST_KEYS: usize = 64;
/// Tokens of a body that are looked at; one with more is not proven.
const MOST_TOKENS: usize = 16;
/// How far the issuer's clock may be from ours.
const LEEWAY_MS: i64 = 60_000;

/// Which tokens prove.
pub(super) struct Jwt {
    /// `Authorization`, where it stands behind `Bearer`; or alone in another header.
    pub header: HeaderName,
    pub keys: Address,
    pub wants: Wants,
}

/// What a token must hold.
pub(super) struct Wants {
    /// `iss`, one of these.
    pub issuers: Box<[Box<str>]>,
    /// `aud`, or one of it, is one of these.
    pub audiences: Box<[Box<str>]>,
    /// `azp`, or `appid` of older tokens: which program got it; `None`: any.
    pub party: Option<Box<str>>,
}

/// Tokens in the body that prove it besides something else, where its sender puts some there.
pub(super) struct Tokens {
    /// The list of them.
    pub at: Steps,
    pub keys: Address,
    pub wants: Wants,
    /// The elements of the body, and the field that none of them has where there are no tokens.
    pub items: Steps,
    pub with: Steps,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: none are.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    azp: Option<String>,
    appid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// One key of a set (RFC 7517), of the kinds that are believed.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A token whose claims are as they should be, and whose signature is not proven yet.
struct Token<'t> {
    head: Head,
    signed: &'t [u8],
    signature: Vec<u8>,
}

impl Jwt {
    /// Where the keys stand, for a request whose token could prove it.
    pub fn place(&self, headers: &HeaderMap, now: Timestamp) -> Result<Address, Refused> {
        self.token(headers, now)?;
        Ok(self.keys.clone())
    }

    /// Whether a key of the set signed the token.
    pub fn verify(&self, headers: &HeaderMap, set: Option<&[u8]>, now: Timestamp) -> Result<(), Refused> {
        self.token(headers, now)?.signed_by(&keys(set)?)
    }

    fn token<'h>(&self, headers: &'h HeaderMap, now: Timestamp) -> Result<Token<'h>, Refused> {
        let malformed = || Refused::Malformed(self.header.clone());
        let given = only(headers, &self.header)?;
        let given = if self.header == AUTHORIZATION { after(given, b"bearer").ok_or_else(malformed)? } else { given };
        self.wants.token(given, now, malformed)
    }
}

impl Tokens {
    /// Where the keys stand, for a body with tokens that could prove it; `None`: it has none, and needs none.
    pub fn place(&self, body: &[u8], now: Timestamp) -> Result<Option<Address>, Refused> {
        let texts = self.texts(body)?;
        self.tokens(&texts, now)?;
        Ok((!texts.is_empty()).then(|| self.keys.clone()))
    }

    /// Whether keys of the set signed all of them.
    pub fn verify(&self, body: &[u8], set: Option<&[u8]>, now: Timestamp) -> Result<(), Refused> {
        let texts = self.texts(body)?;
        if texts.is_empty() {
            return Ok(());
        }
        let keys = keys(set)?;
        self.tokens(&texts, now)?.iter().try_for_each(|token| token.signed_by(&keys))
    }

    fn tokens<'t>(&self, texts: &'t [String], now: Timestamp) -> Result<Vec<Token<'t>>, Refused> {
        let malformed = || Refused::MalformedField(self.at.join("."));
        texts.iter().map(|text| self.wants.token(text.as_bytes(), now, malformed)).collect()
    }

    /// The tokens as they stand there; where there are none, nothing may be there that they prove.
    fn texts(&self, body: &[u8]) -> Result<Vec<String>, Refused> {
        let texts: Vec<String> = match pick::raw_at(body, &self.at) {
            None => vec![],
            Some(raw) => {
                serde_json::from_slice::<Option<_>>(raw).map_err(|_| Refused::MalformedField(self.at.join(".")))?.unwrap_or_default()
            }
        };
        if texts.len() > MOST_TOKENS {
            return Err(Refused::MalformedField(self.at.join(".")));
        }
        let has = |item: &[u8]| pick::raw_at(item, &self.with).is_some_and(|raw| raw != b"null");
        if texts.is_empty() && pick::elements(body, &self.items).is_some_and(|items| items.into_iter().any(has)) {
            return Err(Refused::MissingField(self.at.join(".")));
        }
        Ok(texts)
    }
}

/// The keys of a set. One that can't be read is of a kind that is not ours.
fn keys(set: Option<&[u8]>) -> Result<Vec<Jwk>, Refused> {
    let set: Set = set.and_then(|set| serde_json::from_slice(set).ok()).ok_or(Refused::BadCertificate)?;
    Ok(set.keys.into_iter().take(MOST_KEYS).filter_map(|key| serde_json::from_value(key).ok()).collect())
}

impl Token<'_> {
    fn signed_by(&self, keys: &[Jwk]) -> Result<(), Refused> {
        let named = |key: &&Jwk| self.head.kid.is_none() || key.kid == self.head.kid;
        let mut fitting = keys.iter().filter(named).peekable();
        if fitting.peek().is_none() {
            return Err(Refused::UnknownKey);
        }
        if fitting.any(|key| key.signed(self)) { Ok(()) } else { Err(Refused::Mismatch) }
    }
}

impl Wants {
    /// The token, if its claims are these; its signature is not looked at.
    fn token<'t>(&self, given: &'t [u8], now: Timestamp, malformed: impl Fn() -> Refused) -> Result<Token<'t>, Refused> {
        let Parts { head, claims, signature, signed } = parts(given).ok_or_else(&malformed)?;
        let head: Head = serde_json::from_slice(&head).map_err(|_| malformed())?;
        if head.crit.is_some() {
            return Err(malformed());
        }
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| malformed())?;
        self.judge(&claims, now)?;
        Ok(Token { head, signed, signature })
    }

    fn judge(&self, claims: &Claims, now: Timestamp) -> Result<(), Refused> {
        let ours = |one: &String| self.audiences.iter().any(|ours| **ours == **one);
        let for_us = match &claims.aud {
            Some(Audience::One(one)) => ours(one),
            Some(Audience::Several(several)) => several.iter().any(ours),
            None => false,
        };
        let issued = claims.iss.as_ref().is_some_and(|iss| self.issuers.iter().any(|issuer| **issuer == **iss));
        let party = claims.azp.as_ref().or(claims.appid.as_ref());
        let got = self.party.as_ref().is_none_or(|wanted| party.is_some_and(|party| **party == **wanted));
        if !issued || !for_us || !got {
            return Err(Refused::OtherToken);
        }
        let millis = |seconds: f64| (seconds * 1_000.0) as i64;
        let over = claims.exp.is_none_or(|exp| !exp.is_finite() || now.0 > millis(exp).saturating_add(LEEWAY_MS));
        let early = claims.nbf.is_some_and(|nbf| !nbf.is_finite() || now.0 < millis(nbf).saturating_sub(LEEWAY_MS));
        if over || early { Err(Refused::TokenOver) } else { Ok(()) }
    }
}

/// The three parts of a token, and what is signed of it.
struct Parts<'t> {
    head: Vec<u8>,
    claims: Vec<u8>,
    signature: Vec<u8>,
    signed: &'t [u8],
}

fn parts(token: &[u8]) -> Option<Parts<'_>> {
    if token.len() > LONGEST {
        return None;
    }
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (first, second, None) = (dots.next()?, dots.next()?, dots.next()) else { return None };
    let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok();
    Some(Parts {
        head: decode(&token[..first])?,
        claims: decode(&token[first + 1..second])?,
        signature: decode(&token[second + 1..])?,
        signed: &token[..second],
    })
}

impl Jwk {
    fn signed(&self, token: &Token<'_>) -> bool {
        let signs = self.used_for.as_deref().is_none_or(|used| used == "sig");
        let decode = |part: &Option<String>| part.as_ref().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let is = |alg: &str| token.head.alg == alg && self.alg.as_deref().is_none_or(|own| own == alg);
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) if signs && is("RS256") => {
                let (Some(n), Some(e)) = (decode(&self.n), decode(&self.e)) else { return false };
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, token.signed, &token.signature).is_ok()
            }
            ("EC", Some("P-256")) if signs && is("ES256") => {
                let (Some(x), Some(y)) = (decode(&self.x), decode(&self.y)) else { return false };
                let point = [&[4][..], &x, &y].concat();
                let fits = x.len() == 32 && y.len() == 32;
                fits && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(token.signed, &token.signature).is_ok()
            }
            ("OKP", Some("Ed25519")) if signs && is("EdDSA") => {
                let Some(x) = decode(&self.x) else { return false };
                UnparsedPublicKey::new(&ED25519, x).verify(token.signed, &token.signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    /// RFC 7515, appendix A.2.
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB\
        --f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEU\
        ipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32\
        690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyx\
        XFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

    #[test]
    fn the_published_example_of_rs256_holds() {
        let Parts { head, signature, signed, .. } = parts(TOKEN.as_bytes()).unwrap();
        let mut token = Token { head: serde_json::from_slice(&head).unwrap(), signed, signature };
        let key = |alg: &str, used: &str| -> Jwk {
            serde_json::from_value(serde_json::json!({ "kty": "RSA", "n": N, "e": "AQAB", "alg": alg, "use": used })).unwrap()
        };
        assert!(key("RS256", "sig").signed(&token));
        assert!(!key("PS256", "sig").signed(&token) && !key("RS256", "enc").signed(&token), "the key is for something else");
        token.signature[0] ^= 1;
        assert!(!key("RS256", "sig").signed(&token));
    }

    #[test]
    fn a_key_proves_nothing_under_another_algorithm() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let key: Jwk = serde_json::from_value(serde_json::json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"head.claims").unwrap().as_ref().to_vec();
        let signed = |alg: &str| {
            let head = serde_json::from_value(serde_json::json!({ "alg": alg })).unwrap();
            key.signed(&Token { head, signed: b"head.claims", signature: signature.clone() })
        };
        assert_eq!(["ES256", "RS256", "EdDSA", "HS256", "none", "es256"].map(signed), [true, false, false, false, false, false]);
    }
}
