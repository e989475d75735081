//! A token that is fetched, shared by all deliveries of an output, and renewed before it ends.
//!
//! One fetch is under way at a time and all wait for it; it goes on where those who waited are gone, for an answer that
//! nobody hears may be the only copy of a new refresh token. Never: fetches again by itself after a refusal. Proven here on
//! paused time, and by `tests/auth.rs` with 32 deliveries at once.

use super::endpoint::NotProven;
use super::{Auth, AuthError, google, login, oauth2};
use crate::http::client::Limits;
use crate::http::connection::Connection;
use crate::{Kit, Secret};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Taken for the lifetime where the endpoint says none; a 401 drops the token earlier.
const ASSUMED: Duration = Duration::from_mins(30);
/// How long before its end a token is renewed, at least, and
const EARLY_MIN: Duration = Duration::from_secs(30);
/// as this part of its lifetime; never more than half of it.
const EARLY_PART: u32 = 10;
/// While the endpoint is down and the token still good, it is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// What a source gave.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub token: Secret,
    /// How long it is good.
    pub lifetime: Option<Duration>,
}

/// A token in use.
#[derive(Debug, Clone)]
pub struct Token {
    /// It.
    pub value: Secret,
    /// Which one it is of this output's, to drop it by.
    pub nth: u64,
}

/// Where tokens come from.
#[derive(Debug)]
pub(super) enum Source {
    Oauth2(Box<oauth2::Fetch>),
    Login(Box<login::Fetch>),
    Google(Box<google::Fetch>),
    #[cfg(test)]
    Test(tests::Fake),
}

impl Source {
    async fn fetch(&self) -> Result<Fetched, NotProven> {
        match self {
            Source::Oauth2(fetch) => fetch.fetch().await,
            Source::Login(fetch) => fetch.fetch().await,
            Source::Google(fetch) => fetch.fetch().await,
            #[cfg(test)]
            Source::Test(fake) => fake.fetch().await,
        }
    }

    fn close(&self) {
        match self {
            Source::Oauth2(fetch) => fetch.close(),
            Source::Login(fetch) => fetch.close(),
            Source::Google(fetch) => fetch.close(),
            #[cfg(test)]
            Source::Test(_) => {}
        }
    }
}

/// The tokens of one output.
#[derive(Debug)]
pub struct Tokens(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Source,
    /// How long before its end a token is renewed, where the file says so.
    early: Option<Duration>,
    state: Mutex<State>,
}

type Heard = watch::Receiver<Option<Result<Token, NotProven>>>;

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    fetching: Option<Heard>,
    /// How many were fetched.
    count: u64,
}

#[derive(Debug)]
struct Held {
    token: Token,
    renew_at: Instant,
    ends_at: Instant,
}

impl Tokens {
    pub(super) fn new(source: Source, early: Option<Duration>) -> Self {
        Tokens(Arc::new(Shared { source, early, state: Mutex::default() }))
    }

    /// The tokens of credentials that are fetched, for protocols that carry them elsewhere than in a request; `None`: these are not
    /// fetched. Connects to nothing.
    ///
    /// # Errors
    /// What is wrong with them, as [`Auth::check`].
    pub fn of(auth: &Auth, connection: &Connection, limits: Limits, kit: &Kit) -> Result<Option<Self>, AuthError> {
        auth.check()?;
        let (source, early) = match auth {
            Auth::Oauth2(settings) => {
                (Source::Oauth2(Box::new(oauth2::Fetch::new(settings, connection, limits, kit)?)), settings.skew.map(|skew| skew.0))
            }
            Auth::Login(settings) => (Source::Login(Box::new(login::Fetch::new(settings, connection, limits, kit)?)), None),
            Auth::Google(settings) => (Source::Google(Box::new(google::Fetch::new(settings, connection, limits, kit)?)), None),
            _ => return Ok(None),
        };
        Ok(Some(Tokens::new(source, early)))
    }

    /// The token to use now, fetched if need be.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<Token, NotProven> {
        let mut heard = match self.held_or_fetching() {
            Ok(token) => return Ok(token),
            Err(heard) => heard,
        };
        match heard.wait_for(Option::is_some).await.ok().and_then(|result| result.clone()) {
            Some(result) => result,
            // Its task is gone without a word: the runtime ends.
            None => Err(NotProven::Down { why: "the fetching of a token was broken off".into(), after: None }),
        }
    }

    /// Forgets this token, for the far side does not take it. A newer one stays.
    pub fn refuse(&self, token: &Token) {
        let mut state = self.0.lock();
        if state.held.as_ref().is_some_and(|held| held.token.nth == token.nth) {
            state.held = None;
        }
    }

    /// Closes idle connections to where the tokens come from.
    pub fn close(&self) {
        self.0.source.close();
    }

    fn held_or_fetching(&self) -> Result<Token, Heard> {
        let mut state = self.0.lock();
        if let Some(held) = state.held.as_ref().filter(|held| Instant::now() < held.renew_at) {
            return Ok(held.token.clone());
        }
        // One whose sender is gone ended without a word.
        if let Some(heard) = state.fetching.as_ref().filter(|heard| heard.has_changed().is_ok()) {
            return Err(heard.clone());
        }
        let (said, heard) = watch::channel(None);
        state.fetching = Some(heard.clone());
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let fetched = shared.source.fetch().await;
            let result = shared.take(fetched);
            // Nobody listens where all who waited are gone.
            let _ = said.send(Some(result));
        });
        Err(heard)
    }
}

