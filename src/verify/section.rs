//! What stands under `sources.<name>` about proof: who may send, by which secret, and where topic and id are read.
//!
//! Plain structs without effects, read by `switchyard_api::tree::read`; a preset of `presets.yaml` is written in the same
//! keys. What they mean together is decided in `build.rs`.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use switchyard_api::{At, Period, Secret};

/// How a source is proven, and what is read from its requests.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Section {
    /// `verify`: a preset, `none`, or a form spelled out.
    pub verify: Option<At<Form>>,
    /// `secret`: the signing secret, or a list of them while they rotate.
    pub secret: Option<At<Secrets>>,
    /// `topic`: where the topic is read; without it the preset's, else the source's name.
    pub topic: Option<At<Pick>>,
    /// `url`: where the sender posts to, as it is written at the sender's; for those that sign it.
    pub url: Option<At<String>>,
    /// `verify_token`: what the sender shows in its handshake, where it does.
    pub verify_token: Option<At<Secrets>>,
    /// `id`: where the sender's id is read; without it the preset's, else repeats are told by topic and body.
    pub id: Option<At<Pick>>,
    /// `believe`: what routes may go by though the sender does not sign it.
    #[serde(default)]
    pub believe: Vec<At<String>>,
    /// `tokens`: for whom the tokens must be that its sender puts into bodies.
    pub tokens: Option<At<TokensSection>>,
    /// `gives_up_after`: after how many failures in a row the sender deletes the subscription; without it the preset's.
    pub gives_up_after: Option<At<u32>>,
    /// `dedupe`: how long a repeat is a repeat; `0s`: never. Default: the preset's, else 3 days.
    pub dedupe: Option<Period>,
}

/// The value of `verify`.
#[derive(Debug, Clone)]
pub enum Form {
    /// A preset's name, or `none`.
    Word(String),
    /// The parts, one by one. All that are named must hold.
    Spelled(Box<Spelled>),
}

/// A proof spelled out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spelled {
    /// A preset to start from; what stands beside it goes before its parts.
    pub preset: Option<At<String>>,
    /// The hash of an HMAC signature.
    pub hmac: Option<At<Hash>>,
    /// A plain hash that begins with the secret and goes on with what is signed; only for senders that have nothing better.
    pub hash: Option<At<PlainHash>>,
    /// A signature that a public key proves; `secret` is that key.
    pub public: Option<At<PublicKey>>,
    /// The header that holds the signature, or the `token`.
    pub header: Option<At<String>>,
    /// Or the path in the JSON body that holds it.
    pub json: Option<At<String>>,
    /// The path of a list in the JSON body whose elements are proven one by one; then `json` and `signs` look into an element.
    pub items: Option<At<String>>,
    /// How the signature is written. Default: hex.
    pub encoding: Option<At<Encoding>>,
    /// What stands before each signature, such as `sha256=`; a signature without it is not looked at.
    pub prefix: Option<At<String>>,
    /// What stands between several signatures in the header, of which one must hold.
    pub separator: Option<At<String>>,
    /// What is signed: text with `{body}`, `{timestamp}`, `{header:X-Name}`, `{url}`, `{method}`, `{form}` (the fields of a form, sorted,
    /// as Twilio does), `{json:path}` (a text or number of the body; nothing where there is none), `{raw:path}` (its exact bytes),
    /// `{lines:A,B}` (name and text of each of these fields that the body has, a line each), `{crc32}` (of the body, in digits) and
    /// `{secret}` (where it is a name that the request leaves out). Default: `{body}`.
    pub signs: Option<At<String>>,
    /// How the key is made from the secret. Default: its text as it is.
    pub key: Option<At<KeyForm>>,
    /// When it was signed.
    pub timestamp: Option<At<TimestampSection>>,
    /// Where the certificate is fetched that a signature is proven with.
    pub certificate: Option<At<CertificateSection>>,
    /// The place in a signed request that must hold the `secret`, which is then a name and no key.
    pub secret_at: Option<At<Pick>>,
    /// A JSON Web Token in `header`, or as `Authorization: Bearer …`.
    pub jwt: Option<At<JwtSection>>,
    /// The field of the URL's query that holds the `token`; it is not kept.
    pub query: Option<At<String>>,
    /// `Authorization: Bearer …`: one token, or a list while they rotate.
    pub bearer: Option<At<Secrets>>,
    /// A token that stands alone in `header`.
    pub token: Option<At<Secrets>>,
    /// `Authorization: Basic …`.
    pub basic: Option<At<BasicSection>>,
    /// A certificate that `server.tls.client_ca` issued, of one of these names: of a host, or an address; none named: of any.
    pub mtls: Option<At<Vec<At<String>>>>,
    /// Networks that may send, as `10.0.0.0/8` or one address.
    pub allow: Option<Vec<At<String>>>,
}

/// Where the moment of signing stands, and how old it may be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampSection {
    /// The header that holds it, in seconds since 1970.
    pub header: Option<At<String>>,
    /// Or the element of the signature's header that holds it, such as `t` in `t=1700000000,v1=…`.
    pub element: Option<At<String>>,
    /// Or the path in the JSON body that holds it.
    pub json: Option<At<String>>,
    /// In what it is written. Default: seconds in a header, milliseconds in the body.
    pub unit: Option<Unit>,
    /// How far it may be from now, to both sides. Default: 5m.
    pub tolerance: Option<Period>,
}

