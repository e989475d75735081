//! `url:` as the place of a database. Pure; no error holds anything of the URL but its scheme and the names of its parameters (L7).

use crate::statement::Dialect;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio_postgres::config::Host;

/// Where the database is.
#[derive(Clone)]
pub struct Place {
    /// How it is reached.
    pub target: Target,
    /// Whether no network lies between: a socket file, loopback, a file.
    pub local: bool,
    /// What the URL itself says of TLS (`sslmode`).
    pub tls: Option<bool>,
}

/// How a database is reached. Has no `Debug`: it holds the password.
#[derive(Clone)]
pub enum Target {
    /// A PostgreSQL server.
    Postgres(Box<tokio_postgres::Config>),
    /// A MySQL or MariaDB server.
    Mysql(mysql_async::Opts),
    /// A SQLite file, as written.
    Sqlite(PathBuf),
}

/// Why a text is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {help}")]
pub struct UrlError {
    /// One line.
    pub what: String,
    /// What to write.
    pub help: &'static str,
}

const FORMS: &str = "write `postgres://USER:PASSWORD@HOST/DATABASE`, `mysql://USER:PASSWORD@HOST/DATABASE` or `sqlite:PATH`";

impl Target {
    /// Whose SQL is spoken there.
    pub fn dialect(&self) -> Dialect {
        match self {
            Target::Postgres(_) => Dialect::Postgres,
            Target::Mysql(_) => Dialect::Mysql,
            Target::Sqlite(_) => Dialect::Sqlite,
        }
    }
}

impl Place {
    /// The hosts that are connected to over a network.
    pub fn hosts(&self) -> Vec<String> {
        let named = |host: &Host| match host {
            Host::Tcp(name) => Some(name.clone()),
            Host::Unix(_) => None,
        };
        match &self.target {
            Target::Postgres(config) => {
                config.get_hosts().iter().filter_map(named).chain(config.get_hostaddrs().iter().map(IpAddr::to_string)).collect()
            }
            Target::Mysql(opts) if opts.socket().is_none() => vec![opts.ip_or_hostname().to_owned()],
            Target::Mysql(_) | Target::Sqlite(_) => vec![],
        }
    }

    /// Which database, for people: its kind and its hosts; names, users and passwords are left out.
    pub fn shown(&self) -> String {
        let kind = match self.target.dialect() {
            Dialect::Postgres => "postgres",
            Dialect::Mysql => "mysql",
            Dialect::Sqlite => "sqlite",
        };
        let hosts = self.hosts();
        if hosts.is_empty() { kind.to_owned() } else { format!("{kind} at {}", hosts.join(", ")) }
    }

    /// The placeholder of this number, as people tell it from the others.
    pub fn placeholder(&self, nth: usize) -> String {
        match self.target.dialect() {
            Dialect::Postgres => format!("${nth}"),
            Dialect::Mysql | Dialect::Sqlite => format!("?{nth}"),
        }
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Place, UrlError> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| wrong("this is no URL of a database", FORMS))?;
        match scheme {
            "postgres" | "postgresql" => postgres(rest),
            "mysql" | "mariadb" => mysql(rest),
            "sqlite" => sqlite(rest),
            _ => Err(wrong("databases are `postgres:`, `mysql:`, `mariadb:` and `sqlite:`", FORMS)),
        }
    }
}

fn wrong(what: impl Into<String>, help: &'static str) -> UrlError {
    UrlError { what: what.into(), help }
}

