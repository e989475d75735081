//! `switchyard subscribe`: this daemon's subscription at a sender that has an API for it, Orderchamp's GraphQL.
//!
//! What that API has is asked of itself: which mutations there are, what they take, which words are kinds of events. What is not found is
//! said, and named with a flag.

mod account;
mod api;
mod found;
mod schema;

use super::{Exit, ask, block_on, show};
use crate::config::{Environment, Process};
use account::{Account, Change, Subscription, Wanted};
use anyhow::bail;
use api::Api;
pub use api::NoAnswer;
use serde_json::{Value, json};
use std::path::Path;
use switchyard_api::Secret;
use switchyard_api::http::Url;

/// Registers this daemon at Orderchamp's GraphQL API, lists what is registered, removes it, and re-creates what the sender deleted. The
/// token is taken from the environment alone. What would be changed is shown first, and asked for.
#[derive(Debug, clap::Args)]
pub struct Subscribe {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists the account's subscriptions; changes nothing.
    List(List),
    /// Registers an address for kinds of events.
    Add(Add),
    /// Sees to it that an address has its subscription: creates what is missing, and replaces what is for other events. Changes nothing where
    /// all is as it should be, so that it can be run every hour.
    Recreate(Add),
    /// Removes a subscription.
    Remove(Remove),
}

/// Which API, and what it calls things where introspection does not find them.
#[derive(Debug, clap::Args)]
pub struct There {
    /// The API.
    #[arg(long, default_value = "https://api.orderchamp.com/v1/graphql", value_name = "URL")]
    endpoint: String,
    /// The variable that holds the API's token.
    #[arg(long, default_value = "ORDERCHAMP_TOKEN", value_name = "NAME")]
    token_env: String,
    /// The query that lists webhooks.
    #[arg(long, default_value = "webhooks", value_name = "QUERY", id = "list_query")]
    list: String,
    /// The mutation that registers one.
    #[arg(long, default_value = "webhookCreate", value_name = "MUTATION")]
    create: String,
    /// The mutation that removes one.
    #[arg(long, default_value = "webhookDelete", value_name = "MUTATION")]
    delete: String,
    /// What the address is called, where it is not found.
    #[arg(long, value_name = "FIELD")]
    url_field: Option<String>,
    /// What the kinds of events are called, where they are not found.
    #[arg(long, value_name = "FIELD")]
    events_field: Option<String>,
    /// What the template is called, where it is not found.
    #[arg(long, value_name = "FIELD")]
    template_field: Option<String>,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    there: There,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Where the sender is to post to: this daemon's source, as it is reached from outside.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The kinds of events, such as ORDER_CONFIRMED,ORDER_UPDATED.
    #[arg(long, required = true, value_delimiter = ',', value_name = "EVENT")]
    events: Vec<String>,
    /// The shape of what is sent, such as INVOICING.
    #[arg(long)]
    template: Option<String>,
    /// Another input of the API, as NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    there: There,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Its id in the list.
    id: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    there: There,
}

#[derive(Debug, clap::Args)]
struct Sure {
    /// Does it without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Shows what would be sent and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "write NAME=VALUE".to_owned())
}

impl Subscribe {
    pub fn run(self) -> anyhow::Result<Exit> {
        block_on(async {
            match self.what {
                What::List(list) => list.run().await,
                What::Add(add) => add.run(false).await,
                What::Recreate(add) => add.run(true).await,
                What::Remove(remove) => remove.run().await,
            }
        })
    }
}

impl There {
    async fn open(&self) -> anyhow::Result<Account<'_>> {
        let process = Process::beside(Path::new("."));
        let Some(token) = process.var(&self.token_env).filter(|token| !token.trim().is_empty()) else {
            bail!(
                "{0} is not set: put the API's token there, as `read -rs {0} && export {0}`; it is asked for in the sender's back office",
                self.token_env
            );
        };
        Account::open(Api::new(&self.endpoint, Secret::new(token.trim()), &self.token_env)?, self).await
    }
}

impl List {
    async fn run(&self) -> anyhow::Result<Exit> {
        let found = self.there.open().await?.list().await?;
        tell(&found, self.there.json);
        Ok(if found.is_empty() { Exit::No } else { Exit::Done })
    }
}

impl Add {
    async fn run(&self, again: bool) -> anyhow::Result<Exit> {
        reachable(&self.url)?;
        let account = self.there.open().await?;
        let here: Vec<Subscription> =
            account.list().await?.into_iter().filter(|one| one.url.as_deref() == Some(self.url.as_str())).collect();
        let wanted = Wanted { url: &self.url, events: &self.events, template: self.template.as_deref(), more: &self.set };
        let changes = if again { replacing(&account, &wanted, &here).await? } else { self.adding(&account, &wanted, &here).await? };
        if changes.is_empty() {
            if !self.there.json {
                show::say("it is there already; nothing is to be done");
            }
            tell(&here, self.there.json);
            return Ok(Exit::Done);
        }
        self.sure.make(&account, &changes, self.there.json).await
    }

    /// What an address needs that has no subscription, or one with all that is wanted.
    async fn adding(&self, account: &Account<'_>, wanted: &Wanted<'_>, here: &[Subscription]) -> anyhow::Result<Vec<Change>> {
        let has = |event: &String| here.iter().any(|one| one.events.contains(event) && account.has_template(one, wanted.template));
        if self.events.iter().all(has) {
            return Ok(vec![]);
        }
        if !here.is_empty() {
            let ids: Vec<&str> = here.iter().map(|one| one.id.as_str()).collect();
            bail!(
                "this address has a subscription for other events or with another template ({}): `subscribe recreate` replaces it",
                ids.join(", ")
            );
        }
        Ok(account.create(wanted, here).await?.0)
    }
}