/// A certificate that stands at its sender's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSection {
    /// Where the request holds its address.
    pub at: At<Pick>,
    /// The hosts it may be at; `*` is one label, as in `sns.*.amazonaws.com`.
    pub hosts: At<Vec<At<String>>>,
    /// Whose it must be, one of these names; `*` is the label that it is in the host. Default: anybody's who may have one there.
    #[serde(default)]
    pub names: Vec<At<String>>,
    /// The hosts at which the certificate of its issuer may be fetched, where it is served alone. Default: it comes with its chain.
    pub issuers: Option<At<Vec<At<String>>>>,
}

/// A JSON Web Token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSection {
    /// Where the issuer publishes its keys.   example: https://login.microsoftonline.com/TENANT/discovery/v2.0/keys
    pub keys: At<String>,
    /// Who issues it: exactly `iss`.
    pub issuer: At<String>,
    /// For whom: exactly `aud`, or one of them.
    pub audience: At<String>,
}

/// For whom tokens in a body must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensSection {
    /// The ids of our applications: `aud` is one of them.
    pub audience: At<Vec<At<String>>>,
    /// The ids of the directories whose changes we are sent.
    pub tenant: At<Vec<At<String>>>,
}

/// User and password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicSection {
    /// The user's name; without a colon.
    pub user: At<String>,
    /// The password.
    pub password: At<Secret>,
}

/// What a moment of signing is counted in, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
}

/// The kind of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicKey {
    /// 32 bytes (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256, signatures in DER; the key as SPKI DER or as an uncompressed point.
    P256,
    /// RSA (PKCS #1 v1.5) with SHA-256, 2,048 bits and more; the key as SPKI DER.
    #[serde(rename = "rsa-sha256")]
    RsaSha256,
    /// The same, or with SHA-1 where the sender still does.
    #[serde(rename = "rsa-sha256-or-sha1")]
    Rsa,
}

/// What a preset's sender shows in place of a signature; it stands under `secret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shows {
    /// A token alone in the preset's `header`, or at its `json`.
    Token,
    /// `user:password`, as `Authorization: Basic …`.
    Basic,
    /// A token, as `Authorization: Bearer …`.
    Bearer,
}

/// The hash inside an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// 20 bytes; only for senders that have nothing better.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

/// A hash that is no HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainHash {
    /// 32 bytes.
    Sha256,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lower-case hex digits.
    #[default]
    Hex,
    /// Upper-case hex digits.
    #[serde(rename = "upper-hex")]
    UpperHex,
    /// Base64 with padding, the standard alphabet.
    Base64,
}

/// How the key is made from the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyForm {
    /// The secret's text as it is.
    #[default]
    Text,
    /// The secret is hex digits.
    Hex,
    /// The secret is base64.
    Base64,
    /// The secret is base64 after an optional `whsec_`.
    Whsec,
}

/// Where a topic or an id is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// A header's value.
    Header(At<String>),
    /// The value at a path of the JSON body, such as `data.type` or `items.0.kind`; of a form the field of that name.
    Json(At<String>),
    /// Of such a value what stands before the first of these characters, as `tr` of `tr_5B8cwPMGnU`.
    Start {
        /// The path.
        json: At<String>,
        /// What ends it.
        before: String,
    },
    /// Always this word.
    Fixed(String),
}

/// One secret or several, of which any may hold.
#[derive(Debug, Clone)]
pub struct Secrets(pub Vec<Secret>);

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Form;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a preset's name, `none`, or a form spelled out")
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<Form, E> {
                Ok(Form::Word(word.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form, A::Error> {
                Spelled::deserialize(MapAccessDeserializer::new(map)).map(|spelled| Form::Spelled(Box::new(spelled)))
            }
        }
        deserializer.deserialize_any(Of)
    }
}

impl<'de> Deserialize<'de> for Pick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Pick;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a word, `{ header: X-Name }` or `{ json: path }`")
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<Pick, E> {
                Ok(Pick::Fixed(word.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pick, A::Error> {
                let Some(place) = map.next_key::<Place>()? else {
                    return Err(A::Error::custom("nothing says where it is read: write `{ header: X-Name }` or `{ json: path }`"));
                };
                let pick = match place {
                    Place::Header => Pick::Header(map.next_value()?),
                    Place::Json => Pick::Json(map.next_value()?),
                    Place::Before => return Err(A::Error::custom("before it the path is written: `{ json: path, before: _ }`")),
                };
                let pick = match (map.next_key::<Place>()?, pick) {
                    (None, pick) => return Ok(pick),
                    (Some(Place::Before), Pick::Json(json)) => Pick::Start { json, before: map.next_value()? },
                    (Some(Place::Before), _) => return Err(A::Error::custom("only what is read in the body can end before something")),
                    (Some(_), _) => {
                        let why = "it is read at one place, not at both: write `{ header: X-Name }` or `{ json: path }`";
                        return Err(A::Error::custom(why));
                    }
                };
                match map.next_key::<Place>()? {
                    None => Ok(pick),
                    Some(_) => Err(A::Error::custom("it is read at one place: write `{ json: path, before: _ }`")),
                }
            }
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase", field_identifier)]
        enum Place {
            Header,
            Json,
            Before,
        }
        deserializer.deserialize_any(Of)
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Secrets;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a secret or a list of secrets")
            }
            fn visit_str<E: Error>(self, secret: &str) -> Result<Secrets, E> {
                Ok(Secrets(vec![Secret::new(secret)]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Secrets, A::Error> {
                let mut secrets = vec![];
                while let Some(secret) = items.next_element()? {
                    secrets.push(secret);
                }
                Ok(Secrets(secrets))
            }
        }
        deserializer.deserialize_any(Of)
    }
}