fn postgres(rest: &str) -> Result<Place, UrlError> {
    let (start, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut tls = None;
    let mut kept = vec![];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("sslmode", "disable") => tls = Some(false),
            ("sslmode", "require" | "verify-ca" | "verify-full") => tls = Some(true),
            ("sslmode", _) => {
                return Err(wrong(
                    "`sslmode` leaves it to the server whether there is TLS",
                    "write `sslmode=verify-full` or `sslmode=disable`",
                ));
            }
            (name, _) if name.starts_with("ssl") => {
                return Err(wrong(format!("`{name}` stands beside the URL"), "write `tls: { ca: …, cert: …, key: … }`"));
            }
            _ => kept.push(pair),
        }
    }
    let whole = format!("postgres:{start}?{}", kept.join("&"));
    let form = "write `postgres://USER:PASSWORD@HOST:5432/DATABASE`, special characters in it as `%40`";
    let config: tokio_postgres::Config = whole.parse().map_err(|_| wrong("this is no URL of a PostgreSQL database", form))?;
    if config.get_hosts().is_empty() || config.get_user().is_none() || config.get_dbname().is_none() {
        return Err(wrong("the URL names no host, no user or no database", form));
    }
    let near = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => is_loopback(name),
    };
    let local = config.get_hosts().iter().all(near) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    Ok(Place { target: Target::Postgres(Box::new(config)), local, tls })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn mysql(rest: &str) -> Result<Place, UrlError> {
    let form = "write `mysql://USER:PASSWORD@HOST:3306/DATABASE`, special characters in it as `%40`";
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let names = || query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    if let Some(name) = names().find(|name| *name != "socket") {
        return Err(wrong(format!("`{name}` is not taken here"), "only `socket` may follow `?`; for TLS write `tls:` beside the URL"));
    }
    let opts = mysql_async::Opts::from_url(&format!("mysql:{rest}")).map_err(|_| wrong("this is no URL of a MySQL database", form))?;
    if opts.user().is_none_or(str::is_empty) || opts.db_name().is_none_or(str::is_empty) {
        return Err(wrong("the URL names no user or no database", form));
    }
    let local = opts.socket().is_some() || is_loopback(opts.ip_or_hostname());
    Ok(Place { target: Target::Mysql(opts), local, tls: None })
}

fn sqlite(rest: &str) -> Result<Place, UrlError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.contains([':', '?', '\0']) {
        return Err(wrong(
            "this is no file of a SQLite database",
            "write `sqlite:PATH`, from the folder of routes.yaml, without parameters",
        ));
    }
    Ok(Place { target: Target::Sqlite(path.into()), local: true, tls: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    #[test]
    fn each_scheme_is_its_database() {
        for (url, dialect, local, tls) in [
            ("postgres://u:p@db.example/crm", Dialect::Postgres, false, None),
            ("postgresql://u:p%40@127.0.0.1:5433/crm?sslmode=require&connect_timeout=3", Dialect::Postgres, true, Some(true)),
            ("postgres://u@%2Frun%2Fpostgresql/crm?sslmode=disable", Dialect::Postgres, true, Some(false)),
            ("postgres://u@localhost,db.example/crm", Dialect::Postgres, false, None),
            ("mysql://u:p@[::1]:3307/crm", Dialect::Mysql, true, None),
            ("mariadb://u:p@db.example/crm", Dialect::Mysql, false, None),
            ("mysql://u@db.example/crm?socket=/run/mysqld/mysqld.sock", Dialect::Mysql, true, None),
            ("sqlite:data/crm.db", Dialect::Sqlite, true, None),
        ] {
            let place = place(url);
            assert_eq!((place.target.dialect(), place.local, place.tls), (dialect, local, tls), "{url}");
        }
        for url in ["sqlite:///var/lib/crm.db", "sqlite:/var/lib/crm.db"] {
            assert!(matches!(place(url).target, Target::Sqlite(path) if path.to_str() == Some("/var/lib/crm.db")));
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (url, told) in [
            ("hush", "no URL"),
            ("oracle://u:hush@h/d", "databases are"),
            ("postgres://u:hush@h", "no database"),
            ("postgres://h:hush:1/d", "no URL"),
            ("postgres:///d?user=hush", "no host"),
            ("postgres://u:hush@h/d?sslmode=prefer", "leaves it"),
            ("postgres://u:hush@h/d?sslrootcert=hush", "beside"),
            ("mysql://u:hush@h", "no database"),
            ("mysql://u:hush@h/d?require_ssl=true", "not taken"),
            ("mysql://u:hush@:x/d", "no URL"),
            ("sqlite:", "no file"),
            ("sqlite::memory:", "no file"),
        ] {
            let Err(error) = Place::parse(url) else { panic!("{url}") };
            assert!(error.to_string().contains(told) && !error.to_string().contains("hush"), "{url}: {error}");
        }
    }
}
