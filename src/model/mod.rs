//! The words everybody shares: event, envelope, plan, delivery, ids, time, chance. Pure; knows no other room.
//!
//! Outcomes, sizes, periods and rates are the words of outputs too and live in `switchyard_api`; they are named here so
//! that the rooms have one place to look.

pub mod clock;
pub mod config_version;
pub mod delivery;
pub mod envelope;
pub mod equal;
pub mod event;
pub mod ids;
pub mod own;
pub mod places;
pub mod plan;
pub mod printable;

pub use clock::{Clock, Instant, Steady, SystemClock, Timestamp};
pub use config_version::{ConfigVersion, NoVersion};
pub use delivery::{
    BEHIND, COLLECTED, Cursor, DeliveryKey, DeliveryRow, HeldUntil, Loaded, ON_DEAD, Order, PACED, SILENCED, Settlement, State, Written,
    ends_dead, stands_in_line,
};
pub use equal::equal;
pub use event::{Appended, Dedupe, Event, Headers, Kept, SecretPlace, Seq};
pub use ids::{DeliveryId, EventId};
pub use own::{Drill, OWN_SOURCE, OwnTopic};
pub use plan::{NotRendered, OrderKey, Plan, RateKey, Target};
pub use switchyard_api::{Message, Outcome, Period, Rate, Rendered, Secret, Size};

/// The one JSON value type: keeps the order of keys and the digits of numbers, so that an amount never passes through a float.
pub type Json = jaq_json::Val;
