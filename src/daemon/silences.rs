//! Silences: somebody keeps some deliveries back for a time, and says why. A small file beside the journal, so that they outlive a restart.
//!
//! Never: forgets a delivery. What would have gone during a silence is held; at its end it is dead with that reason (kept, visible,
//! replayable), or goes, where that was asked for.

use super::beside;
use crate::model::printable::Printable;
use crate::model::{Event, HeldUntil, SILENCED, Target, Timestamp};
use crate::route::Glob;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The file's name.
const FILE: &str = "silences.json";
/// Silences at a time; one more is refused (L6).
const SILENCES_MAX: usize = 100;
/// The longest a silence may last; a longer one is refused: what is silenced for good belongs out of the file.
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// Bytes of who and of why: they stand in each row.
const BY_MAX: usize = 64;
const WHY_MAX: usize = 256;

/// What somebody asks for, and what is kept of it. Each pattern is a glob; one that is not there matches anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who.
    pub by: String,
    /// Why: one line.
    pub why: String,
    /// Until when, in milliseconds since 1970.
    pub until: i64,
    /// What becomes of those that were kept back.
    #[serde(default)]
    pub then: Then,
    /// Of deliveries to these outputs.
    #[serde(default)]
    pub output: Option<String>,
    /// By these routes.
    #[serde(default)]
    pub route: Option<String>,
    /// Of events of these sources.
    #[serde(default)]
    pub source: Option<String>,
    /// Of events of these topics.
    #[serde(default)]
    pub topic: Option<String>,
}

/// What becomes of deliveries at the end of a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// They are dead, and can be replayed.
    #[default]
    Dead,
    /// They go.
    Send,
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Names it; never given twice.
    pub id: u64,
    /// When it began, in milliseconds since 1970.
    pub from: i64,
    /// What was asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

/// Why there is no such silence. `Display` is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CannotSilence {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// There is no silence of this number.
    #[error("there is no silence {0} (any more): `switchyard silence list` shows those there are")]
    Unknown(u64),
    /// It would not outlive a restart.
    #[error("the silence can't be written down: {0}")]
    NotWritten(#[from] io::Error),
}

/// What stands in the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Stored {
    last: u64,
    silences: Vec<Silence>,
}

/// A silence with its patterns made.
#[derive(Debug)]
struct Active {
    silence: Silence,
    output: Option<Glob>,
    route: Option<Glob>,
    source: Option<Glob>,
    topic: Option<Glob>,
}

/// All silences, as they stand on the disk; shared by all that were lent them.
#[derive(Debug, Clone, Default)]
pub struct Silences(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Where they are written; `None`: nowhere, they end with the daemon.
    folder: Option<PathBuf>,
    stored: Mutex<Stored>,
    active: ArcSwap<Vec<Active>>,
    /// Those that began since the last look: one may be over by the next, and what it held is let go all the same.
    begun: Mutex<Vec<Active>>,
}

