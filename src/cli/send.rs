//! `switchyard send` and `switchyard sign`: an event as its sender would send it.

use super::client::{Admin, Client, Unreachable, escape};
use super::events::print_where_it_went;
use super::post::{Answer, NoAnswer, Place, post};
use super::{Exit, block_on, check, show};
use crate::daemon::blueprint::Blueprint;
use crate::ingest::KEPT_AS;
use crate::model::{Clock, SystemClock, Timestamp};
use crate::verify::Signed;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `send` waits to see where the event went.
const WATCHED: Duration = Duration::from_secs(5);

/// A daemon that answered, but not 200.
#[derive(Debug, thiserror::Error)]
#[error("the daemon answered {status}: {why}; `switchyard refused` says more")]
pub struct NotKept {
    status: u16,
    why: String,
}

/// Signs an event as its sender would, posts it to the daemon and shows where it went.
#[derive(Debug, clap::Args)]
pub struct Send {
    #[command(flatten)]
    named: Named,
    /// As which source; with --edit that of the event.
    #[arg(long, required_unless_present = "edit")]
    source: Option<String>,
    /// A file with the body (`-`: standard input).
    #[arg(required_unless_present = "edit")]
    event: Option<PathBuf>,
    /// Opens the body of this kept event in --editor, and sends what is saved as a new event of the same source and topic.
    #[arg(long, value_name = "EVENT", conflicts_with = "event")]
    edit: Option<String>,
    /// The editor of --edit.
    #[arg(long, value_name = "COMMAND", env = "EDITOR")]
    editor: Option<String>,
    /// Posts there instead of where the daemon of --config takes events: http://HOST:PORT.
    #[arg(long, value_name = "URL", value_parser = Place::parse)]
    to: Option<Place>,
    /// Does not wait to see where it went.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Prints the headers a sender would sign an event with; and behind an empty line the query of the URL, or the body, where the sender puts a part of
/// its proof there.
#[derive(Debug, clap::Args)]
pub struct Sign {
    #[command(flatten)]
    named: Named,
    /// As which source.
    #[arg(long)]
    source: String,
    /// A file with the body (`-`: standard input).
    event: PathBuf,
    /// The configuration that has the source and its secret.
    #[arg(long, short = 'c', default_value = "routes.yaml", value_name = "FILE")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What the sender says beside the body.
#[derive(Debug, clap::Args)]
struct Named {
    /// The topic, where the sender says it in a header.
    #[arg(long)]
    topic: Option<String>,
    /// The sender's id of the event, where it says it in a header; a fresh one if not given.
    #[arg(long)]
    id: Option<String>,
}

/// The event to be sent.
struct Draft {
    source: String,
    named: Named,
    body: Vec<u8>,
}

impl Sign {
    pub fn run(self) -> Result<Exit> {
        let Some(blueprint) = check::good(&self.config)? else { return Ok(Exit::No) };
        let draft = Draft { body: read(&self.event)?, source: self.source, named: self.named };
        let Signed { headers, body, query } = draft.sign(&blueprint, SystemClock::default().wall())?;
        let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
        if self.json {
            let named = headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
            show::line(&Value::Object(named));
            if body.is_some() || query.is_some() {
                show::line(&json!({ "body": body, "query": query }));
            }
            return Ok(Exit::Done);
        }
        for (name, value) in &headers {
            show::say(&format!("{name}: {value}"));
        }
        for rest in [query.map(|query| format!("?{query}")), body].into_iter().flatten() {
            show::say(&format!("\n{rest}"));
        }
        Ok(Exit::Done)
    }
}

impl Send {
    pub fn run(self) -> Result<Exit> {
        let Some(blueprint) = check::good(&self.admin.config)? else { return Ok(Exit::No) };
        block_on(async {
            let draft = self.draft().await?;
            let Signed { mut headers, body, query } = draft.sign(&blueprint, SystemClock::default().wall())?;
            let says_what_it_is = headers.iter().any(|(name, _)| name == "content-type");
            if let Some(kind) = content_type(&draft.body).filter(|_| !says_what_it_is) {
                headers.push(("content-type".into(), kind.into()));
            }
            let path = blueprint.path_of(&draft.source).context("the source has no path")?.to_owned();
            let path = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
            let to = match &self.to {
                Some(to) => to.authority.clone(),
                None => self.events_address().await?,
            };
            let place = Place { authority: to, path };
            let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            let answered = post(&place, &headers, body.unwrap_or(draft.body).into()).await.map_err(|why| match why {
                NoAnswer::Refused(why) => Unreachable::at(&format!("http://{}", place.authority), &why.to_string()).into(),
                other => anyhow::Error::from(other).context(format!("the daemon at {}", place.authority)),
            })?;
            let answer: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
            if !(200..300).contains(&answered.status) {
                let why = answer["error"].as_str().unwrap_or("no reason given").to_owned();
                return Err(NotKept { status: answered.status, why }.into());
            }
            self.tell(&Kept::of(answer, &answered)).await
        })
    }

