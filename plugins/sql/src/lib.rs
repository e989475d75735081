//! `type: sql`: runs a statement of yours in PostgreSQL, MySQL, MariaDB or SQLite for each delivery, with the event's values bound.
//!
//! ```yaml
//! crm:
//!   type: sql
//!   url: "${CRM_DATABASE_URL}"      # postgres://USER:PASSWORD@HOST/DATABASE, mysql://…, mariadb://…, sqlite:PATH
//!   tls: { ca: tls/db-ca.pem, cert: tls/us.pem, key: tls/us.key }   # mode: verify | off; off on loopback, else verify
//!   connections: 4                  # at most
//!   once: switchyard_deliveries     # a table that remembers deliveries: a repeat does nothing
//!   min_rows: 1                     # fewer rows: undone, and the delivery is rejected
//!   sql: DELETE FROM customers WHERE shop_id = :shop                # message: a constant, several separated by `;`
//!   params: { shop: "{{ headers['x-orderchamp-account-id'] }}" }    # message: a template each
//! ```
//!
//! `sql` is sent as the file has it: a template in it is an error, and so is a name without a value or a value without a name.
//! Values are bound as `:name`, never pasted. Two names are there without `params`: `:delivery`, the stable id, equal at every
//! attempt, and `:payload`, the transform's result or the event's exact bytes as text. Every value is a text which the database
//! reads as the type it wants there, so numbers keep their digits. An empty text is an empty text; where NULL is meant write
//! `NULLIF(:name, '')`, and where PostgreSQL cannot tell the type, `:name::text`.
//!
//! Statements begin with INSERT, UPDATE, DELETE, SELECT, MERGE, REPLACE, CALL or WITH, at most 32 in one `sql`. Each delivery runs
//! whole or not at all. Up to 100 deliveries share a transaction; if one fails, the bad ones are found behind savepoints and the
//! others stay. The proof of a delivery is what was counted: `DELETE 1 row`. In MySQL an UPDATE counts the rows it found, the
//! session's `sql_mode` is strict, and tables must be InnoDB, or nothing can be undone.
//!
//! `once` makes a repeat (after an answer that got lost, a crash, a replay of the same delivery) recognisable: the id is written in
//! the same transaction. Make its table first, in any of the databases, and delete from it what is older than you retry:
//!
//! ```sql
//! CREATE TABLE switchyard_deliveries (delivery varchar(64) PRIMARY KEY, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
//! ```
//!
//! With TLS the server's certificate and name are checked: against `ca`, else against the system's roots (PostgreSQL) or Mozilla's
//! (MySQL). `sslmode` in a PostgreSQL URL may say `require`, `verify-full` (both check) or `disable`. PostgreSQL's files are read
//! again when they change; MySQL's at the next start. A SQLite file is never made.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | committed | delivered, with the rows counted |
//! | `once` knows it | delivered: done by an attempt before |
//! | a value that does not fit, a constraint, a wrong statement, fewer rows than `min_rows` (SQLSTATE 22, 23, 42, P0001) | rejected |
//! | deadlock, serialization, lock, busy, too slow (40, 55P03, 57014; 1205, 1213; SQLITE_BUSY) | retry |
//! | no address, no connection in half of `timeout`, at most 5 s, login included; shutdown, too many connections, disk full, read-only standby (08, 53, 57P01-03, 58; 1040, 1053; SQLITE_FULL, SQLITE_IOERR); connection lost before the commit | down |
//! | wrong password, certificate, database, table or rights (28, 3D000, 42P01, 42501; 1045, 1146; SQLITE_CANTOPEN, SQLITE_READONLY) | misconfigured |
//! | the commit was sent, and not answered | unknown |
//!
//! Never: pastes a value into a statement (L8), retries what it may have done, shows a password (L7). Proven by `tests/`, against the
//! real servers.

mod fault;
mod job;
mod mysql;
mod output;
mod pool;
mod postgres;
mod remote;
mod session;
mod sqlite;
mod statement;
mod tls;
mod url;

