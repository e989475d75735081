//! A refresh token that each use may replace: the new one is durable before what came with it is used.
//!
//! ```text
//! load from the vault ─► ask with it ─► answer: access token, new refresh token ─► save ─► use
//!        ▲                   │ invalid_grant: ask with the former one                 │ cannot: kept in memory,
//!        └── the file's seed, where the vault has nothing or the seed changed         └─ saved first at the next try
//! ```
//!
//! The former one is kept until the new one was taken once: an endpoint that gave out a new one and then lost it (a fail-over,
//! an answer that never arrived) takes the former again, as most do for a while. Never: refreshes twice at once (`token`
//! fetches one at a time, and the vault belongs to one daemon), uses an access token whose refresh token is not kept, asks
//! more than twice in one fetch.

use super::endpoint::{Granted, NoGrant, NotProven};
use super::token::Fetched;
use crate::vault::{Entry, NOTHING, Vault, VaultError};
use crate::{Kit, Secret};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Who exchanges a refresh token for an access token.
pub(super) trait Exchange: Sync {
    fn exchange(&self, refresh: &Secret) -> impl Future<Output = Result<Granted, NoGrant>> + Send;
}

/// The refresh tokens of one output.
#[derive(Debug)]
pub(super) struct Rotation {
    key: Arc<str>,
    vault: Arc<dyn Vault>,
    seed: Option<Secret>,
    /// What could not be kept yet: the only copy there is.
    unsaved: Mutex<Option<Unsaved>>,
}

#[derive(Debug)]
struct Unsaved {
    seen: u64,
    held: Held,
    access: Fetched,
    since: Instant,
}

/// What the vault holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Held {
    token: Secret,
    /// Used to get `token`, which was not taken yet.
    former: Option<Secret>,
    /// Hash of the seed in the file when this began; `None`: a person handed `token` over, whatever the file says.
    seed: Option<String>,
}

impl Held {
    fn written(&self) -> Secret {
        let former = self.former.as_ref().map(Secret::expose);
        Secret::new(serde_json::json!({ "token": self.token.expose(), "former": former, "seed": self.seed }).to_string())
    }
}

/// What the vault holds for an output from when a person hands over a new refresh token.
pub fn logged_in(token: &Secret) -> Secret {
    Held { token: token.clone(), former: None, seed: None }.written()
}

fn hash(seed: &Secret) -> String {
    hex::encode(Sha256::digest(seed.expose().as_bytes()))
}

impl Rotation {
    pub fn new(kit: &Kit, seed: Option<Secret>) -> Self {
        Rotation { key: Arc::clone(&kit.output), vault: Arc::clone(&kit.vault), seed, unsaved: Mutex::default() }
    }

    /// A new access token, durable before it is returned. Called by one at a time.
    pub async fn fetch(&self, endpoint: &impl Exchange) -> Result<Fetched, NotProven> {
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(unsaved) = unsaved {
            return self.keep(unsaved).await;
        }
        let entry = self.vault.load(&self.key).await.map_err(|why| self.no_vault(&why))?;
        let seen = entry.as_ref().map_or(NOTHING, |entry| entry.version);
        let held = self.choose(entry)?;
        let (used, granted) = self.exchange(&held, endpoint).await?;
        let rotated = granted.refresh.as_ref().is_some_and(|new| *new != used);
        let next = Held {
            token: granted.refresh.unwrap_or_else(|| used.clone()),
            former: rotated.then_some(used),
            seed: self.seed.as_ref().map(hash).or_else(|| held.seed.clone()),
        };
        if next == held && seen != NOTHING {
            return Ok(granted.access);
        }
        self.keep(Unsaved { seen, held: next, access: granted.access, since: Instant::now() }).await
    }

    /// What to ask with.
    fn choose(&self, entry: Option<Entry>) -> Result<Held, NotProven> {
        let sown = |seed: &Secret| Held { token: seed.clone(), former: None, seed: Some(hash(seed)) };
        let Some(entry) = entry else {
            return self
                .seed
                .as_ref()
                .map(sown)
                .ok_or_else(|| NotProven::Refused { why: format!("no refresh token yet: {}", self.help()) });
        };
        let held: Held = serde_json::from_str(entry.value.expose()).map_err(|_| self.no_vault(&VaultError::Sealed))?;
        Ok(match (&held.seed, &self.seed) {
            (Some(then), Some(seed)) if *then != hash(seed) => sown(seed),
            _ => held,
        })
    }