    async fn draft(&self) -> Result<Draft> {
        let Named { topic, id } = &self.named;
        let Some(event) = &self.edit else {
            let file = self.event.as_deref().context("name a file with the body")?;
            let source = self.source.clone().context("say as which source with --source")?;
            return Ok(Draft { source, named: Named { topic: topic.clone(), id: id.clone() }, body: read(file)? });
        };
        let page = Client::new(&self.admin)?.get(&format!("/api/feed?event={}", escape(event))).await?;
        let kept = &page["events"][0];
        let body = STANDARD.decode(kept["body"].as_str().unwrap_or_default()).context("the daemon's answer is not what it should be")?;
        let said = |name: &str| kept[name].as_str().map(str::to_owned);
        let source = self.source.clone().or_else(|| said("source")).unwrap_or_default();
        let named = Named { topic: topic.clone().or_else(|| said("topic")), id: id.clone() };
        Ok(Draft { source, named, body: edited(self.editor.as_deref(), &body)? })
    }

    async fn tell(&self, kept: &Kept) -> Result<Exit> {
        let json = self.admin.json;
        if !json {
            show::say(&kept.line());
        }
        if self.no_wait || kept.events.is_empty() {
            match &kept.answer {
                Some(answer) if json => show::line(answer),
                None if json => show::line(&json!({ "events": kept.events })),
                _ => {}
            }
            return Ok(Exit::Done);
        }
        let client = Client::new(&self.admin)?;
        for event in &kept.events {
            let found = watch(&client, event, WATCHED).await?;
            if json {
                let duplicate = kept.repeated.map(|repeated| repeated > 0);
                show::line(&json!({ "event": event, "duplicate": duplicate, "plan": found["plan"], "deliveries": found["deliveries"] }));
                continue;
            }
            if kept.events.len() > 1 {
                show::say(&format!("{event} {}", show::cell(&found["topic"])));
            }
            print_where_it_went(&found);
        }
        Ok(Exit::Done)
    }