impl Silences {
    /// Reads the file; without one nothing is silenced.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let stored: Stored = beside::read(folder, FILE)?.unwrap_or_default();
        let active = active(&stored).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let inner = Inner {
            folder: Some(folder.to_owned()),
            stored: Mutex::new(stored),
            active: ArcSwap::from_pointee(active),
            begun: Mutex::default(),
        };
        Ok(Silences(Arc::new(inner)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.active.load().is_empty()
    }

    /// Those that are not over, by number.
    pub fn list(&self, now: Timestamp) -> Vec<Silence> {
        self.0.active.load().iter().filter(|active| active.lasts(now)).map(|active| active.silence.clone()).collect()
    }

    /// Why a delivery is silenced, and until when: by the silence that lasts longest of those that meet it.
    pub fn held_until(&self, event: &Event, target: &Target, now: Timestamp) -> Option<HeldUntil> {
        let active = self.0.active.load();
        let longest =
            active.iter().filter(|active| active.meets(target, now) && active.meets_event(event)).max_by_key(|active| active.until());
        longest.map(Active::held)
    }

    /// Every silence that may meet deliveries of an output, by whatever route they came.
    pub fn meeting(&self, output: &str, now: Timestamp) -> Vec<HeldUntil> {
        self.0.active.load().iter().filter(|active| active.lasts(now) && active.names(output)).map(Active::held).collect()
    }

    /// Whether one that began since this was asked last may meet deliveries of an output.
    pub fn begun(&self) -> impl Fn(&str) -> bool + use<> {
        let begun = std::mem::take(&mut *self.0.begun.lock().unwrap_or_else(PoisonError::into_inner));
        move |output| begun.iter().any(|active| active.names(output))
    }

    /// Begins a silence; durable when this returns.
    ///
    /// # Errors
    /// It makes no sense, there are too many, or it can't be written down.
    pub fn add(&self, asked: Asked, now: Timestamp) -> Result<Silence, CannotSilence> {
        asked.check(now).map_err(CannotSilence::Wrong)?;
        let silence = self.change(now, |stored| {
            if stored.silences.len() >= SILENCES_MAX {
                return Err(CannotSilence::Wrong(format!(
                    "there are {SILENCES_MAX} silences already: end one with `switchyard silence end`"
                )));
            }
            stored.last += 1;
            let silence = Silence { id: stored.last, from: now.0, asked };
            stored.silences.push(silence.clone());
            Ok(silence)
        })?;
        let begun = Active::of(&silence).map_err(CannotSilence::Wrong)?;
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
        Ok(silence)
    }

    /// Ends a silence now; durable when this returns.
    ///
    /// # Errors
    /// There is none of this number, or it can't be written down.
    pub fn end(&self, id: u64, now: Timestamp) -> Result<Silence, CannotSilence> {
        self.change(now, |stored| {
            let place = stored.silences.iter().position(|silence| silence.id == id).ok_or(CannotSilence::Unknown(id))?;
            Ok(stored.silences.remove(place))
        })
    }

    /// Takes those out of the file that are over.
    pub fn forget_over(&self, now: Timestamp) -> Result<(), CannotSilence> {
        if self.0.active.load().iter().all(|active| active.lasts(now)) { Ok(()) } else { self.change(now, |_| Ok(())) }
    }

    fn change<T>(&self, now: Timestamp, change: impl FnOnce(&mut Stored) -> Result<T, CannotSilence>) -> Result<T, CannotSilence> {
        let mut stored = self.0.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = stored.clone();
        changed.silences.retain(|silence| silence.asked.until > now.0);
        let done = change(&mut changed)?;
        let active = active(&changed).map_err(CannotSilence::Wrong)?;
        if let Some(folder) = &self.0.folder {
            beside::write(folder, FILE, &changed)?;
        }
        *stored = changed;
        self.0.active.store(Arc::new(active));
        Ok(done)
    }
}

impl Asked {
    /// Whether it can be done; else what to say.
    fn check(&self, now: Timestamp) -> Result<(), String> {
        if [&self.output, &self.route, &self.source, &self.topic].into_iter().all(Option::is_none) {
            return Err("say what is silenced: --output, --route, --source or --topic; `--output '**'` is everything".into());
        }
        for (name, text, most) in [("by", &self.by, BY_MAX), ("why", &self.why, WHY_MAX)] {
            if text.trim().is_empty() || text.len() > most || text.chars().any(char::is_control) {
                return Err(format!("`{name}` is one line of 1 to {most} bytes: people read it at each delivery that is held"));
            }
        }
        if self.until <= now.0 {
            return Err(format!("{} is over already: say until when, such as `2h`", Timestamp(self.until)));
        }
        if Timestamp(self.until).since(now) > LONGEST {
            return Err("a silence lasts at most 30 days: take the route out of the file where it is for good".into());
        }
        Ok(())
    }
}

fn active(stored: &Stored) -> Result<Vec<Active>, String> {
    stored.silences.iter().map(Active::of).collect()
}

fn fits(glob: Option<&Glob>, text: &str) -> bool {
    glob.is_none_or(|glob| glob.matches(text))
}

impl Active {
    fn of(silence: &Silence) -> Result<Self, String> {
        let glob = |text: &Option<String>| match text {
            Some(text) => Glob::parse(text).map(Some).map_err(|why| format!("`{}` is not a pattern: {}", Printable(text), why.why)),
            None => Ok(None),
        };
        let Asked { output, route, source, topic, .. } = &silence.asked;
        Ok(Active { silence: silence.clone(), output: glob(output)?, route: glob(route)?, source: glob(source)?, topic: glob(topic)? })
    }
    fn until(&self) -> Timestamp {
        Timestamp(self.silence.asked.until)
    }
    fn lasts(&self, now: Timestamp) -> bool {
        now < self.until()
    }
    fn meets(&self, target: &Target, now: Timestamp) -> bool {
        self.lasts(now) && self.names(&target.output) && fits(self.route.as_ref(), &target.route)
    }
    fn names(&self, output: &str) -> bool {
        fits(self.output.as_ref(), output)
    }
    fn meets_event(&self, event: &Event) -> bool {
        fits(self.source.as_ref(), &event.source) && fits(self.topic.as_ref(), &event.topic)
    }
    fn held(&self) -> HeldUntil {
        let Silence { id, asked, .. } = &self.silence;
        let until = jiff::Timestamp::from_millisecond(asked.until)
            .map_or_else(|_| self.until().to_string(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
        let told = format!("{} until {until}: {} (silence {id}", asked.by, asked.why);
        let why = match asked.then {
            Then::Dead => format!("{}{told}{}", SILENCED.0, SILENCED.1),
            Then::Send => format!("{}{told}, then sent)", SILENCED.0),
        };
        HeldUntil { until: self.until(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Headers, ends_dead};

    const NOW: Timestamp = Timestamp(1_772_445_600_000);

    fn asked() -> Asked {
        let until = NOW.0 + 3_600_000;
        Asked {
            by: "ann".into(),
            why: "maintenance".into(),
            until,
            then: Then::Dead,
            output: Some("pager".into()),
            route: None,
            source: None,
            topic: Some("ORDER_*".into()),
        }
    }

    fn held(silences: &Silences, output: &str, topic: &str, now: Timestamp) -> Option<String> {
        let event = Event {
            id: EventId([0; 16]),
            source: "shop".into(),
            topic: topic.into(),
            received_at: now,
            headers: Headers::default(),
            query: "".into(),
            body: bytes::Bytes::new(),
            sender_id: None,
            signed_with: None,
        };
        let target = Target { route: "all".into(), output: output.into() };
        silences.held_until(&event, &target, now).map(|held| held.why)
    }

    #[test]
    fn a_silence_meets_what_it_names_until_it_is_over_and_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::read(folder.path()).unwrap();
        assert_eq!(silences.add(asked(), NOW).unwrap().id, 1);
        let again = Silences::read(folder.path()).unwrap();
        let told = "silenced by ann until 2026-03-02 11:00 UTC: maintenance (silence 1, then dead)";
        assert_eq!(held(&again, "pager", "ORDER_PAID", NOW).as_deref(), Some(told));
        assert!(ends_dead(told));
        assert_eq!([held(&again, "chat", "ORDER_PAID", NOW), held(&again, "pager", "SHOP_GONE", NOW)], [None, None]);
        let over = NOW + Duration::from_hours(1);
        assert_eq!((held(&again, "pager", "ORDER_PAID", over), again.list(over)), (None, vec![]));
        again.forget_over(over).unwrap();
        assert!(again.is_empty() && Silences::read(folder.path()).unwrap().is_empty());
        // A number is never given twice.
        let longer = Asked { then: Then::Send, until: NOW.0 + 7_200_000, ..asked() };
        assert_eq!(again.add(longer, NOW).unwrap().id, 2);
        let told = held(&again, "pager", "ORDER_PAID", NOW).unwrap();
        assert!(told.ends_with("(silence 2, then sent)") && !ends_dead(&told), "{told}");
        assert!(matches!(again.end(1, NOW), Err(CannotSilence::Unknown(1))));
        assert_eq!(again.end(2, NOW).unwrap().id, 2);
        assert_eq!(held(&again, "pager", "ORDER_PAID", NOW), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_a_broken_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::read(folder.path()).unwrap();
        let refused = [
            Asked { output: None, topic: None, ..asked() },
            Asked { why: " ".into(), ..asked() },
            Asked { by: "a\nb".into(), ..asked() },
            Asked { until: NOW.0, ..asked() },
            Asked { until: NOW.0 + 31 * 86_400_000, ..asked() },
            Asked { topic: Some("a[b]".into()), ..asked() },
        ]
        .map(|asked| silences.add(asked, NOW).unwrap_err().to_string());
        insta::assert_snapshot!(refused.join("\n"), @r"
        say what is silenced: --output, --route, --source or --topic; `--output '**'` is everything
        `why` is one line of 1 to 256 bytes: people read it at each delivery that is held
        `by` is one line of 1 to 64 bytes: people read it at each delivery that is held
        2026-03-02T10:00:00.000Z is over already: say until when, such as `2h`
        a silence lasts at most 30 days: take the route out of the file where it is for good
        `a[b]` is not a pattern: brackets have no meaning in a glob
        ");
        let many = Asked { why: "x".repeat(WHY_MAX), by: "y".repeat(BY_MAX), ..asked() };
        (0..SILENCES_MAX).for_each(|_| drop(silences.add(many.clone(), NOW).unwrap()));
        assert!(held(&silences, "pager", "ORDER_PAID", NOW).unwrap().len() < 512);
        assert!(silences.add(asked(), NOW).unwrap_err().to_string().contains("end one"));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Silences::read(folder.path()).is_err());
    }
}
