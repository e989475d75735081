//! From the file to what can run: every section read by the room that owns it, all problems at once.
//!
//! Drawing touches nothing: no network, no folder, no process. `check` draws, `run` and a reload draw and then build, so they
//! refuse the same things (L5).

use super::braces;
use super::credentials;
use super::foreign;
use super::hidden::{self, literal_variables};
use super::homes;
use super::outputs::{self, OutputPlan};
use super::sections::{AdminSection, EgressSection};
use super::unsigned;
use crate::config::{self, secrets::NOT_THERE};
use crate::ingest;
use crate::journal::{JournalSection, VaultKey};
use crate::model::{ConfigVersion, Headers};
use crate::route::{OutputMessage, RouteSection, Router};
use crate::trial::{Tests, Wanted};
use crate::verify::{Request, Verifier};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchyard_api::egress::Egress;
use switchyard_api::problem::{Severity, nearest};
use switchyard_api::tree::{self, Key, Value};
use switchyard_api::{AnyKind, Node, Problem, Secret, Span};

/// The sections of the file.
const SECTIONS: [&str; 7] = ["server", "journal", "egress", "sources", "routes", "outputs", "tests"];

/// A configuration that can run.
pub struct Blueprint {
    /// Names the configuration: the first digits of a hash over the text and what `${…}` put in.
    pub version: ConfigVersion,
    /// The file as it was written, without what is secret in it.
    pub written: Arc<str>,
    /// A hash of the file's text.
    pub text: [u8; 32],
    /// What is in it and must not be shown.
    pub secrets: Arc<[Secret]>,
    /// Where and how events arrive.
    pub server: ingest::Server,
    /// The admin side.
    pub admin: AdminSection,
    /// The journal's section.
    pub journal: JournalSection,
    /// The journal's file.
    pub journal_file: PathBuf,
    /// What credentials are sealed with that change while in use.
    pub vault_key: Option<Arc<VaultKey>>,
    /// The sources, ready to prove.
    pub sources: ingest::Sources,
    /// The routes.
    pub router: Arc<Router>,
    /// The outputs, in the order of the file.
    pub outputs: Vec<OutputPlan>,
    /// What the file itself expects of them.
    pub tests: Tests,
    /// Whom outputs may reach.
    pub egress: Egress,
    /// The folder that relative paths start from.
    pub base: PathBuf,
}

/// What drawing found.
pub struct Drawn {
    /// `None` if any problem is an error.
    pub blueprint: Option<Blueprint>,
    /// Everything found, in no order.
    pub problems: Vec<Problem>,
}

/// Draws what the file says.
pub fn draw(file: &config::File, kinds: &[Arc<dyn AnyKind>]) -> Drawn {
    let mut problems = file.problems.clone();
    let drawn = file.tree.as_ref().and_then(|tree| {
        let base = base(Path::new(&file.path));
        let mut pen = Pen { kinds, problems: &mut problems };
        pen.whole(tree, Named::of(file, kinds), base)
    });
    problems.extend(literal_variables(file, kinds, &problems));
    if let Some(tree) = &file.tree {
        braces::add(&mut problems, tree, kinds);
        credentials::explain(&mut problems, tree);
    }
    // What could not be put in there was told; that its place is empty now is nothing new.
    let missing: Vec<Span> = file.problems.iter().filter(|p| NOT_THERE.contains(&p.id)).map(|p| p.at).collect();
    let found = problems.split_off(file.problems.len());
    let malformed: Vec<Span> = file.problems.iter().filter(|p| p.id == "wrong-variable").map(|p| p.at).collect();
    let again = |p: &Problem| p.id == "secret-in-template" && malformed.contains(&p.at);
    problems.extend(found.into_iter().filter(|p| !missing.contains(&p.at) && !again(p)));
    let sound = problems.iter().all(|problem| problem.severity != Severity::Error);
    Drawn { blueprint: drawn.filter(|_| sound), problems }
}