    /// Where the daemon takes events, as it says itself: the file may leave the port to the system.
    async fn events_address(&self) -> Result<String> {
        let said = Client::new(&self.admin)?.get("/ready").await?;
        said["events"].as_str().map(str::to_owned).context("the daemon does not say where it takes events: use --to URL")
    }
}

impl Draft {
    fn sign(&self, blueprint: &Blueprint, now: Timestamp) -> Result<Signed> {
        let verifier = blueprint.verifier(&self.source).with_context(|| {
            let near = switchyard_api::problem::nearest(&self.source, blueprint.source_names());
            format!("there is no source `{}`{}", self.source, near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())
        })?;
        let id = self.named.id.clone().unwrap_or_else(|| format!("sample-{}", uuid::Uuid::now_v7().simple()));
        let draft = crate::verify::Draft { topic: self.named.topic.as_deref().unwrap_or(&self.source), id: Some(&id), body: &self.body };
        verifier.sign(&draft, now).map_err(Into::into)
    }
}

/// As what a body goes, where nobody says what it is: JSON, or a form.
pub fn content_type(body: &[u8]) -> Option<&'static str> {
    if is_json(body) {
        return Some("application/json");
    }
    let text = std::str::from_utf8(body).ok()?.trim_end();
    let is_field = |field: &str| field.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"=&%+-._*~[]".contains(&b));
    (plain && text.split('&').all(is_field)).then_some("application/x-www-form-urlencoded")
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// As what a request was kept, by its answer.
struct Kept {
    status: u16,
    events: Vec<String>,
    /// How many of them are repeats; `None` where the source answers in words of its own.
    repeated: Option<u64>,
    /// The answer itself; `None` in that case.
    answer: Option<Value>,
}

impl Kept {
    /// `answer`: the body as JSON, where it is that.
    fn of(answer: Value, answered: &Answer) -> Self {
        let texts =
            |value: &Value| value.as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect::<Vec<_>>();
        let (events, repeated) = match (answer["event"].as_str(), texts(&answer["events"])) {
            (Some(event), _) => (vec![event.to_owned()], Some(u64::from(answer["duplicate"] == true))),
            (None, events) if !events.is_empty() => (events, answer["duplicates"].as_u64()),
            _ => {
                let named = answered.headers.get(KEPT_AS).and_then(|ids| ids.to_str().ok()).unwrap_or_default();
                (named.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(), None)
            }
        };
        let answer = repeated.map(|_| answer);
        Kept { status: answered.status, events, repeated, answer }
    }

    /// What came in, in a line.
    fn line(&self) -> String {
        let repeats = match (self.repeated, self.events.len()) {
            (None | Some(0), _) => String::new(),
            (Some(_), 1) => " (a repeat of it: not delivered again)".to_owned(),
            (Some(repeats), _) => format!(" ({repeats} of them repeats: not delivered again)"),
        };
        match &self.events[..] {
            [] => format!("{} in; the answer names no event: see `switchyard events`", self.status),
            [one] => format!("{} in, kept as {one}{repeats}", self.status),
            all => format!("{} in, kept as {} events{repeats}", self.status, all.len()),
        }
    }
}

/// What a person makes of a body, in the editor of their choice. Nothing saved, or an editor that fails: nothing is sent.
fn edited(editor: Option<&str>, body: &[u8]) -> Result<Vec<u8>> {
    let editor = editor
        .filter(|editor| !editor.trim().is_empty())
        .context("say which editor with EDITOR, as `EDITOR=nano switchyard send --edit …`")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(if is_json(body) { "event.json" } else { "event.txt" });
    std::fs::write(&file, body)?;
    // As a shell would: an editor may have arguments of its own.
    let mut words = editor.split_whitespace();
    let ended = std::process::Command::new(words.next().unwrap_or_default()).args(words).arg(&file).status();
    let ended = ended.with_context(|| format!("can't start the editor `{editor}`"))?;
    anyhow::ensure!(ended.success(), "the editor `{editor}` ended with {ended}: nothing was sent");
    Ok(std::fs::read(&file)?)
}

/// A body from a file or from standard input.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut body = vec![];
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// The event with its deliveries, once none of them is on its way any more, or after a while.
pub async fn watch(client: &Client, event: &str, within: Duration) -> Result<Value> {
    let clock = SystemClock::default();
    let start = clock.now();
    loop {
        let found = client.get(&format!("/api/events/{event}")).await?;
        let rows = found["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
        let planned = found["plan"].as_array().map_or(0, Vec::len);
        let settled = rows.iter().filter(|row| row["state"] != "waiting").count();
        if settled >= planned && settled == rows.len() || clock.now().since(start) > within {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_goes_as_what_it_is() {
        for (body, kind) in [
            ("{\"a\": 1}\n", Some("application/json")),
            ("id=tr_abc", Some("application/x-www-form-urlencoded")),
            ("merges%5BEMAIL%5D=a%40b&n=1\n", Some("application/x-www-form-urlencoded")),
            ("a=b c", None),
            ("plain", None),
            ("=", None),
            ("<a href=x/>", None),
            ("", None),
        ] {
            assert_eq!(content_type(body.as_bytes()), kind, "{body}");
        }
    }
}
