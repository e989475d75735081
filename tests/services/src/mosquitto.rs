//! Mosquitto with two users (one may only read), and TLS on a second port.

use crate::certificate::Certificate;
use crate::{Guarded, Service, install, net, pause};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "mosquitto",
    install: Mosquitto::install,
    start: || {
        let server = Mosquitto::start()?;
        let lines = vec![format!("mqtt://{}:{}@127.0.0.1:{}", USER, PASSWORD, server.port)];
        Ok((Box::new(server), lines))
    },
};

/// Who may all.
pub const USER: &str = "switchyard";
/// Their password.
pub const PASSWORD: &str = "made-up-mosquitto-password";
/// Who may read alone; same password.
pub const NARROW: &str = "narrow";
/// The largest packet it takes, bytes.
pub const PACKET_MAX: usize = 64 * 1024;
/// The topic of the message that ends a reading.
const END: &str = "orders/the-end";
/// Between the parts of a line that the reader prints.
const PART: char = '|';

/// One message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Its topic.
    pub topic: String,
    /// Its content type.
    pub content_type: String,
    /// Its user properties, `name:value` with blanks between them.
    pub properties: String,
    /// Its payload.
    pub payload: String,
}

/// One server.
#[derive(Debug)]
pub struct Mosquitto {
    server: Option<Guarded>,
    folder: tempfile::TempDir,
    /// Without TLS.
    pub port: u16,
    /// With TLS.
    pub tls_port: u16,
    certificate: Certificate,
}

impl Mosquitto {
    /// Installs Debian's.
    ///
    /// # Errors
    /// As [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["mosquitto", "mosquitto-clients"])
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
        let mut mosquitto = Mosquitto { server: None, folder, port: net::free_port()?, tls_port: net::free_port()?, certificate };
        mosquitto.configure(authority)?;
        mosquitto.come()?;
        Ok(mosquitto)
    }

    fn configure(&self, authority: Option<&Path>) -> anyhow::Result<()> {
        let passwords = self.file("passwords");
        std::fs::write(&passwords, "")?;
        for user in [USER, NARROW] {
            let mut command = Command::new(install::program("mosquitto_passwd", &[])?);
            printed(command.arg("-b").arg(&passwords).args([user, PASSWORD]))?;
        }
        std::fs::write(self.file("rights"), format!("user {USER}\ntopic readwrite #\nuser {NARROW}\ntopic read #\n"))?;
        // It would become another user, who may not read this folder.
        let root = if rustix::process::getuid().is_root() { "user root\n" } else { "" };
        let asks = authority.map(|file| format!("cafile {}\nrequire_certificate true\n", file.display())).unwrap_or_default();
        let config = format!(
            "{root}persistence true\npersistence_location {}/\nmax_queued_messages 0\nmax_packet_size {PACKET_MAX}\nallow_anonymous false\n\
             password_file {}\nacl_file {}\nlistener {} 127.0.0.1\nlistener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n{asks}",
            self.folder.path().display(),
            passwords.display(),
            self.file("rights").display(),
            self.port,
            self.tls_port,
            self.certificate.cert.display(),
            self.certificate.key.display(),
        );
        Ok(std::fs::write(self.file("mosquitto.conf"), config)?)
    }

    /// Starts it again where it was, with what it had kept.
    ///
    /// # Errors
    /// It does not start.
    pub fn come(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(install::program("mosquitto", &[])?);
        command.arg("-c").arg(self.file("mosquitto.conf"));
        let mut server = Guarded::start(&command, &self.file("log"))?;
        let port = self.port;
        server.wait(Duration::from_secs(20), || net::listens(port).then_some(()))?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends it.
    pub fn leave(&mut self) {
        self.server = None;
    }

    /// Takes what comes and answers nothing, until [`resume`](Self::resume).
    ///
    /// # Errors
    /// It is gone.
    pub fn pause(&self) -> anyhow::Result<()> {
        pause::pause(self.server.as_ref().context("it has left")?)
    }

    /// Answers again.
    ///
    /// # Errors
    /// It is gone.
    pub fn resume(&self) -> anyhow::Result<()> {
        pause::resume(self.server.as_ref().context("it has left")?)
    }

    /// The certificate that its TLS port shows.
    pub fn ca(&self) -> &Path {
        &self.certificate.cert
    }

    /// From here on the server keeps what comes to `orders/#` for [`read`](Self::read).
    ///
    /// # Errors
    /// `mosquitto_sub` cannot be run, or is refused.
    pub fn listen(&self) -> anyhow::Result<()> {
        printed(self.client("mosquitto_sub")?.args(["-c", "-i", "reader", "-q", "1", "-t", "orders/#", "-E"])).map(drop)
    }

    /// What came since the last reading, in its order.
    ///
    /// # Errors
    /// The clients cannot be run, or are refused.
    pub fn read(&self) -> anyhow::Result<Vec<Got>> {
        printed(self.client("mosquitto_pub")?.args(["-q", "1", "-t", END, "-m", "x"]))?;
        let mut command = self.client("mosquitto_sub")?;
        command.args(["-c", "-i", "reader", "-q", "1", "-t", "orders/#", "-F", &["%t", "%C", "%P", "%p"].join(&PART.to_string())]);
        let mut reader = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(reader.stdout.take().context("no output")?).lines();
        let mut all = vec![];
        for line in lines {
            let line = line?;
            let mut parts = line.splitn(4, PART).map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            let got = Got { topic: part(), content_type: part(), properties: part(), payload: part() };
            if got.topic == END {
                break;
            }
            all.push(got);
        }
        reader.kill()?;
        reader.wait()?;
        Ok(all)
    }

    fn client(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(install::program(program, &[])?);
        // A session that outlives its connection, so that nothing is lost between readings.
        command.args(["-V", "mqttv5", "-x", "3600", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-u", USER, "-P", PASSWORD]);
        Ok(command)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