/// The tests of a file that holds nothing else, of what another one defines.
pub fn tests_beside(file: &config::File, of: &config::File, kinds: &[Arc<dyn AnyKind>]) -> (Option<Tests>, Vec<Problem>) {
    let mut problems = file.problems.clone();
    let (Some(tree), Some(defined)) = (&file.tree, &of.tree) else { return (None, problems) };
    for (key, _) in tree.entries().iter().filter(|(key, _)| key.name != "tests") {
        problems.push(unknown("section", key, &["tests"]));
    }
    // What is wrong with these was told with their own file.
    let mut told = vec![];
    let mut pen = Pen { kinds, problems: &mut told };
    let nothing = Node { span: tree.span, value: Value::Null };
    let section = |name: &str| defined.get(name).unwrap_or(&nothing);
    let (_, outputs) = pen.outputs(section("outputs"), &[]);
    let sources: Vec<(Arc<str>, Span)> = section("sources").entries().iter().map(|(key, _)| (key.name.as_str().into(), key.span)).collect();
    let tests = Tests::read(tree.get("tests").unwrap_or(&nothing), Wanted { sources: &sources, outputs: &outputs }, &mut problems);
    (Some(tests), problems)
}

/// The folder of a file; relative paths in it start there.
pub fn base(file: &Path) -> PathBuf {
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn version(file: &config::File) -> ConfigVersion {
    let mut hash = Sha256::new();
    hash.update(file.text.as_bytes());
    for secret in &file.secrets {
        hash.update([0]);
        hash.update(secret.expose().as_bytes());
    }
    let digest = hash.finalize();
    ConfigVersion(u32::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

/// What is the whole file's.
struct Named {
    version: ConfigVersion,
    written: Arc<str>,
    text: [u8; 32],
    secrets: Arc<[Secret]>,
}

impl Named {
    fn of(file: &config::File, kinds: &[Arc<dyn AnyKind>]) -> Self {
        let text = Sha256::digest(file.text.as_bytes()).into();
        Named { version: version(file), written: hidden::written(file, kinds).into(), text, secrets: hidden::values(file, kinds).into() }
    }
}

impl Blueprint {
    /// One line for people: how much of what.
    pub fn summary(&self) -> String {
        use config::prose::count;
        let (sources, routes) = (self.sources.iter().count(), self.router.names().count());
        format!("{}, {}, {}", count(sources, "source"), count(routes, "route"), count(self.outputs.len(), "output"))
    }

    /// The path of a source.
    pub fn path_of(&self, source: &str) -> Option<&str> {
        self.sources.iter().find(|(_, one)| *one.name == *source).map(|(path, _)| path)
    }

    /// The proof of a source.
    pub fn verifier(&self, source: &str) -> Option<&Verifier> {
        self.sources.named(source).map(|source| &source.verifier)
    }

    /// What a source reads as the topic of an event.
    pub fn topic_of(&self, source: &str, headers: &Headers, body: &[u8]) -> Option<Arc<str>> {
        let verifier = self.verifier(source)?;
        let headers = map_of(headers);
        Some(verifier.topic(&Request {
            headers: &headers,
            body,
            peer: IpAddr::from([127, 0, 0, 1]),
            certificate: None,
            document: None,
            roots: None,
            query: "",
        }))
    }

    /// What it reads as the topic of one of several events in a request; `None`: that of the request.
    pub fn topic_of_item(&self, source: &str, headers: &Headers, body: &[u8]) -> Option<Arc<str>> {
        self.verifier(source)?.read_item(&map_of(headers), body).0
    }

    /// All sources' names.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(_, source)| &*source.name)
    }

    /// The files whose change asks for a reload, besides the configuration itself.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        self.server
            .tls
            .iter()
            .flat_map(|tls| [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca))
            .map(|file| self.base.join(file))
            .collect()
    }
}

fn map_of(headers: &Headers) -> http::HeaderMap {
    let pair = |(name, value): (&str, &[u8])| {
        Some((http::HeaderName::from_bytes(name.as_bytes()).ok()?, http::HeaderValue::from_bytes(value).ok()?))
    };
    headers.iter().filter_map(pair).collect()
}

struct Pen<'p> {
    kinds: &'p [Arc<dyn AnyKind>],
    problems: &'p mut Vec<Problem>,
}

