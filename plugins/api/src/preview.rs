//! What a far side would get of a delivery, for people to read before it goes.

use bytes::Bytes;

/// Stands where a secret stands in what is sent.
pub const HIDDEN: &str = "***";

/// A request, or what stands for one at a far side of another kind, as it would go out at the first attempt. Holds no secret: [`HIDDEN`]
/// stands for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// What is asked of the far side, in its own word: `POST`, `PUBLISH`, `XADD`, `APPEND`.
    pub method: String,
    /// Where to: an address, a topic, a file, the recipients. Of an address that the file keeps secret scheme and host alone, and what the event adds.
    pub url: String,
    /// What belongs to it beside headers, by the far side's names: a record's key, the values of a statement.
    pub properties: Vec<(String, String)>,
    /// Name and value, in the order in which they were made; without those that belong to the connection.
    pub headers: Vec<(String, String)>,
    /// The body, before it is compressed.
    pub body: Bytes,
}

impl Preview {
    /// One without properties, headers and body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Preview { method: method.into(), url: url.into(), ..Preview::default() }
    }
}