use serde::Deserialize;
use switchyard_api::escape::Escape;
use switchyard_api::problem::nearest;
use switchyard_api::stream::refused_host;
use switchyard_api::tls::Tls;
use switchyard_api::tree::Key;
use switchyard_api::{At, Confine, ConnectError, Field, Kind, Kit, Node, Parcel, Preview, Problem, Secret, Shape, Written};

use job::{GIVEN, Job, Scripts};
use mysql::Mysql;
use output::Database;
use postgres::Postgres;
use remote::Remote;
use sqlite::Sqlite;
use statement::Script;
use url::{Place, Target};

pub use output::{BATCH_MAX, SqlOutput};
pub use tls::{Mode, TlsSection};

/// Connections where the file says nothing.
pub const CONNECTIONS: u16 = 4;
/// Most connections of one output.
const CONNECTIONS_MAX: u16 = 64;

/// Settings of a SQL output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Which database: `postgres://`, `mysql://`, `mariadb://` or `sqlite:PATH`. A secret.
    pub url: At<Secret>,
    /// Whom to believe, and who we are.
    #[serde(default)]
    pub tls: Option<At<TlsSection>>,
    /// Connections at most.   default: 4
    #[serde(default)]
    pub connections: Option<At<u16>>,
    /// The table that remembers deliveries.   example: switchyard_deliveries
    #[serde(default)]
    pub once: Option<At<String>>,
    /// Rows that a delivery must touch, over all its statements, or it is undone and rejected.   default: 0
    #[serde(default)]
    pub min_rows: u64,
}

/// `sql`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sql;

impl Kind for Sql {
    type Config = Config;
    type Output = SqlOutput;

    fn name(&self) -> &'static str {
        "sql"
    }

    fn docs(&self) -> &'static str {
        "A statement in PostgreSQL, MySQL, MariaDB or SQLite for each delivery."
    }

    fn example(&self) -> &'static str {
        "{ type: sql, url: \"${DATABASE_URL}\", sql: \"INSERT INTO events (id, body) VALUES (:id, :body)\", params: { id: \"{{ id }}\", body: \"{{ raw }}\" } }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape, confine, required| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape: Escape::None,
            confine,
            required,
            default: None,
            cap: None,
        };
        vec![
            field("sql", "Write a value as `:name` in `sql`, and its template in `params`.", Shape::Text, Confine::Constant, true),
            field("params", "The values of the names in `sql`.", Shape::Map, Confine::Content, false),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let mut problems = vec![];
        match Place::parse(config.url.value.expose()) {
            Ok(place) => {
                problems.extend(place.hosts().iter().find_map(|host| refused_host(host, config.url.span)));
                judge_tls(config, &place, &mut problems);
            }
            Err(wrong) => problems.push(Problem::error("bad-url", config.url.span, wrong.what, "here").help(wrong.help)),
        }
        if let Some(connections) = config.connections.filter(|most| !(1..=CONNECTIONS_MAX).contains(&most.value)) {
            let title = format!("{} connections cannot be", connections.value);
            let problem = Problem::error("wrong-value", connections.span, title, "here");
            problems.push(problem.help(format!("write a number from 1 to {CONNECTIONS_MAX}")));
        }
        if let Some(once) = config.once.as_ref().filter(|once| !is_table(&once.value)) {
            let problem = Problem::error("bad-table", once.span, "this is not a plain name of a table", "here");
            problems.push(problem.help("write letters, digits and `_`, such as `switchyard_deliveries` or `crm.switchyard_deliveries`"));
        }
        problems
    }

    fn judge(&self, config: &Config, message: Written<'_>) -> Vec<Problem> {
        let of = |fields: &'_ [(Key, Node)]| fields.iter().position(|(key, _)| key.name == "sql");
        let (node, of_route) = match (of(message.route), of(message.output)) {
            (Some(at), _) => (&message.route[at].1, true),
            (None, Some(at)) => (&message.output[at].1, false),
            (None, None) => return vec![],
        };
        let (Some(text), Ok(place)) = (node.as_text(), Place::parse(config.url.value.expose())) else { return vec![] };
        match Script::parse(text, place.target.dialect()) {
            Ok(script) => judge_params(&script, node, of_route, message),
            Err(wrong) => {
                let title = format!("`sql` cannot be run: {}", wrong.what);
                vec![Problem::error("bad-statement", node.span, title, "here").within(wrong.within).help(wrong.help)]
            }
        }
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        let place = Place::parse(config.url.value.expose()).map_err(|wrong| wrong.what);
        Some(place.and_then(|place| Job::new(parcel, &Scripts::new(place.target.dialect())).map(|job| job.preview(&place))))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<SqlOutput, ConnectError> {
        build(&config, kit).map_err(ConnectError)
    }
}

