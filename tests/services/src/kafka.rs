//! Apache Kafka (KRaft): real brokers of one Java process each, fetched once with Maven.
//!
//! The jars lie in `target/services/kafka/VERSION/libs`; `cargo xtask services install kafka` puts them there. A node has listeners
//! for clients in the clear, with TLS and a client certificate, with SASL, and with SASL over TLS; further ones announce an address of
//! the test's choosing, so that a test can stand between client and broker. Users and passwords are made up.

use crate::{Guarded, Service, Started, install, net};
use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The release that is fetched.
pub const VERSION: &str = "4.3.1";
/// May do all.
pub const WRITER: (&str, &str) = ("writer", "made-up-writer-password");
/// May do what the test allows it: nothing at first.
pub const READER: (&str, &str) = ("reader", "made-up-reader-password");
/// A node of two cores that others use too takes its time.
const READY_MAX: Duration = Duration::from_secs(90);
/// Runs the command, ends it when ended, and removes the folder behind it.
const LEAVE_NOTHING: &str = r#"
folder=$1
shift
"$@" &
server=$!
trap 'kill -TERM $server' TERM
wait $server
wait $server
rm -rf "$folder"
"#;
const CLUSTER: &str = "c3dpdGNoeWFyZC10ZXN0cw";

/// Installs Maven and a Java runtime, and fetches the jars.
///
/// # Errors
/// apt-get or Maven fails.
pub fn install() -> anyhow::Result<()> {
    install::jars(&format!("Apache Kafka {VERSION}"), &pom(), &libs_folder())
}

fn pom() -> String {
    let dependency = |(group, name, version): &(&str, &str, &str)| {
        format!("<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>")
    };
    let wanted = [
        ("org.apache.kafka", "kafka_2.13", VERSION),
        ("org.apache.kafka", "kafka-tools", VERSION),
        // Its warnings, on its standard error.
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    ];
    let dependencies: String = wanted.iter().map(dependency).collect();
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>switchyard</groupId>
<artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"#
    )
}

fn libs_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services/kafka").join(VERSION).join("libs")
}

fn java(heap: &str) -> anyhow::Result<Command> {
    let libs = libs_folder();
    if !libs.is_dir() {
        bail!("Apache Kafka {VERSION} is not fetched; run `cargo xtask services install kafka`");
    }
    let mut java = Command::new(install::program("java", &[])?);
    // Quick to start: these live for seconds.
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    java.arg(heap).arg("-cp").arg(libs.join("*"));
    Ok(java)
}

/// For `cargo xtask services`.
pub const SERVICE: Service = Service { name: "kafka", install, start: by_hand };

/// Starts one for use by hand.
///
/// # Errors
/// It does not start.
pub fn by_hand() -> anyhow::Result<Started> {
    let kafka = Kafka::start(&[])?;
    let lines = vec![
        format!("brokers {} (topics are not made by themselves)", kafka.plain()),
        format!("SASL {} user {} password {}", kafka.sasl(), WRITER.0, WRITER.1),
        format!("SASL over TLS {}, CA {}", kafka.sasl_tls(), kafka.ca().display()),
    ];
    Ok((Box::new(kafka), lines))
}

/// The ports of one node.
#[derive(Debug, Clone)]
struct Ports {
    plain: u16,
    tls: u16,
    sasl: u16,
    sasl_tls: u16,
    controller: u16,
    /// Where it listens, and what it announces.
    announced: Vec<(u16, u16)>,
}

impl Ports {
    fn free(announce: &[u16]) -> std::io::Result<Self> {
        let announced = announce.iter().map(|port| Ok((net::free_port()?, *port))).collect::<std::io::Result<_>>()?;
        let free = || net::free_port();
        Ok(Ports { plain: free()?, tls: free()?, sasl: free()?, sasl_tls: free()?, controller: free()?, announced })
    }
}