impl Pen<'_> {
    fn whole(&mut self, tree: &Node, named: Named, base: PathBuf) -> Option<Blueprint> {
        let nothing = Node { span: Span { start: tree.span.start, end: tree.span.start }, value: Value::Map(vec![]) };
        let before = self.problems.len();
        self.unknown_sections(tree);
        let section = |name: &str| tree.get(name).filter(|node| node.value != Value::Null).unwrap_or(&nothing);
        let server = tree::read::<ingest::ServerSection>(section("server"), self.problems).and_then(|server| server.build(self.problems));
        let admin = section("server").get("admin").unwrap_or(&nothing);
        let admin = tree::read::<AdminSection>(admin, self.problems).filter(|admin| admin.check(self.problems));
        self.one_address_each(server.as_ref(), admin.as_ref());
        let journal = tree::read::<JournalSection>(section("journal"), self.problems);
        let journal_file = journal.as_ref().and_then(|journal| journal.file(&base, self.problems));
        if let Some(journal) = &journal {
            journal.check(self.problems);
        }
        let sources = self.sources(section("sources"), server.as_ref());
        if let (Some(sources), Some(server)) = (&sources, &server) {
            self.client_ca_for(section("sources"), sources, server);
        }
        let vault_key = journal.as_ref().and_then(|journal| journal.key(self.problems)).map(Arc::new);
        let egress = tree::read::<EgressSection>(section("egress"), self.problems).and_then(|egress| egress.build(self.problems));
        let (outputs, messages) = self.outputs(section("outputs"), egress.as_deref().unwrap_or_default());
        self.vault_for(outputs.as_deref().unwrap_or_default(), journal.as_ref());
        let names: Vec<(Arc<str>, Span)> =
            section("sources").entries().iter().map(|(key, _)| (key.name.as_str().into(), key.span)).collect();
        let router = self.router(tree.get("routes"), &names, section("outputs"), &messages, sources.as_ref());
        let tests = Tests::read(section("tests"), Wanted { sources: &names, outputs: &messages }, self.problems);
        let link = admin.as_ref().and_then(AdminSection::base);
        self.homeless(before, tree);
        Some(Blueprint {
            version: named.version,
            written: named.written,
            text: named.text,
            secrets: named.secrets,
            server: server?,
            admin: admin?,
            journal: journal?,
            journal_file: journal_file?,
            vault_key,
            sources: sources?,
            router: Arc::new(router?.linking_to(link.as_deref()).of_version(named.version)),
            outputs: outputs?,
            tests,
            egress: Egress::new(egress?),
            base,
        })
    }

    /// Says of each unknown key what was meant; what is told only because a section has another name is left out.
    fn homeless(&mut self, from: usize, tree: &Node) {
        let unknown: Vec<&str> = tree.entries().iter().map(|(key, _)| key.name.as_str()).filter(|name| !SECTIONS.contains(name)).collect();
        let elsewhere = |section: &str, title: &str| {
            !unknown.is_empty() && tree.get(section).is_none() || unknown.iter().any(|name| title.contains(&format!("`{name}`")))
        };
        let mut nth = 0;
        self.problems.retain(|p| {
            nth += 1;
            let section = match p.id {
                _ if nth <= from => return true,
                "unknown-output" => "outputs",
                "unknown-source" => "sources",
                _ => return true,
            };
            !elsewhere(section, &p.title)
        });
        homes::suggest(&mut self.problems[from..], tree, self.kinds);
        foreign::translate(self.problems, from, tree);
    }

    /// Events and the admin side can't have one port.
    fn one_address_each(&mut self, server: Option<&ingest::Server>, admin: Option<&AdminSection>) {
        if let (Some(server), Some(admin)) = (server, admin)
            && server.listen == admin.listen.value
            && server.listen.port() != 0
        {
            let title = format!("events and the admin side both listen on {}", server.listen);
            let problem = Problem::error("same-address", admin.listen.span, title, "taken by `server.listen`");
            self.problems.push(problem.help("give one of them another port"));
        }
    }

    fn unknown_sections(&mut self, tree: &Node) {
        if !matches!(tree.value, Value::Map(_)) {
            let title = format!("the file holds {}, not sections", tree.kind());
            self.problems.push(
                Problem::error("no-sections", tree.span, title, "here")
                    .help("write `sources:`, `routes:` and `outputs:`; `switchyard init` shows how"),
            );
        }
        for (key, _) in tree.entries().iter().filter(|(key, _)| !SECTIONS.contains(&key.name.as_str())) {
            self.problems.push(unknown("section", key, &SECTIONS));
        }
    }

    /// A source that is proven by a certificate needs a listener that proves certificates.
    fn client_ca_for(&mut self, node: &Node, sources: &ingest::Sources, server: &ingest::Server) {
        if server.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
            return;
        }
        for (key, section) in node.entries() {
            if sources.named(&key.name).is_some_and(|source| source.verifier.needs_certificate()) {
                let at = section.get("verify").map_or(key.span, |verify| verify.span);
                let title = format!("source `{}` is proven by a certificate, and nobody says who issues those", key.name);
                let problem = Problem::error("no-client-ca", at, title, "needs `server.tls.client_ca`");
                self.problems
                    .push(problem.help("add `client_ca: FILE` to `server.tls`: the PEM file of who issues the senders' certificates"));
            }
        }
    }

    fn sources(&mut self, node: &Node, server: Option<&ingest::Server>) -> Option<ingest::Sources> {
        let whole = self.is_map(node, "sources");
        let named = ingest::read_sources(node, self.problems);
        let limits = server.map(|server| server.limits.clone()).unwrap_or_default();
        ingest::Sources::build(&named, limits, self.problems).filter(|_| whole)
    }

    fn outputs(&mut self, node: &Node, egress: &[IpNet]) -> (Option<Vec<OutputPlan>>, Vec<OutputMessage>) {
        let mut whole = self.is_map(node, "outputs");
        for (key, _) in node.entries().iter().filter(|(key, _)| !good_name(&key.name)) {
            let title = format!("`{}` can't be the name of an output", crate::model::printable::Printable(&key.name));
            let problem = Problem::error("bad-name", key.span, title, "it stands in messages and metrics");
            self.problems.push(problem.help("write 1 to 64 letters, digits, `-` and `_`"));
        }
        let (mut plans, mut messages) = (vec![], vec![]);
        for (key, node) in node.entries() {
            let (plan, message) = outputs::read(key, node, self.kinds, egress, self.problems);
            whole &= plan.is_some();
            plans.extend(plan);
            messages.extend(message);
        }
        (whole.then_some(plans), messages)
    }

    /// Credentials that change while in use need a key to be kept with.
    fn vault_for(&mut self, outputs: &[OutputPlan], journal: Option<&JournalSection>) {
        if journal.is_none_or(|journal| journal.vault_key.is_some()) {
            return;
        }
        for output in outputs {
            if output.config.login().is_none() {
                continue;
            }
            let title = format!("the credentials of `{}` change while in use, and there is no key to keep them with", output.name);
            let problem = Problem::error("no-vault-key", output.at, title, "each use may replace the refresh token");
            self.problems.push(
                problem
                    .help("add `vault_key: \"${VAULT_KEY}\"` to `journal:`, and set VAULT_KEY to the output of `openssl rand -base64 32`"),
            );
        }
    }

    /// The routes. That an output is missing is not told where it is only wrong itself.
    fn router(
        &mut self,
        routes: Option<&Node>,
        sources: &[(Arc<str>, Span)],
        outputs: &Node,
        messages: &[OutputMessage],
        proven: Option<&ingest::Sources>,
    ) -> Option<Router> {
        let routes = match routes {
            Some(node) => RouteSection::read_all(node, self.problems)?,
            None => vec![],
        };
        let router = Router::build(&routes, sources, messages, self.problems);
        // A mistake can make a route look as if it took from everybody: that is mended first.
        if let Some(proven) = proven.filter(|_| self.problems.iter().all(|problem| problem.severity != Severity::Error)) {
            self.problems.extend(unsigned::warnings(&routes, messages, sources, proven));
        }
        let named =
            || routes.iter().flat_map(|route| &route.to).map(|to| &to.output).chain(messages.iter().flat_map(|message| &message.on_dead));
        let written = |at: Span| named().find(|name| name.span == at).map(|name| name.value.as_str());
        self.problems.retain(|p| p.id != "unknown-output" || written(p.at).is_none_or(|name| outputs.get(name).is_none()));
        router
    }

    /// Whether the section is a map of names.
    fn is_map(&mut self, node: &Node, section: &str) -> bool {
        let fits = matches!(node.value, Value::Map(_));
        if !fits {
            let title = format!("`{section}` holds {}, not names with their settings", node.kind());
            let help = "write each name on a line of its own, and its keys below it, indented";
            self.problems.push(Problem::error("wrong-type", node.span, title, "here").help(help));
        }
        fits
    }
}

/// Names stand in paths, ids, metrics and messages: they are kept plain.
pub fn good_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// An unknown key, with the near miss.
pub fn unknown(what: &str, key: &Key, known: &[&str]) -> Problem {
    let near = nearest(&key.name, known.iter().copied());
    let problem = Problem::error("unknown-key", key.span, format!("unknown {what} `{}`", key.name), "not a key here");
    match near {
        Some(name) => problem.help(format!("did you mean `{name}`?")).patch(name),
        None => problem.help(format!("expected one of: {}", known.join(", "))),
    }
}