/// A name that needs no quotes, with a schema or without.
fn is_table(name: &str) -> bool {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    name.len() <= 128 && name.split('.').count() <= 2 && name.split('.').all(plain)
}

fn judge_tls(config: &Config, place: &Place, problems: &mut Vec<Problem>) {
    let section = config.tls.clone().unwrap_or_default();
    let (tls, at) = (&section.value, section.span);
    let files = tls.ca.is_some() || tls.cert.is_some() || tls.key.is_some();
    let mut wrong = |title: &str, help: &str| problems.push(Problem::error("bad-tls", at, title, "here").help(help));
    if tls.cert.is_some() != tls.key.is_some() {
        wrong("a certificate needs its key, and a key its certificate", "write both `cert:` and `key:`");
    }
    if config.tls.is_some() && matches!(place.target, Target::Sqlite(_)) {
        wrong("a file has no TLS", "take `tls` away");
    } else if tls.mode == Some(Mode::Off) && (files || place.tls == Some(true)) {
        wrong("TLS is both demanded and off", "take `mode: off` away, or the other settings of TLS");
    } else if config.tls.is_some() && tls.mode != Some(Mode::Off) && place.tls == Some(false) {
        wrong("`tls` is set, and the URL says `sslmode=disable`", "take one of the two away");
    }
    if !place.local && !wants_tls(config, place) {
        let problem = Problem::warning("insecure-url", config.url.span, "password and data are sent in the clear", "without TLS");
        problems.push(problem.help("take `mode: off` or `sslmode=disable` away, or keep it for a network of your own"));
    }
}

/// TLS where it is asked for, and where a network lies between and nobody said otherwise.
fn wants_tls(config: &Config, place: &Place) -> bool {
    let section = config.tls.as_ref().map(|tls| tls.value.mode.unwrap_or(Mode::Verify) == Mode::Verify);
    section.or(place.tls).unwrap_or(!place.local)
}

/// Whether each name has its value, and each value its name.
fn judge_params(script: &Script, node: &Node, of_route: bool, message: Written<'_>) -> Vec<Problem> {
    let keys = |fields: &'_ [(Key, Node)]| -> Vec<Key> {
        let params = fields.iter().find(|(key, _)| key.name == "params");
        params.iter().flat_map(|(_, node)| node.entries()).map(|(key, _)| key.clone()).collect()
    };
    let (own, route) = (keys(message.output), keys(message.route));
    let names: Vec<&str> = own.iter().chain(&route).map(|key| key.name.as_str()).chain(GIVEN).collect();
    let mut problems = vec![];
    for (name, at) in script.params().filter(|(name, _)| !names.contains(name)) {
        let problem = Problem::error("unknown-param", node.span, format!("`:{name}` has no value"), "no such name in `params`").within(at);
        problems.push(match nearest(name, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `:{near}`?")).patch(format!(":{near}")),
            None => problem.help(format!("add it: `params: {{ {name}: \"{{{{ data.{name} }}}}\" }}`")),
        });
    }
    // A route with a statement of its own need not use all values of the output.
    let judged = route.iter().chain(own.iter().filter(|_| !of_route));
    for key in judged {
        let uses = || script.params().map(|(name, _)| name);
        if GIVEN.contains(&key.name.as_str()) {
            let title = format!("`:{}` is given by the daemon", key.name);
            problems.push(Problem::error("given-param", key.span, title, "not free").help("write another name, in `sql` too"));
        } else if !uses().any(|name| name == key.name) {
            let title = format!("`{}` is not used: the statement has no `:{0}`", key.name);
            let problem = Problem::error("unused-param", key.span, title, "not in `sql`").also(node.span, "the statement");
            let free = uses().filter(|name| !names.contains(name));
            problems.push(match nearest(&key.name, free) {
                Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
                None => problem.help("take it away, or use it"),
            });
        }
    }
    problems
}