/// What leaves an address with the subscriptions that are wanted and no other. The new one comes before the old one goes: between the two nothing is
/// missed, and a repeat is recognised. Where there is one too many already, because it could not be removed, that goes first, so that where nothing can
/// be removed nothing piles up.
async fn replacing(account: &Account<'_>, wanted: &Wanted<'_>, here: &[Subscription]) -> anyhow::Result<Vec<Change>> {
    let (mut there, mut all): (Vec<&String>, Vec<&String>) =
        (here.iter().flat_map(|one| &one.events).collect(), wanted.events.iter().collect());
    there.sort_unstable();
    all.sort_unstable();
    // Also where several have them together.
    if there == all && here.iter().all(|one| account.has_template(one, wanted.template)) {
        return Ok(vec![]);
    }
    let (made, as_wanted) = account.create(wanted, here).await?;
    let mut others: Vec<&Subscription> = here.iter().filter(|one| !as_wanted.contains(&one.id)).collect();
    let mut changes = vec![];
    if !made.is_empty() && others.len() > made.len() {
        let mut staying: Vec<&Subscription> = here.iter().collect();
        for one in others.clone() {
            if others.len() <= made.len() {
                break;
            }
            let is_elsewhere = |event: &&String| staying.iter().any(|other| other.id != one.id && other.events.contains(event));
            if one.events.iter().filter(|event| wanted.events.contains(event)).all(|event| is_elsewhere(&event)) {
                staying.retain(|other| other.id != one.id);
                others.retain(|other| other.id != one.id);
                changes.push(account.remove(&one.id).await?.replacing(&one.id));
            }
        }
    }
    changes.extend(made);
    for old in others {
        changes.push(account.remove(&old.id).await?.replacing(&old.id));
    }
    Ok(changes)
}

impl Remove {
    async fn run(&self) -> anyhow::Result<Exit> {
        let account = self.there.open().await?;
        let changes = [account.remove(&self.id).await?];
        self.sure.make(&account, &changes, self.there.json).await
    }
}

impl Sure {
    /// Shows what would be changed, asks, and does it.
    async fn make(&self, account: &Account<'_>, changes: &[Change], json: bool) -> anyhow::Result<Exit> {
        if !json || self.dry_run {
            for change in changes {
                let (document, variables) = (&change.operation.document, &change.operation.variables);
                if json {
                    show::line(&json!({ "query": document, "variables": variables }));
                } else {
                    show::say(&format!("would send: {}\n      with: {}", show::cell(&document.as_str().into()), show::cell(variables)));
                }
            }
        }
        if self.dry_run {
            return Ok(Exit::Done);
        }
        if !self.yes && !ask::confirmed("Send this?", "nothing was changed: there is nobody to ask; add --yes to do it, or --dry-run")? {
            show::say("nothing was changed");
            return Ok(Exit::No);
        }
        let mut is_made = false;
        for change in changes {
            let said = account.make(change).await.map_err(|why| match &change.replaced {
                Some(id) if is_made => why.context(format!(
                    "the new one is there, and `{id}`, which it replaces, could not be removed: `subscribe recreate` again tries that alone"
                )),
                Some(id) => why.context(format!("`{id}` could not be removed, and nothing was made")),
                None => why,
            })?;
            is_made |= change.replaced.is_none();
            if json {
                show::line(&said);
            } else {
                show::say(&format!("done: {}", show::cell(&said)));
            }
        }
        Ok(Exit::Done)
    }
}

/// An address that the sender would refuse, or that nobody outside can reach.
fn reachable(url: &str) -> anyhow::Result<()> {
    let parsed = Url::parse(url).map_err(|why| anyhow::anyhow!("--url {}: {why}", show::cell(&url.into())))?;
    let host = parsed.host().to_lowercase();
    if parsed.is_loopback() || host.ends_with("internal") || host.rsplit('.').next() == Some("local") {
        bail!("the sender can't reach `{host}`: give the address by which this daemon is reached from outside");
    }
    if !parsed.is_https() {
        bail!("the address is not https: what is sent could be read and changed on the way");
    }
    Ok(())
}

fn tell(found: &[Subscription], json: bool) {
    if json {
        for one in found {
            show::line(&one.whole);
        }
        return;
    }
    let rows: Vec<Value> =
        found.iter().map(|one| json!({ "id": one.id, "url": one.url, "events": one.events, "more": more(one) })).collect();
    show::rows(
        &rows,
        &[("ID", "/id"), ("URL", "/url"), ("EVENTS", "/events"), ("MORE", "/more")],
        false,
        "the account has no subscription",
    );
}

/// What else the API shows of it.
fn more(one: &Subscription) -> String {
    let known = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        value.is_null()
            || text == one.id
            || one.url.as_deref() == Some(text)
            || value.is_array()
            || one.events.iter().any(|event| event == text)
    };
    let rest = one.whole.as_object().into_iter().flatten().filter(|(name, value)| !name.starts_with("__") && !known(value));
    rest.map(|(name, value)| format!("{name}: {}", show::cell(value))).collect::<Vec<_>>().join(", ")
}
