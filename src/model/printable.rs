//! Text from outside, made safe for a terminal and a log line (L8). Outputs need it too, so it lives in `switchyard_api`.

pub use switchyard_api::printable::Printable;