fn build(config: &Config, kit: &Kit) -> Result<SqlOutput, String> {
    let place = Place::parse(config.url.value.expose()).map_err(|e| e.to_string())?;
    let files = wants_tls(config, &place).then(|| {
        let section = config.tls.as_ref().map(|tls| tls.value.clone()).unwrap_or_default();
        section.files(&kit.base)
    });
    // Read here for MySQL too, whose driver would tell of a wrong file only at its first connection.
    let tls =
        files.clone().map(|files| Tls::load(files, vec![], kit.wall.clone(), kit.roots.clone())).transpose().map_err(|e| e.to_string())?;
    let connections = usize::from(config.connections.map_or(CONNECTIONS, |most| most.value));
    let once = config.once.as_ref().map(|once| once.value.as_str());
    let scripts = Scripts::new(place.target.dialect());
    let database = match place.target {
        Target::Postgres(mut server) => {
            if server.get_application_name().is_none() {
                server.application_name(&*kit.user_agent);
            }
            Database::Postgres(Box::new(Remote::new(
                Postgres::new(*server, tls, once, kit.timeout),
                connections,
                config.min_rows,
                kit.timeout,
            )))
        }
        Target::Mysql(opts) => {
            let tls = files.map(tls::mysql);
            Database::Mysql(Box::new(Remote::new(Mysql::new(opts, tls, once, kit.timeout), connections, config.min_rows, kit.timeout)))
        }
        Target::Sqlite(path) => Database::Sqlite(Sqlite::new(kit.base.join(path), once, kit.timeout, config.min_rows)),
    };
    Ok(SqlOutput { database, scripts, timeout: kit.timeout })
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;
    use switchyard_api::problem::Severity;
    use switchyard_api::tree::{Text, Value};

    fn at<T>(start: usize, value: T) -> At<T> {
        At { span: Span { start, end: start + 5 }, value }
    }
    fn config(url: &str) -> Config {
        Config { url: at(10, Secret::new(url)), tls: None, connections: None, once: None, min_rows: 0 }
    }
    fn told(config: &Config) -> Vec<(&'static str, usize, Severity)> {
        Sql.validate(config).into_iter().map(|problem| (problem.id, problem.at.start, problem.severity)).collect()
    }
    fn node(start: usize, value: Value) -> Node {
        Node { span: Span { start, end: start + 100 }, value }
    }
    fn text(start: usize, text: &str) -> Node {
        node(start, Value::Text(Text { written: text.into(), replaced: None }))
    }
    fn key(start: usize, name: &str) -> Key {
        Key { span: Span { start, end: start + name.len() }, name: name.into() }
    }
    /// `sql` at 1,000 and `params` at 2,000, each 10 further.
    fn fields(sql: Option<&str>, params: &[&str]) -> Vec<(Key, Node)> {
        let sql = sql.map(|sql| (key(900, "sql"), text(1_000, sql)));
        let params = (0..).zip(params).map(|(i, name)| (key(2_000 + 10 * i, name), text(3_000, ""))).collect();
        sql.into_iter().chain([(key(1_900, "params"), node(2_000, Value::Map(params)))]).collect()
    }
    fn judged(output: &[(Key, Node)], route: &[(Key, Node)]) -> Vec<(&'static str, usize, Option<usize>, Option<String>)> {
        let found = Sql.judge(&config("sqlite:crm.db"), Written { output, route });
        found.into_iter().map(|p| (p.id, p.at.start, p.within.map(|within| within.start), p.patch)).collect()
    }

    #[test]
    fn good_settings_have_no_problem() {
        for url in ["postgres://u:hush@db.example/crm", "mysql://u:hush@127.0.0.1/crm", "sqlite:data/crm.db"] {
            let config = Config { once: Some(at(20, "crm.done_1".into())), connections: Some(at(30, 64)), ..config(url) };
            assert_eq!(told(&config), [], "{url}");
            assert!(!format!("{config:?}").contains("hush"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place() {
        let off = TlsSection { mode: Some(Mode::Off), ..TlsSection::default() };
        let half = TlsSection { cert: Some("us.pem".into()), ..TlsSection::default() };
        let pg = "postgres://u:hush@db.example/crm";
        for (config, expected) in [
            (config("crm.db"), ("bad-url", 10, Severity::Error)),
            (Config { connections: Some(at(30, 0)), ..config(pg) }, ("wrong-value", 30, Severity::Error)),
            (Config { once: Some(at(20, "done; --".into())), ..config(pg) }, ("bad-table", 20, Severity::Error)),
            (Config { once: Some(at(20, "a.b.c".into())), ..config(pg) }, ("bad-table", 20, Severity::Error)),
            (Config { tls: Some(at(40, off.clone())), ..config(pg) }, ("insecure-url", 10, Severity::Warning)),
            (config(&format!("{pg}?sslmode=disable")), ("insecure-url", 10, Severity::Warning)),
            (Config { tls: Some(at(40, half)), ..config(pg) }, ("bad-tls", 40, Severity::Error)),
            (Config { tls: Some(at(40, off.clone())), ..config("sqlite:crm.db") }, ("bad-tls", 40, Severity::Error)),
            (
                Config { tls: Some(at(40, TlsSection::default())), ..config("postgres://u@localhost/c?sslmode=disable") },
                ("bad-tls", 40, Severity::Error),
            ),
            (Config { tls: Some(at(40, off)), ..config("postgres://u@localhost/c?sslmode=require") }, ("bad-tls", 40, Severity::Error)),
        ] {
            assert_eq!(told(&config), [expected]);
        }
    }

    #[test]
    fn names_and_values_fit_each_other_or_are_told_where_they_do_not() {
        let sql = "DELETE FROM t WHERE a = :shop";
        assert_eq!(judged(&[], &fields(Some(sql), &["shop"])), []);
        assert_eq!(judged(&fields(Some(sql), &[]), &fields(None, &["shop"])), []);
        assert_eq!(judged(&[], &fields(Some("SELECT :delivery, :payload"), &[])), []);
        let misspelt = judged(&[], &fields(Some(sql), &["shp"]));
        assert_eq!(misspelt, [("unknown-param", 1_000, Some(24), Some(":shp".into())), ("unused-param", 2_000, None, Some("shop".into()))]);
        let odd = judged(&[], &fields(Some(sql), &["shop", "other", "payload"]));
        assert_eq!(odd, [("unused-param", 2_010, None, None), ("given-param", 2_020, None, None)]);
        assert_eq!(judged(&[], &fields(Some("DELETE FROM t; COMMIT"), &[])), [("bad-statement", 1_000, Some(15), None)]);
    }

    #[test]
    fn a_route_with_its_own_statement_need_not_use_the_outputs_values() {
        let output = fields(Some("DELETE FROM t WHERE a = :shop"), &["shop"]);
        assert_eq!(judged(&output, &fields(Some("DELETE FROM t"), &[])), []);
        assert_eq!(judged(&output, &fields(None, &["more"])), [("unused-param", 2_000, None, None)]);
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