impl Shared {
    /// Takes what was fetched into use.
    fn take(&self, fetched: Result<Fetched, NotProven>) -> Result<Token, NotProven> {
        let now = Instant::now();
        let mut state = self.lock();
        state.fetching = None;
        match fetched {
            Ok(Fetched { token, lifetime }) => {
                state.count += 1;
                let token = Token { value: token, nth: state.count };
                let lifetime = lifetime.unwrap_or(ASSUMED);
                let early = self.early.unwrap_or_else(|| EARLY_MIN.max(lifetime / EARLY_PART)).min(lifetime / 2);
                let far = now + ASSUMED;
                let renew_at = now.checked_add(lifetime.saturating_sub(early)).unwrap_or(far);
                let ends_at = now.checked_add(lifetime).unwrap_or(far);
                state.held = Some(Held { token: token.clone(), renew_at, ends_at });
                Ok(token)
            }
            // What we have is still good.
            Err(NotProven::Down { why, after }) => match state.held.as_mut().filter(|held| now < held.ends_at) {
                Some(held) => {
                    held.renew_at = (now + AGAIN).min(held.ends_at);
                    Ok(held.token.clone())
                }
                None => Err(NotProven::Down { why, after }),
            },
            Err(refused) => {
                state.held = None;
                Err(refused)
            }
        }
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::VecDeque;
    use tokio::sync::Semaphore;

    /// Gives what it is told, once it is let.
    #[derive(Debug, Clone)]
    pub struct Fake {
        gives: Arc<Mutex<VecDeque<Result<Fetched, NotProven>>>>,
        may: Arc<Semaphore>,
    }

    impl Fake {
        fn new(gives: Vec<Result<Fetched, NotProven>>) -> Self {
            Fake { gives: Arc::new(Mutex::new(gives.into())), may: Arc::new(Semaphore::new(1000)) }
        }
        pub async fn fetch(&self) -> Result<Fetched, NotProven> {
            self.may.acquire().await.unwrap().forget();
            self.gives.lock().unwrap().pop_front().expect("fetched more often than expected")
        }
        fn left(&self) -> usize {
            self.gives.lock().unwrap().len()
        }
    }

    #[allow(clippy::unnecessary_wraps)] // stands beside those that fail
    fn good(token: &str, seconds: u64) -> Result<Fetched, NotProven> {
        Ok(Fetched { token: Secret::new(token), lifetime: Some(Duration::from_secs(seconds)) })
    }
    fn down() -> Result<Fetched, NotProven> {
        Err(NotProven::Down { why: "gone".into(), after: None })
    }
    fn tokens(fake: &Fake, early: Option<Duration>) -> Tokens {
        Tokens::new(Source::Test(fake.clone()), early)
    }
    async fn got(tokens: &Tokens) -> String {
        tokens.get().await.map_or_else(|why| why.to_string(), |token| token.value.expose().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_a_little_before_its_end() {
        for (lifetime, early, renewed_after) in
            [(3600, None, 3240), (100, None, 70), (20, None, 10), (600, Some(15), 585), (10, Some(60), 5)]
        {
            let fake = Fake::new(vec![good("a", lifetime), good("b", lifetime)]);
            let tokens = tokens(&fake, early.map(Duration::from_secs));
            assert_eq!(got(&tokens).await, "a");
            tokio::time::advance(Duration::from_secs(renewed_after - 1)).await;
            assert_eq!(got(&tokens).await, "a", "{lifetime}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(got(&tokens).await, "b", "{lifetime}");
        }
    }

    #[tokio::test]
    async fn all_wait_for_one_fetch_and_a_dropped_waiter_does_not_end_it() {
        let fake = Fake::new(vec![good("a", 60)]);
        let permits = fake.may.available_permits();
        fake.may.forget_permits(permits);
        let tokens = tokens(&fake, None);
        assert!(futures_util::FutureExt::now_or_never(tokens.get()).is_none());
        let let_go = async {
            tokio::task::yield_now().await;
            fake.may.add_permits(1);
        };
        let (all, ()) = tokio::join!(futures_util::future::join_all((0..32).map(|_| got(&tokens))), let_go);
        assert!(all.iter().all(|token| token == "a"));
        assert_eq!(fake.left(), 0);
    }

    #[tokio::test]
    async fn a_refused_token_is_dropped_once() {
        let fake = Fake::new(vec![good("a", 60), good("b", 60)]);
        let tokens = tokens(&fake, None);
        let first = tokens.get().await.unwrap();
        tokens.refuse(&first);
        assert_eq!(got(&tokens).await, "b");
        tokens.refuse(&first);
        assert_eq!(got(&tokens).await, "b", "the newer one stays");
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_endpoint_is_down_a_good_token_is_used_to_its_end() {
        let fake = Fake::new(vec![good("a", 100), down(), down(), down(), good("b", 100)]);
        let tokens = tokens(&fake, None);
        assert_eq!(got(&tokens).await, "a");
        tokio::time::advance(Duration::from_secs(75)).await;
        assert_eq!((got(&tokens).await.as_str(), got(&tokens).await.as_str(), fake.left()), ("a", "a", 3));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((got(&tokens).await.as_str(), fake.left()), ("a", 2));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(got(&tokens).await, "gone");
        assert_eq!(got(&tokens).await, "b");
    }

    #[tokio::test]
    async fn a_refusal_is_told_to_all_and_leaves_nothing() {
        let refused = NotProven::Refused { why: "no".into() };
        let fake = Fake::new(vec![Err(refused.clone()), good("a", 60)]);
        let tokens = tokens(&fake, None);
        let all = futures_util::future::join_all((0..8).map(|_| got(&tokens))).await;
        assert!(all.iter().all(|told| told == "no"));
        assert_eq!(got(&tokens).await, "a");
    }
}
