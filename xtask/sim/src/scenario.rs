//! What a run is given: plain data, so that it can be shrunk, read and kept. The same scenario gives the same run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The minute of the day at which all begins.
const BEGIN: u16 = 8 * 60;

/// A history to be lived through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Where ids and the moods of far sides come from.
    pub seed: u64,
    /// Deliveries of one output in memory.
    pub window: usize,
    /// Configurations; the first runs first.
    pub files: Vec<File>,
    /// What happens, in turn.
    pub ops: Vec<Op>,
    /// At which calls of a seam the process dies, rising.
    pub crashes: Vec<Crash>,
    /// Whether the run goes on until all that is over is past its time.
    pub past_retention: bool,
    /// So many milliseconds after eight o'clock it begins.
    #[serde(default)]
    pub begins: u32,
}

/// The process dies at a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// At which call, counted over all lives from 1.
    pub call: u64,
    /// After its effect and before it returns; else before its effect.
    pub after: bool,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Which far side: its name is `o` and this.
    pub far: u8,
    /// Another number, another connection.
    pub settings: u8,
    /// How many in how many milliseconds, and the burst.
    pub rate: Option<(u32, u64, u32)>,
    /// Calls at once.
    pub concurrency: u32,
    /// Seconds an attempt may take.
    pub timeout: u32,
    /// How many attempts.
    pub attempts: u32,
    /// In how many seconds.
    pub over: u32,
    /// Whether a delivery that was never answered is held.
    pub hold_unknown: bool,
    /// Whether deliveries of a key go one at a time.
    pub order: Order,
    /// Parcels a call.
    pub batch: u32,
    /// Whether a long text becomes several deliveries.
    pub splits: bool,
    /// Which far side gets the event of what is dead here.
    #[serde(default)]
    pub on_dead: Option<u8>,
    /// Whether the limit is counted for each key.
    #[serde(default)]
    pub keyed: bool,
    /// It is closed from so many minutes after the beginning of all, and for so many.
    #[serde(default)]
    pub closed: Option<(u16, u16)>,
    /// Whether deliveries of a key go together.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// How deliveries of a key go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Whether the first waits too.
    pub wait: bool,
    /// Seconds from one message to the next.
    pub every: u32,
    /// How many are shown.
    pub max: u8,
}

/// How deliveries of a key follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they can.
    Free,
    /// One at a time; behind a dead one they wait.
    Hold,
    /// One at a time; behind one that is stuck for so many seconds they go on.
    Skip(u32),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its name is `r` and this.
    pub number: u8,
    /// Only this topic.
    pub topic: Option<u8>,
    /// To these outputs.
    pub to: Vec<u8>,
    /// Only events whose number leaves this when it is divided by three, as a program says.
    #[serde(default)]
    pub only: Option<u8>,
    /// What a program makes of each event.
    #[serde(default)]
    pub turn: Option<Turn>,
}

/// What a `transform` makes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// It twice.
    Twice,
    /// Nothing of those with an even number.
    Some,
    /// It fails for those with an even number.
    Fails,
}

impl Turn {
    fn program(self) -> &'static str {
        match self {
            Turn::Twice => ".data, .data",
            Turn::Some => "if .data.n % 2 == 0 then empty else .data end",
            Turn::Fails => "if .data.n % 2 == 0 then error(.topic) else .data end",
        }
    }
}

impl Route {
    /// Whether it takes an event of this topic and number.
    pub fn takes(&self, topic: u8, number: u32) -> bool {
        self.topic.is_none_or(|only| only == topic) && self.only.is_none_or(|only| number % 3 == u32::from(only))
    }
}

/// Something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// So many milliseconds after what came before.
    pub after: u32,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A sender has an event and posts it until it hears 200. The same number again is a repeat.
    Post {
        /// The sender's own id.
        id: u32,
        /// What it is about.
        topic: u8,
        /// By what it is kept in order.
        key: u8,
        /// Words in its text.
        words: u8,
        /// Milliseconds the sender waits for an answer before it hangs up; it posts again later.
        patience: u32,
        /// So many events in one request; 0: it is one itself.
        #[serde(default)]
        items: u8,
    },
    /// A far side behaves like this from now on.
    Far {
        /// Which.
        far: u8,
        /// How.
        mood: Mood,
    },
    /// The disk behaves like this.
    Disk(Disk),
    /// The process dies, and starts again so many milliseconds later.
    Crash(u32),
    /// The daemon is asked to end, and starts again so many milliseconds later.
    Stop(u32),
    /// Another configuration.
    Reload(u8),
    /// A reload that cannot connect: nothing may change.
    BadReload(u8),
    /// Somebody pauses an output.
    Pause(u8),
    /// And lets it go on.
    Resume(u8),
    /// Somebody asks for what is dead, held or delivered again.
    Replay {
        /// Of which output.
        far: u8,
        /// In which state.
        state: Again,
    },
    /// Somebody lets those pass that stand behind the dead ones.
    PassBy,
    /// The wall clock is set, by so many milliseconds.
    Clock(i32),
    /// Somebody silences an output for so many seconds.
    Silence {
        /// Which.
        far: u8,
        /// For how long.
        seconds: u16,
        /// Whether what was kept back goes then; else it is dead.
        send: bool,
    },
    /// All silences end.
    Speak,
    /// Somebody ends what is held for an output.
    Purge {
        /// Which.
        far: u8,
        /// And what waits.
        waiting: bool,
    },
    /// Somebody wants to see something arrive at an output.
    Drill {
        /// Which.
        far: u8,
        /// Whether it shows the last event; else it has words of its own.
        shows: bool,
    },
}

