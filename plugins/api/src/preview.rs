//! What a far side would get of a delivery, for people to read before it goes.

use bytes::Bytes;

/// Stands where a secret stands in what is sent.
pub const HIDDEN: &str = "***";

/// A request as it would go out at the first attempt. Holds no secret: [`HIDDEN`] stands for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// How the far side is called: `POST`.
    pub method: String,
    /// Where to. Of an address that the file keeps secret scheme and host alone, and what the event adds.
    pub url: String,
    /// Name and value, in the order in which they were made; without those that belong to the connection.
    pub headers: Vec<(String, String)>,
    /// The body, before it is compressed.
    pub body: Bytes,
}
