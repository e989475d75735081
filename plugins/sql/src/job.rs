//! One delivery as the database gets it: a script and the values of its parameters. Made of the rendered message alone.

use crate::statement::{Dialect, Script, Statement};
use crate::url::Place;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use switchyard_api::{Handle, Message, Parcel, Preview};

/// Parameters that are there without `params`: the stable id, and the payload.
pub const GIVEN: [&str; 2] = [DELIVERY, PAYLOAD];
/// The stable id of a delivery, equal at every attempt.
pub const DELIVERY: &str = "delivery";
/// The transform's result, or the event's exact bytes as text.
pub const PAYLOAD: &str = "payload";

/// One delivery, ready to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// To settle it by.
    pub handle: Handle,
    /// The stable id.
    pub delivery: String,
    /// What to do.
    pub script: Arc<Script>,
    /// Its statements are prepared and do not run.
    pub dry: bool,
    /// Where `params` are, and the payload that a transform made.
    message: Arc<Message>,
    /// The event's exact bytes as text, where they are asked for.
    raw: Option<String>,
}

impl Job {
    /// What a parcel asks for.
    ///
    /// # Errors
    /// One line: a message that is no work for a database. It never will be.
    pub fn new(parcel: &Parcel, scripts: &Scripts) -> Result<Job, String> {
        let text = parcel.message.text("sql").ok_or("the message has no `sql`")?;
        let script = scripts.get(text)?;
        let uses = |name: &str| script.params().any(|(used, _)| used == name);
        let raw = (parcel.message.payload.is_none() && uses(PAYLOAD)).then(|| String::from_utf8(parcel.raw.to_vec()));
        let raw = raw.transpose().map_err(|_| "`:payload` is text, and this payload is not UTF-8")?;
        let job =
            Job { handle: parcel.handle, delivery: parcel.delivery.clone(), script, dry: false, message: Arc::clone(&parcel.message), raw };
        if let Some((name, _)) = job.script.params().find(|(name, _)| job.value(name).is_none()) {
            return Err(format!("the message has no value for `:{name}`"));
        }
        Ok(job)
    }

    /// A delivery that does nothing, to try the way to one.
    pub fn trial(script: Arc<Script>) -> Job {
        Job { handle: Handle(0), delivery: "switchyard-check".into(), script, dry: true, message: Arc::default(), raw: None }
    }

    /// The statements as the database takes them, with the value of each placeholder, named as in the file.
    pub fn preview(&self, place: &Place) -> Preview {
        let statements = &self.script.statements;
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.trim()).collect();
        let values = (1..).zip(statements).flat_map(|(nth, statement)| {
            let of = if statements.len() > 1 { format!(", statement {nth}") } else { String::new() };
            let pairs = (1..).zip(&statement.params).zip(self.values(statement));
            pairs.map(move |((at, (name, _)), value)| (format!("{} (:{name}{of})", place.placeholder(at)), value.to_owned()))
        });
        Preview { properties: values.collect(), body: texts.join(";\n").into(), ..Preview::new("EXECUTE", place.shown()) }
    }

    fn value(&self, name: &str) -> Option<&str> {
        match name {
            DELIVERY => Some(&self.delivery),
            PAYLOAD => self.message.payload.as_deref().or(self.raw.as_deref()),
            other => self.message.map("params")?.get(other).map(String::as_str),
        }
    }

    /// The values of a statement's placeholders, in their order.
    pub fn values<'j>(&'j self, statement: &'j Statement) -> impl Iterator<Item = &'j str> {
        // `new` saw that each is there.
        statement.params.iter().map(|(name, _)| self.value(name).unwrap_or_default())
    }
}

/// Texts that were read already.
#[derive(Debug)]
pub struct Scripts {
    dialect: Dialect,
    read: Mutex<HashMap<String, Arc<Script>>>,
}

/// Scripts kept; one more, and all are read anew.
const SCRIPTS_MAX: usize = 256;

impl Scripts {
    /// None yet.
    pub fn new(dialect: Dialect) -> Self {
        Scripts { dialect, read: Mutex::default() }
    }

    /// The script of a text.
    ///
    /// # Errors
    /// One line: what is wrong with it.
    pub fn get(&self, text: &str) -> Result<Arc<Script>, String> {
        // A poisoned map is as good as any: what it holds was whole when it was put in.
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(script) = read.get(text) {
            return Ok(Arc::clone(script));
        }
        let script = Arc::new(Script::parse(text, self.dialect).map_err(|e| e.to_string())?);
        if read.len() >= SCRIPTS_MAX {
            read.clear();
        }
        read.insert(text.to_owned(), Arc::clone(&script));
        Ok(script)
    }
}

/// What a delivery did, as the database counted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Its statements ran: the rows of each.
    Now(Vec<u64>),
    /// An attempt before did it.
    Before,
}

impl Done {
    /// The proof: `DELETE 1 row, INSERT 2 rows`.
    pub fn proof(&self, script: &Script) -> Cow<'static, str> {
        let Done::Now(rows) = self else { return "done by an attempt before".into() };
        let mut told = String::new();
        for (statement, rows) in script.statements.iter().zip(rows) {
            let comma = if told.is_empty() { "" } else { ", " };
            // Writing to a text cannot fail.
            let _ = write!(told, "{comma}{} {rows} row{}", statement.verb, if *rows == 1 { "" } else { "s" });
        }
        told.into()
    }

    /// All rows together; `None` where nothing ran now.
    pub fn rows(&self) -> Option<u64> {
        match self {
            Done::Now(rows) => Some(rows.iter().sum()),
            Done::Before => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn message(sql: &str, params: &[(&str, &str)]) -> Message {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let fields = BTreeMap::from([("sql".to_owned(), Rendered::Text(sql.to_owned())), ("params".to_owned(), Rendered::Map(params))]);
        Message { fields, ..Message::default() }
    }

    fn job(sql: &str, params: &[(&str, &str)]) -> Result<Job, String> {
        Job::new(&parcel(7, &message(sql, params)), &Scripts::new(Dialect::Sqlite))
    }

    #[test]
    fn each_placeholder_gets_its_value() {
        let job =
            job("INSERT INTO t VALUES (:b, :a, :b, :payload); DELETE FROM u WHERE d = :delivery", &[("a", "1"), ("b", ":a"), ("c", "")])
                .unwrap();
        let values: Vec<Vec<&str>> = job.script.statements.iter().map(|statement| job.values(statement).collect()).collect();
        assert_eq!(values, [vec![":a", "1", ":a", r#"{"number":7}"#], vec![&*job.delivery]]);
    }

    #[test]
    fn what_has_no_value_or_is_no_statement_is_refused() {
        assert_eq!(job("DELETE FROM t WHERE a = :a", &[]).unwrap_err(), "the message has no value for `:a`");
        assert!(job("COMMIT", &[]).unwrap_err().contains("`COMMIT`"));
        let mut odd = parcel(1, &message("SELECT :payload", &[]));
        odd.raw = vec![0xff].into();
        assert!(Job::new(&odd, &Scripts::new(Dialect::Sqlite)).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn the_proof_counts_each_statement() {
        let script = Script::parse("DELETE FROM t; INSERT INTO u SELECT 1; UPDATE t SET a = 1", Dialect::Mysql).unwrap();
        assert_eq!(Done::Now(vec![1, 2, 0]).proof(&script), "DELETE 1 row, INSERT 2 rows, UPDATE 0 rows");
        assert_eq!((Done::Now(vec![1, 2]).rows(), Done::Before.rows()), (Some(3), None));
    }
}
