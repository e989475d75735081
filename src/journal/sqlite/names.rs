//! Names and their numbers: rows hold small numbers of sources, outputs and targets instead of texts.
//!
//! The tables only grow, by one row a name that ever stood in the file, so both directions are held in memory.

use crate::model::Target;
use foldhash::{HashMap, HashMapExt};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// A target's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetNumber {
    /// The target's.
    pub target: i64,
    /// Its output's.
    pub output: i64,
}

/// Both directions.
#[derive(Debug)]
pub struct Names {
    sources: HashMap<Arc<str>, i64>,
    outputs: HashMap<Arc<str>, i64>,
    targets: HashMap<Arc<Target>, TargetNumber>,
    source_of: HashMap<i64, Arc<str>>,
    target_of: HashMap<i64, Arc<Target>>,
    /// Whether the transaction under way added any.
    added: bool,
}

impl Names {
    /// Reads them all.
    pub fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut names = Names {
            sources: HashMap::new(),
            outputs: HashMap::new(),
            targets: HashMap::new(),
            source_of: HashMap::new(),
            target_of: HashMap::new(),
            added: false,
        };
        names.reload(db)?;
        Ok(names)
    }

    /// Reads them all again.
    pub fn reload(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.sources.clear();
        self.outputs.clear();
        self.targets.clear();
        self.source_of.clear();
        self.target_of.clear();
        self.added = false;
        let mut statement = db.prepare_cached("SELECT id, name FROM sources")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.know_source(row.get(0)?, row.get::<_, String>(1)?.into());
        }
        let mut statement = db.prepare_cached("SELECT id, name FROM outputs")?;
        let mut rows = statement.query([])?;
        let mut names = HashMap::new();
        while let Some(row) = rows.next()? {
            let (id, name): (i64, Arc<str>) = (row.get(0)?, row.get::<_, String>(1)?.into());
            names.insert(id, Arc::clone(&name));
            self.outputs.insert(name, id);
        }
        let mut statement = db.prepare_cached("SELECT id, route, output FROM targets")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = TargetNumber { target: row.get(0)?, output: row.get(2)? };
            let Some(output) = names.get(&number.output) else { continue };
            let target = Target { route: row.get::<_, String>(1)?.into(), output: Arc::clone(output) };
            self.know_target(number, Arc::new(target));
        }
        Ok(())
    }

    /// A source's number; a new one is written in the transaction under way.
    pub fn source(&mut self, db: &Connection, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(number) = self.sources.get(name) {
            return Ok(*number);
        }
        db.execute("INSERT INTO sources(name) VALUES(?)", [&**name])?;
        let number = db.last_insert_rowid();
        self.added = true;
        self.know_source(number, Arc::clone(name));
        Ok(number)
    }

    /// A target's numbers; new ones are written in the transaction under way.
    pub fn target(&mut self, db: &Connection, target: &Arc<Target>) -> rusqlite::Result<TargetNumber> {
        if let Some(number) = self.targets.get(target) {
            return Ok(*number);
        }
        self.added = true;
        let output = match self.outputs.get(&target.output) {
            Some(output) => *output,
            None => {
                db.execute("INSERT INTO outputs(name) VALUES(?)", [&*target.output])?;
                let output = db.last_insert_rowid();
                self.outputs.insert(Arc::clone(&target.output), output);
                output
            }
        };
        db.execute("INSERT INTO targets(route, output) VALUES(?, ?)", params![&*target.route, output])?;
        let number = TargetNumber { target: db.last_insert_rowid(), output };
        self.know_target(number, Arc::clone(target));
        Ok(number)
    }

    /// What was added is durable.
    pub fn keep(&mut self) {
        self.added = false;
    }

    /// The transaction was rolled back: forgets the numbers that it added.
    pub fn take_back(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.added { self.reload(db) } else { Ok(()) }
    }

    /// An output's number, where it ever had a target.
    pub fn output_number(&mut self, db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(number) = self.outputs.get(name) {
            return Ok(Some(*number));
        }
        self.reload(db)?;
        Ok(self.outputs.get(name).copied())
    }

    /// The names of all outputs that ever had a target.
    pub fn outputs(&self) -> impl Iterator<Item = (&Arc<str>, i64)> {
        self.outputs.iter().map(|(name, number)| (name, *number))
    }

    /// The source of a number; `None`: the journal has no such source.
    pub fn source_of(&mut self, db: &Connection, number: i64) -> rusqlite::Result<Option<Arc<str>>> {
        if !self.source_of.contains_key(&number) {
            self.reload(db)?;
        }
        Ok(self.source_of.get(&number).cloned())
    }

    /// The target of a number; `None`: the journal has no such target.
    pub fn target_of(&mut self, db: &Connection, number: i64) -> rusqlite::Result<Option<Arc<Target>>> {
        if !self.target_of.contains_key(&number) {
            self.reload(db)?;
        }
        Ok(self.target_of.get(&number).cloned())
    }

    fn know_source(&mut self, number: i64, name: Arc<str>) {
        self.source_of.insert(number, Arc::clone(&name));
        self.sources.insert(name, number);
    }

    fn know_target(&mut self, number: TargetNumber, target: Arc<Target>) {
        self.target_of.insert(number.target, Arc::clone(&target));
        self.targets.insert(target, number);
    }
}
