//! One file a subject; `stage` has what they all stand on.

mod egress;
mod proxy;
mod stage;
mod tls;
mod two;