/// What is asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// The dead ones.
    Dead,
    /// The held ones.
    Held,
    /// The delivered ones.
    Delivered,
}

/// How the disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// The next commits find no space.
    Full(u8),
    /// The next commit fails, and nothing of it is there.
    FailsBefore,
    /// The next commit fails, and all of it is there.
    FailsAfter,
    /// Commits take so many milliseconds from now on.
    Slow(u32),
}

/// How a far side behaves. `share`: how many of a hundred attempts, the others end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// All ends well, in so many milliseconds.
    Well(u32),
    /// Try again; perhaps not before so many milliseconds.
    Busy {
        /// How many.
        share: u8,
        /// The wait it asks for.
        after: Option<u32>,
    },
    /// Try again, said after so many milliseconds; and not before so many more.
    Late {
        /// How many.
        share: u8,
        /// How long it takes.
        takes: u32,
        /// The wait it asks for.
        after: u32,
    },
    /// Not there.
    Down,
    /// Refuses us.
    Misconfigured,
    /// Refuses some for good, always the same.
    Rejects(u8),
    /// Takes it and says nothing.
    Silent(u8),
    /// Takes it, and the output says that no answer came.
    Lost(u8),
    /// Neither takes it nor ends.
    Hangs(u8),
    /// The output ends its call without a word on some; whether it had sent them.
    Mute {
        /// How many.
        share: u8,
        /// Whether they had been sent.
        sent: bool,
    },
    /// The output panics.
    Panics(u8),
}

impl File {
    /// Where an event of this topic and number goes: routes and their outputs.
    pub fn plans(&self, topic: u8, number: u32) -> BTreeSet<String> {
        let takes = self.routes.iter().filter(|route| route.takes(topic, number));
        takes.flat_map(|route| route.to.iter().map(|far| format!("r{} o{far}", route.number))).collect()
    }

    /// As it stands in `routes.yaml`.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "server: { listen: \"127.0.0.1:1\", admin: { listen: \"127.0.0.1:2\" } }\n\
             journal: { retain: { delivered: 5m, dead: 8m } }\n\
             sources:\n  shop:\n    verify: { bearer: \"a-made-up-token-for-the-simulation\" }\n    topic: { header: X-Topic }\n    \
             id: { header: X-Id }\n    dedupe: 4m\n  many:\n    verify: { bearer: \"a-made-up-token-for-the-simulation\" }\n    \
             topic: { header: X-Topic }\n    id: { json: n }\n    each: data.events\n    dedupe: 4m\nroutes:\n",
        );
        for route in &self.routes {
            let to: Vec<String> = route.to.iter().map(|far| format!("o{far}")).collect();
            let topic = route.topic.map_or_else(String::new, |topic| format!(" topic: T{topic},"));
            let only = route.only.map_or_else(String::new, |only| format!(" where: \".data.n % 3 == {only}\","));
            let turn = route.turn.map_or_else(String::new, |turn| format!(" transform: \"{}\",", turn.program()));
            let _ = writeln!(out, "  - {{ name: r{},{topic}{only}{turn} to: [{}] }}", route.number, to.join(", "));
        }
        out.push_str("outputs:\n");
        for output in &self.outputs {
            output.write(&mut out);
        }
        out
    }
}

impl Output {
    /// Whether it is closed at this moment, milliseconds since 1970; neither for the first moments.
    pub fn is_closed(&self, wall: i64, moments: i64) -> bool {
        let day = wall.rem_euclid(86_400_000);
        self.closed.is_some_and(|(from, minutes)| {
            let begins = i64::from(BEGIN + from) * 60_000;
            (begins + moments..begins + i64::from(minutes) * 60_000).contains(&day)
        })
    }

    fn write(&self, out: &mut String) {
        let kind = if self.splits { "splitting" } else { "far" };
        let text = "{{ data.n }}:{{ data.text }}";
        let _ = write!(out, "  o{}: {{ type: {kind}, settings: {}, batch: {}, text: \"{text}\"", self.far, self.settings, self.batch);
        let _ = write!(out, ", concurrency: {}, timeout: {}s", self.concurrency, self.timeout);
        let _ = write!(out, ", retry: {{ attempts: {}, over: {}s, max_wait: 30s }}", self.attempts, self.over);
        if let Some((count, per, burst)) = self.rate {
            let key = if self.keyed { ", key: \"{{ data.key }}\"" } else { "" };
            let _ = write!(out, ", rate: {{ limit: {count}/{per}ms, burst: {burst}{key} }}");
        }
        if self.hold_unknown {
            out.push_str(", on_unknown: hold");
        }
        if let Some(far) = self.on_dead {
            let _ = write!(out, ", on_dead: o{far}");
        }
        if let Some((from, minutes)) = self.closed {
            let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            let (open, closed) = (clock(BEGIN + from + minutes), clock(BEGIN + from));
            let _ = write!(out, ", hours: {{ zone: UTC, from: \"{open}\", to: \"{closed}\" }}");
        }
        if let Some(Digest { wait, every, max }) = self.digest {
            let first = if wait { "wait" } else { "now" };
            let _ = write!(out, ", digest: {{ by: \"{{{{ data.key }}}}\", first: {first}, every: {every}s, max: {max} }}");
        }
        match self.order {
            Order::Free => {}
            Order::Hold => out.push_str(", order_by: { key: \"{{ data.key }}\" }"),
            Order::Skip(seconds) => {
                let _ = write!(out, ", order_by: {{ key: \"{{{{ data.key }}}}\", skip_after: {seconds}s }}");
            }
        }
        out.push_str(" }\n");
    }
}
