//! The three stores: the requests that each wants, and how it is proven who asks.
//!
//! | | write, unless it is there | is it there | may we |
//! | --- | --- | --- | --- |
//! | S3 | `PUT` with `If-None-Match: *` | `HEAD` | list with `max-keys=0` |
//! | Google Cloud Storage (XML API) | `PUT` with `x-goog-if-generation-match: 0` | `HEAD` | list with `max-keys=1` |
//! | Azure Blob Storage | `Put Blob` with `If-None-Match: *` | `HEAD` | `List Blobs` with `maxresults=1` |

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, IF_NONE_MATCH, USER_AGENT};
use http::{Method, Uri};
use http_body_util::Full;
use switchyard_api::Wall;
use switchyard_api::http::{Answer, Client, Credentials, NotSent, Request};

use crate::name;
use crate::shared_key::SharedKey;

/// The version of Azure's protocol that we speak.
const AZURE_VERSION: HeaderValue = HeaderValue::from_static("2021-12-02");

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Amazon S3 and what speaks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

/// How it is proven who asks.
#[derive(Debug)]
pub enum Proof {
    /// By the HTTP kit: a signature or a token.
    Kit(Credentials),
    /// By the account's key.
    SharedKey(SharedKey, Wall),
    /// By what is added to the query.
    Sas(Sas),
}

/// A shared access signature, ready to stand in a URL.
pub struct Sas(pub switchyard_api::Secret);

impl std::fmt::Debug for Sas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sas")
    }
}

/// One bucket or container.
#[derive(Debug)]
pub struct Store {
    /// How it speaks.
    pub speaks: Speaks,
    /// Connections to it; its URL is that of the bucket.
    pub client: Client,
    /// Who we are.
    pub proof: Proof,
    /// What we call ourselves.
    pub user_agent: HeaderValue,
}

/// Why there is no answer. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name gives no URL; the same for every event.
    #[error("the object's name does not fit into the bucket's URL")]
    Target,
    /// How far it came.
    #[error(transparent)]
    Sent(#[from] NotSent),
}

impl Store {
    /// Writes an object unless there is one of that name. `sent` is called right before a byte may leave.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn put(&self, object: &str, body: Bytes, kind: &'static str, sent: impl FnOnce()) -> Result<Answer, CallError> {
        let mut request = self.request(Method::PUT, Some(object), "")?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        match self.speaks {
            Speaks::S3 => _ = headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*")),
            Speaks::Gcs => _ = headers.insert("x-goog-if-generation-match", HeaderValue::from_static("0")),
            Speaks::Azure => {
                headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
                headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
            }
        }
        self.call(request, body, sent).await
    }

    /// Asks whether there is an object of that name.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn head(&self, object: &str) -> Result<Answer, CallError> {
        self.call(self.request(Method::HEAD, Some(object), "")?, Bytes::new(), || ()).await
    }

    /// Asks whether the bucket is there and ours to list.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn list(&self) -> Result<Answer, CallError> {
        let query = match self.speaks {
            Speaks::S3 => "list-type=2&max-keys=0",
            Speaks::Gcs => "max-keys=1",
            Speaks::Azure => "comp=list&maxresults=1&restype=container",
        };
        self.call(self.request(Method::GET, None, query)?, Bytes::new(), || ()).await
    }

    fn request(&self, method: Method, object: Option<&str>, query: &str) -> Result<Request, CallError> {
        let path = object.map(name::encoded);
        let target = self.client.url().target(path.as_deref(), &[]).map_err(|_| CallError::Target)?;
        let sas = match &self.proof {
            Proof::Sas(Sas(sas)) => sas.expose(),
            _ => "",
        };
        let all: Vec<&str> = [query, sas].into_iter().filter(|part| !part.is_empty()).collect();
        let target = if all.is_empty() { target.to_string() } else { format!("{}?{}", target.path(), all.join("&")) };
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse::<Uri>().map_err(|_| CallError::Target)?;
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        if self.speaks == Speaks::Azure {
            request.headers_mut().insert("x-ms-version", AZURE_VERSION);
        }
        Ok(request)
    }

    async fn call(&self, mut request: Request, body: Bytes, sent: impl FnOnce()) -> Result<Answer, CallError> {
        if let Proof::SharedKey(key, wall) = &self.proof {
            key.sign(&mut request, body.len(), wall.millis());
        }
        *request.body_mut() = Full::new(body);
        match &self.proof {
            Proof::Kit(credentials) => Ok(credentials.send(&self.client, request, sent).await?),
            Proof::SharedKey(..) | Proof::Sas(_) => Ok(self.client.call(request, sent).await.map_err(NotSent::from)?),
        }
    }

    /// Closes idle connections.
    pub fn close(&self) {
        self.client.close();
        if let Proof::Kit(credentials) = &self.proof {
            credentials.close();
        }
    }
}