/// One broker.
#[derive(Debug)]
pub struct Kafka {
    running: Option<Guarded>,
    folder: tempfile::TempDir,
    ports: Ports,
    heap: &'static str,
    /// Nobody drops it: its process removes the folder.
    lives_on: bool,
}

impl Kafka {
    /// A cluster of one. For each port of `announce` it has a listener in the clear that tells clients to come to that port.
    ///
    /// # Errors
    /// The jars are not there, or it is not ready in time.
    pub fn start(announce: &[u16]) -> anyhow::Result<Self> {
        let ports = Ports::free(announce)?;
        let voter = ports.controller;
        Self::node(1, "broker,controller", voter, ports, "-Xmx192m", false)
    }

    /// As [`start`](Self::start), for a `static`, which is never dropped: its folder goes when this process has ended.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_for_all(announce: &[u16]) -> anyhow::Result<Self> {
        let ports = Ports::free(announce)?;
        let voter = ports.controller;
        Self::node(1, "broker,controller", voter, ports, "-Xmx192m", true)
    }

    /// A cluster of two: the first is controller and broker, the second a broker alone.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_two() -> anyhow::Result<[Self; 2]> {
        let (first, second) = (Ports::free(&[])?, Ports::free(&[])?);
        let voter = first.controller;
        Ok([
            Self::node(1, "broker,controller", voter, first, "-Xmx192m", false)?,
            Self::node(2, "broker", voter, second, "-Xmx192m", false)?,
        ])
    }

    fn node(id: u8, roles: &str, voter: u16, ports: Ports, heap: &'static str, lives_on: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        certificates(folder.path())?;
        std::fs::write(folder.path().join("server.properties"), properties(id, roles, voter, &ports, folder.path())?)?;
        let mut kafka = Kafka { running: None, folder, ports, heap, lives_on };
        kafka.format()?;
        kafka.start_again()?;
        Ok(kafka)
    }

    fn format(&self) -> anyhow::Result<()> {
        let config = self.folder.path().join("server.properties");
        let mut users = vec![];
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            for (user, password) in [WRITER, READER] {
                users.extend(["--add-scram".to_owned(), format!("{mechanism}=[name={user},password={password}]")]);
            }
        }
        let mut command = java("-Xmx128m")?;
        command.arg("kafka.tools.StorageTool").args(["format", "--cluster-id", CLUSTER, "--config"]).arg(&config).args(users);
        finish(&mut command, "").map(drop)
    }

    /// Starts it on the same ports and folder after [`stop`](Self::stop) or [`kill`](Self::kill).
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = java(self.heap)?;
        command.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        if self.lives_on {
            let mut outer = Command::new("sh");
            outer.args(["-c", LEAVE_NOTHING, "leave-nothing"]).arg(self.folder.path()).arg(command.get_program()).args(command.get_args());
            command = outer;
        }
        let mut running = Guarded::start(&command, &self.folder.path().join("log"))?;
        running.wait(READY_MAX, || net::listens(self.ports.plain).then_some(()))?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends it as an operator would.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.running.take().context("it does not run")?.kill()
    }

    /// In the clear, no user.
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Where it really listens for those who come by the `nth` announced port.
    ///
    /// # Panics
    /// There are not so many.
    pub fn behind(&self, nth: usize) -> u16 {
        self.ports.announced[nth].0
    }

    /// TLS; asks for a certificate.
    pub fn tls(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// In the clear with user and password.
    pub fn sasl(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// TLS with user and password.
    pub fn sasl_tls(&self) -> String {
        format!("localhost:{}", self.ports.sasl_tls)
    }

    /// Who signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A client's certificate and key that it accepts.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("client.pem"), self.folder.path().join("client.key"))
    }

    /// Runs one of Kafka's own programs (`org.apache.kafka.tools.…`) with that input; what it prints.
    ///
    /// # Errors
    /// It fails: with what it said.
    pub fn tool(&self, class: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = java("-Xmx128m")?;
        command.arg(format!("org.apache.kafka.tools.{class}")).args(["--bootstrap-server", &self.plain()]).args(arguments);
        finish(&mut command, input)
    }
}

