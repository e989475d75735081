//! A mail server as a shop has one: postfix takes mail (STARTTLS, TLS, and in the clear; SASL by dovecot), dovecot keeps it and gives it
//! back over IMAP.
//!
//! Both run on configuration, queue and mailboxes in a folder of their own; nothing of the machine's own mail is read or touched.
//! Postfix's master must be root, as the machines that test are. Mailboxes are `box-<anything>@example.com` and `@example.org`; any other
//! is unknown, and `not-mine@…` may not write. Every password is [`PASSWORD`].

use crate::{Guarded, Service, install, net};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// For `cargo xtask services`.
pub const SERVICE: Service = Service { name: "mail", install, start };

/// What opens every mailbox.
pub const PASSWORD: &str = "made-up/mail:password%";
/// The largest mail that it takes, in bytes.
pub const SIZE_MAX: usize = 1 << 20;

const PACKAGES: &[&str] = &["postfix", "dovecot-imapd", "dovecot-lmtpd", "openssl", "python3"];
const PATIENCE: Duration = Duration::from_secs(30);
/// And for a greeting, before it is asked for again.
const GREETING: Duration = Duration::from_secs(2);

/// A running postfix and dovecot.
#[derive(Debug)]
pub struct Mail {
    // Dropped in this order.
    _postfix: Guarded,
    _dovecot: Guarded,
    ports: Ports,
    folder: tempfile::TempDir,
}

/// Where they listen, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Submission: STARTTLS is a must.
    pub starttls: u16,
    /// TLS from the first byte.
    pub smtps: u16,
    /// In the clear.
    pub plain: u16,
    /// IMAP.
    pub imap: u16,
    lmtp: u16,
    sasl: u16,
}

/// One mail of a mailbox as Python's `imaplib` and `email` read it.
#[derive(Debug, Clone, Deserialize)]
pub struct Received {
    /// Headers by lower-case name, decoded, one entry a header.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The text part, decoded.
    pub text: Option<String>,
    /// The HTML part, decoded.
    pub html: Option<String>,
    /// Attachments: name, type, bytes in hex.
    pub attachments: Vec<(String, String, String)>,
    /// What the reader found wrong with the form of the mail.
    pub defects: Vec<String>,
    /// As it was kept; bytes beyond ASCII as U+FFFD.
    pub raw: String,
}

impl Received {
    /// The one header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        match self.headers.get(name).map(Vec::as_slice) {
            Some([one]) => Some(one),
            _ => None,
        }
    }
}

impl Mail {
    /// Starts both and waits until they listen.
    ///
    /// # Errors
    /// They are not installed, or do not start: with what they say.
    pub fn start() -> anyhow::Result<Self> {
        if !rustix::process::getuid().is_root() {
            bail!("postfix starts as root only: run these tests as root");
        }
        let folder = tempfile::tempdir()?;
        let ports = Ports {
            starttls: net::free_port()?,
            smtps: net::free_port()?,
            plain: net::free_port()?,
            imap: net::free_port()?,
            lmtp: net::free_port()?,
            sasl: net::free_port()?,
        };
        prepare(folder.path(), ports)?;
        let mut command = Command::new(install::program("dovecot", &[])?);
        command.arg("-F").arg("-c").arg(folder.path().join("dovecot.conf"));
        let mut dovecot = Guarded::start(&command, &folder.path().join("dovecot.log"))?;
        dovecot.wait(PATIENCE, || [ports.imap, ports.lmtp, ports.sasl].into_iter().all(net::listens).then_some(()))?;
        // Makes the queue's folders.
        run(Command::new(install::program("postfix", &[])?).arg("-c").arg(folder.path().join("conf")).arg("check"))?;
        // In a session of its own: its master ends its children by their group.
        let mut command = Command::new("setsid");
        command.arg(install::program("master", &["/usr/lib/postfix/sbin"])?).arg("-d").arg("-c").arg(folder.path().join("conf"));
        let mut postfix = Guarded::start(&command, &folder.path().join("postfix.log"))?;
        // It listens before it can answer, and resets who comes in between.
        postfix.wait(PATIENCE, || (net::listens(ports.smtps) && [ports.starttls, ports.plain].into_iter().all(greets)).then_some(()))?;
        Ok(Mail { _postfix: postfix, _dovecot: dovecot, ports, folder })
    }

