//! Names of events and deliveries.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Names an event: a UUID of version 7, so that ids sort by the time of arrival. Shown as `evt_` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

/// Names a delivery: a pure function of event, route, output and ordinal, so that a repeat is recognisable (L1).
/// Shown as `dlv_` and 32 hex digits; has no `.`, as Standard Webhooks asks of ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub [u8; 16]);

impl DeliveryId {
    /// The id of the `ordinal`th delivery (from 0) of an event to an output by a route.
    pub fn of(event: EventId, route: &str, output: &str, ordinal: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(event.0);
        // Lengths first: no two different triples give the same bytes.
        hash.update((route.len() as u64).to_be_bytes());
        hash.update(route);
        hash.update((output.len() as u64).to_be_bytes());
        hash.update(output);
        hash.update(ordinal.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        DeliveryId(id)
    }
}

/// A text that is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an id: expected `{prefix}` and 32 hex digits")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

macro_rules! shown {
    ($id:ident, $prefix:literal) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 32];
                let text = hex::encode_to_slice(self.0, &mut digits).ok().and_then(|()| std::str::from_utf8(&digits).ok());
                write!(f, "{}{}", $prefix, text.unwrap_or_default())
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $id {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut id = [0; 16];
                text.strip_prefix($prefix)
                    .filter(|digits| digits.len() == 32 && hex::decode_to_slice(digits, &mut id).is_ok())
                    .ok_or_else(|| IdError { text: text.chars().take(64).collect(), prefix: $prefix })?;
                Ok($id(id))
            }
        }
    };
}
shown!(EventId, "evt_");
shown!(DeliveryId, "dlv_");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_a_delivery_id_is_a_pure_function() {
        let event = EventId([7; 16]);
        assert_eq!(event.to_string().parse(), Ok(event));
        let id = DeliveryId::of(event, "a", "b", 0);
        assert_eq!(id, DeliveryId::of(event, "a", "b", 0));
        assert_eq!(id.to_string(), "dlv_9a4b8fdcad16d6da50206ba8dc131923");
        for other in [("a", "b", 1), ("ab", "", 0), ("", "ab", 0), ("b", "a", 0)] {
            assert_ne!(id, DeliveryId::of(event, other.0, other.1, other.2), "{other:?}");
        }
        assert!("evt_xyz".parse::<EventId>().is_err());
        assert!("dlv_0".parse::<DeliveryId>().is_err());
    }
}
