//! The words of the source that is built in: what the daemon itself has to say.

use super::Event;
use std::fmt;

/// The name of the built-in source; no source of the file may have it, and only a route that names it gets its events.
pub const OWN_SOURCE: &str = "switchyard";

/// What an event of the built-in source is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnTopic {
    /// An output is down, or refuses us.
    OutputDown,
    /// It answers again.
    OutputRecovered,
    /// Deliveries were given up.
    DeliveryDead,
    /// What an output that works should have got long ago still waits.
    BacklogOld,
    /// A source sends nothing, or sends again.
    SourceSilent,
    /// Requests of a source are refused, or taken again.
    SourceRejecting,
    /// A sender is near to giving us up, or not any more.
    SubscriptionAtRisk,
    /// A changed file does not run, or does.
    ConfigRejected,
    /// The journal's disk is nearly full, or has space again.
    DiskLow,
    /// The journal's commits take long, or do not any more.
    JournalSlow,
}

impl OwnTopic {
    /// All of them.
    pub const ALL: [OwnTopic; 10] = [
        OwnTopic::OutputDown,
        OwnTopic::OutputRecovered,
        OwnTopic::DeliveryDead,
        OwnTopic::BacklogOld,
        OwnTopic::SourceSilent,
        OwnTopic::SourceRejecting,
        OwnTopic::SubscriptionAtRisk,
        OwnTopic::ConfigRejected,
        OwnTopic::DiskLow,
        OwnTopic::JournalSlow,
    ];

    /// The topic as routes match it.
    pub fn word(self) -> &'static str {
        match self {
            OwnTopic::OutputDown => "output.down",
            OwnTopic::OutputRecovered => "output.recovered",
            OwnTopic::DeliveryDead => "delivery.dead",
            OwnTopic::BacklogOld => "backlog.old",
            OwnTopic::SourceSilent => "source.silent",
            OwnTopic::SourceRejecting => "source.rejecting",
            OwnTopic::SubscriptionAtRisk => "subscription.at_risk",
            OwnTopic::ConfigRejected => "config.rejected",
            OwnTopic::DiskLow => "disk.low",
            OwnTopic::JournalSlow => "journal.slow",
        }
    }
}

/// A delivery that somebody wants to see arrive: its event comes from the built-in source, and no route is asked whether it takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drill {
    /// It has words of its own.
    Words,
    /// It shows an event that was kept.
    Event,
}

impl Drill {
    /// Whether an event is one.
    pub fn of(event: &Event) -> Option<Self> {
        [Drill::Words, Drill::Event].into_iter().find(|drill| *event.source == *OWN_SOURCE && *event.topic == *drill.topic())
    }

    /// The topic of its event.
    pub fn topic(self) -> &'static str {
        match self {
            Drill::Words => "drill",
            Drill::Event => "drill.event",
        }
    }
}

impl fmt::Display for OwnTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