    /// Where they listen.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The certificate of `localhost` and 127.0.0.1, as a file of roots.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// An OAuth2 access token for a mailbox, good for an hour.
    ///
    /// # Errors
    /// There is no Python.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        python(TOKEN, &[user, TOKEN_KEY]).map(|token| token.trim().to_owned())
    }

    /// What is in a mailbox once postfix has handed on all it took, in the order in which that came there.
    ///
    /// # Errors
    /// It does not hand it on, or IMAP fails.
    pub fn read(&self, mailbox: &str) -> anyhow::Result<Vec<Received>> {
        self.wait_for_queue()?;
        let read = python(READ, &[&self.ports.imap.to_string(), mailbox, PASSWORD])?;
        serde_json::from_str(&read).context("what the IMAP client says")
    }

    fn wait_for_queue(&self) -> anyhow::Result<()> {
        let begin = now();
        loop {
            let mut command = Command::new(install::program("postqueue", &[])?);
            let queue = output(command.arg("-c").arg(self.folder.path().join("conf")).arg("-j"))?;
            if queue.trim().is_empty() {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                bail!("postfix did not hand on: {queue}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn install() -> anyhow::Result<()> {
    install::packages(PACKAGES)
}

fn start() -> anyhow::Result<(Box<dyn std::any::Any + Send>, Vec<String>)> {
    let mail = Mail::start()?;
    let Ports { starttls, smtps, plain, imap, .. } = mail.ports;
    let lines = vec![
        format!("smtp://localhost:{starttls} (STARTTLS), smtps://localhost:{smtps}, smtp://localhost:{plain}?tls=none"),
        format!("imap://localhost:{imap}; mailboxes box-*@example.com, password {PASSWORD}; certificate {}", mail.ca().display()),
    ];
    Ok((Box::new(mail), lines))
}

/// Whether a mail server says its greeting there.
fn greets(port: u16) -> bool {
    use std::io::{Read, Write};
    let greeted = || {
        let mut stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(GREETING))?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting)?;
        stream.write_all(b"QUIT\r\n")?;
        std::io::Result::Ok(greeting == *b"220 ")
    };
    greeted().unwrap_or(false)
}

fn prepare(folder: &Path, ports: Ports) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Both servers give up root and must still reach their files.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    for name in ["conf", "queue", "data", "boxes", "keys/default/HS256"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    run(Command::new("chown").arg("postfix").arg(folder.join("data")))?;
    run(Command::new("chown").arg("dovecot").arg(folder.join("boxes")))?;
    let mut certificate = Command::new("openssl");
    certificate.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    certificate.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    certificate.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(folder.join("key.pem"));
    run(certificate.arg("-out").arg(folder.join("cert.pem")))?;
    let files = [
        ("conf/main.cf", MAIN),
        ("conf/master.cf", MASTER),
        ("conf/mailboxes", "/^box-/ ok\n"),
        ("conf/senders", "/^not-mine@/ 550 5.7.1 not your address\n"),
        ("dovecot.conf", DOVECOT),
        ("oauth2.conf", OAUTH2),
        ("keys/default/HS256/default", TOKEN_KEY),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), filled(text, folder, ports))?;
    }
    Ok(())
}