fn finish(command: &mut Command, input: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?} failed ({}):\n{}", output.status, String::from_utf8_lossy(&said));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Where clients come in.
struct Listener {
    name: String,
    host: &'static str,
    port: u16,
    announced: u16,
    protocol: &'static str,
}

fn properties(id: u8, roles: &str, voter: u16, ports: &Ports, folder: &Path) -> anyhow::Result<String> {
    let at = |name: &str, host, port, announced, protocol| Listener { name: name.to_owned(), host, port, announced, protocol };
    let mut listeners = vec![
        at("PLAINTEXT", "127.0.0.1", ports.plain, ports.plain, "PLAINTEXT"),
        at("TLS", "localhost", ports.tls, ports.tls, "SSL"),
        at("SASL", "127.0.0.1", ports.sasl, ports.sasl, "SASL_PLAINTEXT"),
        at("SASLTLS", "localhost", ports.sasl_tls, ports.sasl_tls, "SASL_SSL"),
    ];
    for (nth, (port, announced)) in ports.announced.iter().enumerate() {
        listeners.push(at(&format!("ANNOUNCED{nth}"), "127.0.0.1", *port, *announced, "PLAINTEXT"));
    }
    let join = |each: fn(&Listener) -> String| listeners.iter().map(each).collect::<Vec<_>>().join(",");
    let mut open = join(|at| format!("{}://{}:{}", at.name, at.host, at.port));
    if roles.contains("controller") {
        write!(open, ",CONTROLLER://127.0.0.1:{}", ports.controller)?;
    }
    let announced = join(|at| format!("{}://{}:{}", at.name, at.host, at.announced));
    let protocols = join(|at| format!("{}:{}", at.name, at.protocol)) + ",CONTROLLER:PLAINTEXT";
    let folder = folder.display();
    let users = [WRITER, READER].map(|(user, password)| format!("user_{user}=\"{password}\"")).join(" ");
    let mut text = format!(
        "process.roles={roles}\nnode.id={id}\ncontroller.quorum.voters=1@127.0.0.1:{voter}\nlisteners={open}\nadvertised.listeners={announced}\n\
         listener.security.protocol.map={protocols}\ncontroller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         log.dirs={folder}/data\nauto.create.topics.enable=false\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
         share.coordinator.state.topic.replication.factor=1\nbroker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n\
         controlled.shutdown.enable=true\nlog.cleaner.dedupe.buffer.size=2097152\nauthorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS;User:{}\nssl.keystore.type=PEM\nssl.keystore.location={folder}/server.pem\nssl.truststore.type=PEM\n\
         ssl.truststore.location={folder}/ca.pem\nlistener.name.tls.ssl.client.auth=required\n\
         listener.name.tls.ssl.principal.mapping.rules=RULE:^.*CN=writer.*$/writer/\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n",
        WRITER.0
    );
    for listener in ["sasl", "sasltls"] {
        writeln!(
            text,
            "listener.name.{listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        )?;
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            let module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            writeln!(text, "listener.name.{listener}.{mechanism}.sasl.jaas.config={module}")?;
        }
    }
    Ok(text)
}

/// An authority, the server's certificate for loopback, a client's.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(vec![])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test authority");
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&authority_key)?.pem())?;
    let authority = Issuer::new(authority, authority_key);
    let signed = |names: &[&str], common: &str| -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, common);
        Ok((params.signed_by(&key, &authority)?.pem(), key.serialize_pem()))
    };
    let (certificate, key) = signed(&["localhost", "127.0.0.1"], "broker")?;
    std::fs::write(folder.join("server.pem"), format!("{key}{certificate}"))?;
    let (certificate, key) = signed(&["writer"], WRITER.0)?;
    std::fs::write(folder.join("client.pem"), certificate)?;
    std::fs::write(folder.join("client.key"), key)?;
    Ok(())
}
