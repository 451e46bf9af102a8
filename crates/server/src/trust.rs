//! The keys of foreign issuers: fetched over the way out, put in force at the verifier.
//!
//! When to fetch is decided by [`KeyKeeper`]; here is the fetching itself, and the waiting of requests for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use identity::{
    Asked, DISCOVERY_BYTES_MAX, Discovery, FetchProblem, JWKS_BYTES_MAX, KeyKeeper, KeySet, KeyState, key_set,
};
use outbound::{Client, Limits, Request};
use presence::{TenantId, Timestamp, UserId};
use tokio::sync::watch;

use crate::directory::Directory;
use crate::limits::ISSUER_ANSWER_TIMEOUT;

/// The issuers whose keys are fetched.
pub struct ForeignKeys {
    client: Client,
    providers: Vec<Arc<Provider>>,
}

/// One issuer, whichever tenants trust it.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    keeper: Mutex<KeyKeeper>,
    /// Counts the fetches that have ended: who waits for one waits for this to change.
    ended: watch::Sender<u64>,
    /// Changes when somebody asks for keys before they are due.
    asked: watch::Sender<u64>,
}

impl ForeignKeys {
    /// Keys of these issuers, none of them fetched yet.
    pub fn new(client: Client, issuers: impl IntoIterator<Item = String>, now: Timestamp) -> Self {
        let mut issuers: Vec<String> = issuers.into_iter().collect();
        issuers.sort_unstable();
        issuers.dedup();
        let provider = |issuer| {
            let (ended, asked) = (watch::Sender::new(0), watch::Sender::new(0));
            Arc::new(Provider { issuer, keeper: Mutex::new(KeyKeeper::new(now)), ended, asked })
        };
        Self { client, providers: issuers.into_iter().map(provider).collect() }
    }

    pub(crate) fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// How the keys of each issuer stand.
    pub fn states(&self) -> impl Iterator<Item = (&str, KeyState)> {
        self.providers.iter().map(|provider| (&*provider.issuer, provider.keeper(|keeper| keeper.state())))
    }

    /// Somebody shows a token with a key that this issuer is not known to have. True when its keys were fetched since, so
    /// that it pays to look again. Those who come meanwhile wait for the same fetch.
    pub(crate) async fn look_again(&self, issuer: &str, now: Timestamp) -> bool {
        let Some(provider) = self.providers.iter().find(|provider| provider.issuer == issuer) else {
            return false;
        };
        let mut ended = provider.ended.subscribe();
        if provider.keeper(|keeper| keeper.ask(now)) == Asked::NotNow {
            return false;
        }
        provider.asked.send_modify(|count| *count += 1);
        // Configuration and keys, one after the other.
        matches!(tokio::time::timeout(2 * ISSUER_ANSWER_TIMEOUT, ended.changed()).await, Ok(Ok(())))
    }
}

impl Provider {
    pub(crate) fn keeper<T>(&self, look: impl FnOnce(&mut KeyKeeper) -> T) -> T {
        look(&mut self.keeper.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Keeps how a fetch has ended, after its keys were put in force.
    pub(crate) fn fetched(&self, now: Timestamp, outcome: Result<(), FetchProblem>) {
        self.keeper(|keeper| keeper.fetched(now, outcome));
        self.ended.send_modify(|count| *count += 1);
    }
}

/// Fetches an issuer's configuration, and its keys from where that says.
///
/// # Errors
/// [`FetchProblem`], in words for an operator.
pub async fn fetch_keys(client: &Client, issuer: &str) -> Result<KeySet, FetchProblem> {
    let url = Discovery::url(issuer);
    let document = get(client, &url, DISCOVERY_BYTES_MAX).await?;
    let told = |url: &str, why: &dyn std::fmt::Display| FetchProblem(format!("{url}: {why}"));
    let discovery = Discovery::read(issuer, &document).map_err(|problem| told(&url, &problem))?;
    let document = get(client, &discovery.jwks_uri, JWKS_BYTES_MAX).await?;
    key_set(&document).map_err(|problem| told(&discovery.jwks_uri, &problem))
}

async fn get(client: &Client, url: &str, response_bytes: usize) -> Result<Bytes, FetchProblem> {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
    let request = Request { method: Method::GET, url, headers, body: Bytes::new() };
    let limits = Limits { time: ISSUER_ANSWER_TIMEOUT, response_bytes };
    let answer = client.send(request, limits).await;
    let answer = answer.map_err(|error| FetchProblem(format!("{url}: {error}")))?;
    match answer.status {
        StatusCode::OK => Ok(answer.body),
        // A redirect too: whoever may answer for an issuer is what its operator wrote down.
        status => Err(FetchProblem(format!("{url} answers {status}, not 200"))),
    }
}

/// How long the loop of an issuer sleeps at most: a clock that is set is noticed within this.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(60);

impl identity::People for Directory {
    fn has(&self, tenant: TenantId, user: UserId) -> bool {
        self.has_user(tenant, user)
    }

    fn by_external_id(&self, tenant: TenantId, id: &str) -> Option<UserId> {
        self.tenant(tenant)?.user_by_external_id(id)
    }

    fn by_name(&self, tenant: TenantId, name: &str) -> Option<UserId> {
        self.user_by_name(tenant, name)
    }
}