fn filled(text: &str, folder: &Path, ports: Ports) -> String {
    let Ports { starttls, smtps, plain, imap, lmtp, sasl } = ports;
    let ports = [("starttls", starttls), ("smtps", smtps), ("plain", plain), ("imap", imap), ("lmtp", lmtp), ("sasl", sasl)];
    let text = text
        .replace("{folder}", &folder.to_string_lossy())
        .replace("{password}", &PASSWORD.replace('%', "%%"))
        .replace("{size}", &SIZE_MAX.to_string());
    ports.iter().fold(text, |text, (name, port)| text.replace(&format!("{{{name}}}"), &port.to_string()))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    output(command).map(|_| ())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`; run `cargo xtask services install`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn python(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    output(Command::new(install::program("python3", &[])?).args(["-c", script]).args(arguments))
}

/// The machine's clock: a server takes real time.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

const MAIN: &str = "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = example.com, example.org, xn--bcher-kva.example
virtual_mailbox_maps = regexp:{folder}/conf/mailboxes
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
message_size_limit = {size}
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_tls_cert_file = {folder}/cert.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sender_restrictions = check_sender_access regexp:{folder}/conf/senders
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
";

const MASTER: &str = "127.0.0.1:{starttls} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
127.0.0.1:{smtps} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
127.0.0.1:{plain} inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

const DOVECOT: &str = "base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2
auth_failure_delay = 0
mail_location = maildir:~/Maildir
first_valid_uid = 1
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = {folder}/oauth2.conf
}
passdb {
  driver = static
  mechanisms = plain login
  args = password={password}
}
userdb {
  driver = static
  args = uid=dovecot gid=dovecot home={folder}/boxes/%u allow_all_users=yes
}
# A wrong password slows nobody down: tests give many.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = {imap}
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = {lmtp}
  }
}
service auth {
  inet_listener sasl {
    port = {sasl}
  }
}
";

const OAUTH2: &str = "introspection_mode = local
local_validation_key_dict = fs:posix:prefix={folder}/keys/
username_attribute = email
";

/// Of the tokens, in base64.
const TOKEN_KEY: &str = "bWFkZS11cC1rZXktb2YtdGhlLXRva2Vucw==";

const TOKEN: &str = r"
import base64, hashlib, hmac, json, sys, time
user, key = sys.argv[1], base64.b64decode(sys.argv[2])
part = lambda value: base64.urlsafe_b64encode(value).rstrip(b'=')
now = int(time.time())
head = part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())
body = part(json.dumps({'sub': user, 'email': user, 'iat': now - 10, 'exp': now + 3600}).encode())
print((head + b'.' + body + b'.' + part(hmac.new(key, head + b'.' + body, hashlib.sha256).digest())).decode())
";

const READ: &str = r"
import email, email.policy, imaplib, json, sys
client = imaplib.IMAP4('127.0.0.1', int(sys.argv[1]))
client.login(sys.argv[2], sys.argv[3])
client.select('INBOX', readonly=True)
mails = []
for number in client.search(None, 'ALL')[1][0].split():
    raw = client.fetch(number, '(RFC822)')[1][0][1]
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    headers = {}
    for name, value in mail.items():
        headers.setdefault(name.lower(), []).append(str(value))
    text, html = mail.get_body(('plain',)), mail.get_body(('html',))
    part = lambda part: None if part is None else part.get_content()
    content = lambda part: part.get_payload(decode=True)
    mails.append({
        'headers': headers,
        'text': part(text),
        'html': part(html),
        'attachments': [(a.get_filename() or '', a.get_content_type(), content(a).hex()) for a in mail.iter_attachments()],
        'defects': [repr(d) for p in mail.walk() for d in list(p.defects) + [d for v in p.values() for d in v.defects]],
        'raw': raw.decode('ascii', 'replace'),
    })
client.logout()
print(json.dumps(mails))
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_another_client_sends_is_read_back() {
        let mail = Mail::start().unwrap();
        let send = r"
import smtplib, ssl, sys
port, cert, password, token = sys.argv[1:]
client = smtplib.SMTP('localhost', int(port))
client.starttls(context=ssl.create_default_context(cafile=cert))
client.login('box-1@example.com', password)
client.sendmail('shop@example.com', ['box-1@example.com'], 'Subject: one\r\n\r\ntext\r\n')
client = smtplib.SMTP('localhost', int(port))
client.starttls(context=ssl.create_default_context(cafile=cert))
client.ehlo()
client.auth('XOAUTH2', lambda challenge=None: 'user=box-1@example.com\x01auth=Bearer ' + token + '\x01\x01')
client.sendmail('shop@example.com', ['box-1@example.com'], 'Subject: two\r\n\r\ntext\r\n')
";
        let token = mail.token("box-1@example.com").unwrap();
        let port = mail.ports().starttls.to_string();
        python(send, &[&port, &mail.ca().to_string_lossy(), PASSWORD, &token]).unwrap();
        let mut subjects: Vec<_> = mail.read("box-1@example.com").unwrap().iter().map(|m| m.header("subject").map(str::to_owned)).collect();
        subjects.sort();
        assert_eq!(subjects, [Some("one".to_owned()), Some("two".to_owned())]);
    }
}