    async fn exchange(&self, held: &Held, endpoint: &impl Exchange) -> Result<(Secret, Granted), NotProven> {
        let why = match endpoint.exchange(&held.token).await {
            Ok(granted) => return Ok((held.token.clone(), granted)),
            Err(NoGrant::Other(other)) => return Err(other),
            Err(NoGrant::Invalid(why)) => why,
        };
        if let Some(former) = &held.former {
            match endpoint.exchange(former).await {
                Ok(granted) => return Ok((former.clone(), granted)),
                Err(NoGrant::Other(down @ NotProven::Down { .. })) => return Err(down),
                Err(_) => {}
            }
        }
        Err(NotProven::Refused { why: format!("{why}; {}", self.help()) })
    }

    /// Durable first; only then is the access token anybody's.
    async fn keep(&self, unsaved: Unsaved) -> Result<Fetched, NotProven> {
        let saved = self.vault.save(&self.key, unsaved.seen, unsaved.held.written()).await;
        match saved {
            // Overtaken: a person handed over another one in the meantime, which the next refresh takes. This access token is good.
            Ok(_) => {
                let lifetime = unsaved.access.lifetime.map(|lifetime| lifetime.saturating_sub(unsaved.since.elapsed()));
                Ok(Fetched { lifetime, ..unsaved.access })
            }
            Err(why) => {
                *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(unsaved);
                Err(self.no_vault(&why))
            }
        }
    }

    fn no_vault(&self, why: &VaultError) -> NotProven {
        let why_not = format!("the refresh token of `{}` cannot be kept: {why}", self.key);
        match why {
            VaultError::Store(_) => NotProven::Down { why: why_not, after: None },
            VaultError::NoKey | VaultError::Sealed => NotProven::Refused { why: why_not },
        }
    }

