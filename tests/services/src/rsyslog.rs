//! rsyslog, listening with and without TLS, which writes what it understood of each message as a line of JSON.

use crate::certificate::Certificate;
use crate::{Guarded, Service, install, net};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "rsyslog",
    install: Rsyslog::install,
    start: || {
        let server = Rsyslog::start()?;
        let lines = vec![format!("tcp://127.0.0.1:{}", server.port)];
        Ok((Box::new(server), lines))
    },
};

/// The largest message it takes, bytes.
pub const MESSAGE_MAX: usize = 8 * 1024;
/// The program's name in a message that ends a reading.
const END: &str = "the-end";
/// How often such a message goes round: what another connection brought before the first is read before the second.
const ROUNDS: usize = 2;

/// One server.
#[derive(Debug)]
pub struct Rsyslog {
    server: Option<Guarded>,
    folder: tempfile::TempDir,
    /// Without TLS.
    pub port: u16,
    /// With TLS.
    pub tls_port: u16,
    certificate: Certificate,
}

impl Rsyslog {
    /// Installs Debian's.
    ///
    /// # Errors
    /// As [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["rsyslog", "rsyslog-gnutls"])
    }

    /// Starts one.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::begin(None)
    }

    /// Starts one whose TLS port lets in only who shows a certificate that `authority` (PEM) signed.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn asking(authority: &Path) -> anyhow::Result<Self> {
        Self::begin(Some(authority))
    }

    fn begin(authority: Option<&Path>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::make(folder.path())?;
        let mut rsyslog = Rsyslog { server: None, folder, port: net::free_port()?, tls_port: net::free_port()?, certificate };
        rsyslog.configure(authority)?;
        rsyslog.come()?;
        Ok(rsyslog)
    }

    fn configure(&self, authority: Option<&Path>) -> anyhow::Result<()> {
        let (folder, cert, key) = (self.folder.path().display(), self.certificate.cert.display(), self.certificate.key.display());
        let believed = authority.unwrap_or(&self.certificate.cert).display();
        let asks = if authority.is_some() { "x509/certvalid" } else { "anon" };
        let field = |name: &str, property: &str| format!("property(outname=\"{name}\" name=\"{property}\" format=\"jsonf\")");
        let fields = [
            ("priority", "pri"),
            ("time", "timestamp\" dateFormat=\"rfc3339"),
            ("host", "hostname"),
            ("app", "app-name"),
            ("msgid", "msgid"),
            ("data", "structured-data"),
            ("message", "msg"),
        ];
        let fields = fields.map(|(name, property)| field(name, property)).join(" constant(value=\", \") ");
        let config = format!(
            "global(workDirectory=\"{folder}\" maxMessageSize=\"{MESSAGE_MAX}\" defaultNetstreamDriverCAFile=\"{believed}\"\n\
             defaultNetstreamDriverCertFile=\"{cert}\" defaultNetstreamDriverKeyFile=\"{key}\")\n\
             module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"{asks}\")\n\
             module(load=\"imptcp\")\n\
             input(type=\"imptcp\" port=\"{}\" address=\"127.0.0.1\")\ninput(type=\"imtcp\" port=\"{}\" address=\"127.0.0.1\")\n\
             template(name=\"json\" type=\"list\") {{ constant(value=\"{{\") {fields} constant(value=\"}}\\n\") }}\n\
             action(type=\"omfile\" file=\"{folder}/got\" template=\"json\" flushOnTXEnd=\"on\")\n",
            self.port, self.tls_port
        );
        Ok(std::fs::write(self.folder.path().join("rsyslog.conf"), config)?)
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// It does not start.
    pub fn come(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(install::program("rsyslogd", &[])?);
        command.arg("-n").arg("-f").arg(self.folder.path().join("rsyslog.conf")).arg("-i").arg(self.folder.path().join("pid"));
        let mut server = Guarded::start(&command, &self.folder.path().join("log"))?;
        let (port, tls_port) = (self.port, self.tls_port);
        server.wait(Duration::from_secs(20), || (net::listens(port) && net::listens(tls_port)).then_some(()))?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends it.
    pub fn leave(&mut self) {
        self.server = None;
    }

    /// The certificate that its TLS port shows.
    pub fn ca(&self) -> &Path {
        &self.certificate.cert
    }

    /// All that it got so far.
    ///
    /// # Errors
    /// It has left, or writes nothing.
    pub fn got(&mut self) -> anyhow::Result<Vec<serde_json::Value>> {
        for _ in 0..ROUNDS {
            let before = self.lines().len();
            let line = format!("<13>1 - - {END} - - - x");
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?.write_all(format!("{} {line}", line.len()).as_bytes())?;
            let file = self.folder.path().join("got");
            let Some(server) = &mut self.server else { anyhow::bail!("it has left") };
            let ended = |from: usize| {
                let all = std::fs::read_to_string(&file).unwrap_or_default();
                all.lines().skip(from).any(|line| line.contains(END)).then_some(())
            };
            server.wait(Duration::from_secs(20), || ended(before))?;
        }
        let read = |line: &String| serde_json::from_str::<serde_json::Value>(line).map_err(anyhow::Error::from);
        let all: Vec<_> = self.lines().iter().map(read).collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(|got| got["app"] != END).collect())
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("got")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
