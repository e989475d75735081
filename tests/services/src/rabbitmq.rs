//! RabbitMQ with two users (one may use nothing), and TLS on a second port, where clients show a certificate. Takes
//! seconds to start: tests share one, behind a [`crate::gate::Gate`] each.

use crate::certificate::{Certificate, clients};
use crate::{Guarded, Service, install, net, pause};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "rabbitmq",
    install: Rabbit::install,
    start: || {
        let server = Rabbit::start()?;
        let lines = vec![format!("amqp://{}:{}@127.0.0.1:{}", USER, PASSWORD, server.port)];
        Ok((Box::new(server), lines))
    },
};

/// Who may all.
pub const USER: &str = "switchyard";
/// Their password.
pub const PASSWORD: &str = "made-up-rabbit-password";
/// Who is let in and may use nothing; same password.
pub const NARROW: &str = "narrow";
/// The largest message it takes, bytes.
pub const MESSAGE_MAX: usize = 256 * 1024;
/// Where Debian keeps the server's own scripts, which do not become another user.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// What its first start may take on a busy machine.
const START_MAX: Duration = Duration::from_mins(2);

/// One server.
#[derive(Debug)]
pub struct Rabbit {
    server: Option<Guarded>,
    /// Erlang's names of nodes. The server would start one that outlives it.
    _names: Guarded,
    folder: tempfile::TempDir,
    /// Without TLS.
    pub port: u16,
    /// With TLS.
    pub tls_port: u16,
    names_port: u16,
    distribution_port: u16,
    certificate: Certificate,
}

impl Rabbit {
    /// Installs Debian's.
    ///
    /// # Errors
    /// As [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["rabbitmq-server", "amqp-tools"])
    }

    /// Starts one.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::make(folder.path())?;
        let names_port = net::free_port()?;
        let mut command = Command::new(install::program("epmd", &[])?);
        command.args(["-port", &names_port.to_string(), "-address", "127.0.0.1"]);
        let mut names = Guarded::start(&command, &folder.path().join("names-log"))?;
        names.wait(Duration::from_secs(20), || net::listens(names_port).then_some(()))?;
        let (port, tls_port, distribution_port) = (net::free_port()?, net::free_port()?, net::free_port()?);
        let mut rabbit = Rabbit { server: None, _names: names, folder, port, tls_port, names_port, distribution_port, certificate };
        rabbit.configure()?;
        rabbit.come()?;
        Ok(rabbit)
    }

    fn configure(&self) -> anyhow::Result<()> {
        let (cert, key) = (self.certificate.cert.display(), self.certificate.key.display());
        let (port, tls_port, definitions) = (self.port, self.tls_port, self.file("definitions.json"));
        let config = format!(
            "listeners.tcp.default = 127.0.0.1:{port}\nlisteners.ssl.default = 127.0.0.1:{tls_port}\nssl_options.certfile = {cert}\n\
             ssl_options.keyfile = {key}\nssl_options.cacertfile = {}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\nload_definitions = {}\nmax_message_size = {MESSAGE_MAX}\n\
             disk_free_limit.absolute = 1MB\nloopback_users = none\n",
            clients(self.folder.path())?.display(),
            definitions.display()
        );
        std::fs::write(self.file("rabbitmq.conf"), config)?;
        std::fs::write(self.file("enabled_plugins"), "[].\n")?;
        std::fs::write(self.file("env.conf"), "")?;
        let user = |name: &str| serde_json::json!({ "name": name, "password": PASSWORD, "tags": "", "limits": {} });
        let right = |user: &str, all: &str| serde_json::json!({ "user": user, "vhost": "/", "configure": all, "write": all, "read": all });
        let written = serde_json::json!({
            "users": [user(USER), user(NARROW)],
            "vhosts": [{ "name": "/" }],
            "permissions": [right(USER, ".*"), right(NARROW, "^$")],
        });
        Ok(std::fs::write(definitions, written.to_string())?)
    }

    /// Starts it again where it was, with what it had kept.
    ///
    /// # Errors
    /// It does not start.
    pub fn come(&mut self) -> anyhow::Result<()> {
        let mut command = self.command("rabbitmq-server")?;
        // The server itself, with no shell of its own before it.
        command.env("RUNNING_UNDER_SYSTEMD", "1");
        let mut server = Guarded::start(&command, &self.file("log"))?;
        let port = self.port;
        server.wait(START_MAX, || net::listens(port).then_some(()))?;
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

    /// Where the certificates of [`clients`] are, by which its TLS port knows them.
    pub fn clients(&self) -> &Path {
        self.folder.path()
    }

    /// Takes one message off a queue with `amqp-get`: its body.
    ///
    /// # Errors
    /// There is none, or the program cannot be run.
    pub fn get(&self, queue: &str) -> anyhow::Result<String> {
        let mut command = Command::new(install::program("amqp-get", &[])?);
        let url = format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}", self.port);
        printed(command.args(["--url", &url, "--queue", queue]))
    }

    /// What `rabbitmqctl` prints. Takes seconds.
    ///
    /// # Errors
    /// It cannot be run, or says that it failed.
    pub fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        printed(self.command("rabbitmqctl")?.args(arguments))
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(install::program(program, &[SCRIPTS])?);
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env("RABBITMQ_NODENAME", format!("switchyard{}@localhost", self.port));
        command.env("RABBITMQ_DIST_PORT", self.distribution_port.to_string()).env("ERL_EPMD_PORT", self.names_port.to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("RABBITMQ_LOGS", "-");
        for (name, file) in [
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "logs"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_CONF_ENV_FILE", "env.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_PID_FILE", "pid"),
        ] {
            command.env(name, self.file(file));
        }
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
