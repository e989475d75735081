//! Switchyard: a webhook fan-out router. The rooms, in the order in which an event meets them; ARCHITECTURE.md is the map.

pub mod fail;
pub mod model;

pub mod config;

pub mod ingest;
pub mod verify;

pub mod hours;
pub mod route;

pub mod trial;

pub mod journal;

pub mod deliver;

pub mod alarm;

pub mod admin;
pub mod daemon;
pub mod telemetry;

pub mod cli;