    fn help(&self) -> String {
        format!("hand a new one over with `switchyard login {}`", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wall;
    use crate::conformance::vault::MemoryVault;
    use std::time::Duration;

    /// An endpoint that gives out `r1`, `r2` … and takes those it says.
    struct Endpoint {
        takes: Vec<&'static str>,
        asked: Mutex<Vec<String>>,
        rotates: bool,
    }

    impl Exchange for Endpoint {
        async fn exchange(&self, refresh: &Secret) -> Result<Granted, NoGrant> {
            self.ask(refresh)
        }
    }

    impl Endpoint {
        fn taking(takes: &[&'static str]) -> Self {
            Endpoint { takes: takes.to_vec(), asked: Mutex::default(), rotates: true }
        }
        fn ask(&self, token: &Secret) -> Result<Granted, NoGrant> {
            let mut asked = self.asked.lock().unwrap();
            asked.push(token.expose().to_owned());
            if !self.takes.contains(&token.expose()) {
                return Err(NoGrant::Invalid("invalid_grant".into()));
            }
            let refresh = self.rotates.then(|| Secret::new(format!("{}+", token.expose())));
            Ok(Granted { access: Fetched { token: Secret::new("access"), lifetime: Some(Duration::from_mins(1)) }, refresh })
        }
        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    fn rotation(vault: &MemoryVault, seed: Option<&str>) -> Rotation {
        let kit = Kit { vault: Arc::new(vault.clone()), ..Kit::new("books", "", "switchyard/0", Wall::new(|| 0)) };
        Rotation::new(&kit, seed.map(Secret::new))
    }
    async fn fetch(rotation: &Rotation, endpoint: &Endpoint) -> Result<String, NotProven> {
        let fetched = rotation.fetch(endpoint).await;
        fetched.map(|fetched| fetched.token.expose().to_owned())
    }
    fn kept(vault: &MemoryVault) -> Held {
        serde_json::from_str(vault.entry("books").unwrap().value.expose()).unwrap()
    }

    #[tokio::test]
    async fn each_new_one_is_kept_and_the_one_before_it_until_it_was_taken() {
        let (vault, endpoint) = (MemoryVault::default(), Endpoint::taking(&["s", "s+", "s++"]));
        for (token, former) in [("s+", "s"), ("s++", "s+"), ("s+++", "s++")] {
            // A new process each time: only the vault is remembered.
            fetch(&rotation(&vault, Some("s")), &endpoint).await.unwrap();
            let held = kept(&vault);
            assert_eq!((held.token.expose(), held.former.as_ref().map(Secret::expose)), (token, Some(former)));
        }
        assert_eq!(endpoint.asked(), ["s", "s+", "s++"]);
    }

    #[tokio::test]
    async fn where_the_new_one_is_not_taken_the_former_is() {
        let vault = MemoryVault::default();
        fetch(&rotation(&vault, Some("s")), &Endpoint::taking(&["s"])).await.unwrap();
        let endpoint = Endpoint::taking(&["s"]);
        fetch(&rotation(&vault, Some("s")), &endpoint).await.unwrap();
        assert_eq!(endpoint.asked(), ["s+", "s"]);
        let neither = Endpoint::taking(&[]);
        let refused = fetch(&rotation(&vault, Some("s")), &neither).await.unwrap_err();
        assert!(matches!(&refused, NotProven::Refused { why } if why.contains("switchyard login books")), "{refused:?}");
        assert_eq!(neither.asked(), ["s+", "s"], "no loop");
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_not_used_and_not_lost() {
        let (vault, endpoint) = (MemoryVault::default(), Endpoint::taking(&["s", "s+"]));
        let rotation = rotation(&vault, Some("s"));
        vault.fail(2);
        for _ in 0..2 {
            assert!(matches!(fetch(&rotation, &endpoint).await, Err(NotProven::Down { .. })));
        }
        assert_eq!(fetch(&rotation, &endpoint).await.as_deref(), Ok("access"));
        assert_eq!((endpoint.asked().len(), kept(&vault).token.expose()), (1, "s+"));
        fetch(&rotation, &endpoint).await.unwrap();
        assert_eq!(endpoint.asked(), ["s", "s+"]);
    }

    #[tokio::test]
    async fn a_seed_counts_once_unless_it_was_changed_by_hand() {
        let (vault, endpoint) = (MemoryVault::default(), Endpoint::taking(&["s", "s+", "t", "handed", "handed+"]));
        fetch(&rotation(&vault, Some("s")), &endpoint).await.unwrap();
        fetch(&rotation(&vault, Some("t")), &endpoint).await.unwrap();
        assert_eq!(endpoint.asked(), ["s", "t"]);
        // A token that a person hands over wins over the seed, now and later.
        let seen = vault.entry("books").unwrap().version;
        vault.save("books", seen, logged_in(&Secret::new("handed"))).await.unwrap();
        for _ in 0..2 {
            fetch(&rotation(&vault, Some("t")), &endpoint).await.unwrap();
        }
        assert_eq!(endpoint.asked()[2..], ["handed", "handed+"]);
    }

    #[tokio::test]
    async fn without_a_seed_a_person_is_asked_for_one() {
        let (vault, endpoint) = (MemoryVault::default(), Endpoint::taking(&["handed"]));
        let refused = fetch(&rotation(&vault, None), &endpoint).await.unwrap_err();
        assert_eq!(refused.to_string(), "no refresh token yet: hand a new one over with `switchyard login books`");
        vault.save("books", NOTHING, logged_in(&Secret::new("handed"))).await.unwrap();
        fetch(&rotation(&vault, None), &endpoint).await.unwrap();
    }

    #[tokio::test]
    async fn an_endpoint_that_does_not_rotate_costs_one_writing() {
        let (vault, mut endpoint) = (MemoryVault::default(), Endpoint::taking(&["s"]));
        endpoint.rotates = false;
        for _ in 0..3 {
            fetch(&rotation(&vault, Some("s")), &endpoint).await.unwrap();
        }
        assert_eq!((vault.writings(), endpoint.asked().len()), (1, 3));
    }

    #[tokio::test]
    async fn without_a_vault_nothing_is_asked() {
        let endpoint = Endpoint::taking(&["s"]);
        let kit = Kit::new("books", "", "switchyard/0", Wall::new(|| 0));
        let refused = fetch(&Rotation::new(&kit, Some(Secret::new("s"))), &endpoint).await.unwrap_err();
        assert!(matches!(&refused, NotProven::Refused { why } if why.contains("vault_key")), "{refused}");
        assert_eq!(endpoint.asked().len(), 0);
    }
}
