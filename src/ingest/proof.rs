//! The proof of one request: what it needs from elsewhere first, then the pure function; and the answers to handshakes that need somebody asked.
//!
//! Never: makes a request of another source wait, or says that one is not proven because nobody could be asked.

use super::answer::{Answer, Refuse};
use super::counts::Refusal;
use super::handle::{Ingest, Keep};
use super::sources::Source;
use crate::model::Timestamp;
use crate::verify::{NotThere, Refused, Reply, Request, with_issuer};
use std::borrow::Cow;

/// Certificates of issuers that are asked for, for one that is served without them.
const MOST_ISSUERS: usize = 2;

/// Without a query's field that is the secret itself.
pub(super) fn kept_query<'q>(source: &Source, query: &'q str) -> Cow<'q, str> {
    let Some(name) = source.verifier.secret_query() else { return Cow::Borrowed(query) };
    let is_it = |pair: &&str| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        crate::model::envelope::unescape(key.as_bytes()) == name
    };
    Cow::Owned(query.split('&').filter(|pair| !is_it(pair)).collect::<Vec<_>>().join("&"))
}

/// A request that is not proven, where its sender begins with one: people are shown what it brings, in the list of what was refused.
pub(super) fn unsigned(source: &Source, request: &Request<'_>, refuse: Refuse, path: &str, now: Timestamp) -> Result<Reply, Refuse> {
    let Some(Reply::Show(text)) = source.verifier.unsigned(request) else { return Err(refuse) };
    let reason = format!(
        "not proven, as expected: `{text}` is to be given to the sender, and then is the `secret`; only if you are just setting it up there"
    );
    source.tally.show(Refusal { answer: Answer::NotProven, reason, ..Refusal::of(&refuse, path, request.peer, now) });
    tracing::warn!(source = &*source.name, peer = %request.peer, "a token for setting up the sender came: `switchyard refused` shows it");
    Ok(Reply::Show(text))
}

impl<K: Keep> Ingest<K> {
    /// Proves a request: by which of the source's secrets, if by one. Where that takes a document from elsewhere it is asked for; a set of keys that does not know the one named is asked for
    /// anew, and to a certificate that is served alone those that issued it are.
    pub(super) async fn proven(&self, source: &Source, request: Request<'_>, now: Timestamp) -> Result<Option<usize>, Refuse> {
        let verifier = &source.verifier;
        let Some(at) = verifier.key_at(&request, now)? else { return Ok(verifier.prove(&request, now)?) };
        let unknown = |why: NotThere| Refuse::NoKey(why.to_string());
        let roots = if verifier.needs_roots() { Some(self.documents().roots().await.map_err(unknown)?) } else { None };
        let prove = |document: &[u8]| verifier.prove(&Request { document: Some(document), roots: roots.as_deref(), ..request }, now);
        let mut document = self.documents().document(&at, false).await.map_err(unknown)?;
        let mut proven = prove(&document);
        if proven == Err(Refused::UnknownKey) {
            document = self.documents().document(&at, true).await.map_err(unknown)?;
            proven = prove(&document);
        }
        for _ in 0..MOST_ISSUERS {
            let Some(issuer) = verifier.issuer_at(&document).filter(|_| proven == Err(Refused::UnknownIssuer)) else { break };
            let issuer = self.documents().document(&issuer, false).await.map_err(unknown)?;
            document = with_issuer(&document, &issuer);
            proven = prove(&document);
        }
        Ok(proven?)
    }

    /// A handshake's answer, once what it asks for is done.
    pub(super) async fn shaken(&self, reply: Reply) -> Result<Reply, Refuse> {
        match reply {
            Reply::Visit(at) => match self.documents().visit(&at).await {
                Ok(()) => Ok(Reply::Text(String::new())),
                Err(why) => Err(Refuse::NotVisited(why.to_string())),
            },
            Reply::No => Err(Refuse::NoHandshake),
            Reply::Unnamed => Err(Refuse::Unnamed),
            Reply::Foreign => Err(Refuse::Foreign),
            reply => Ok(reply),
        }
    }
}
