//! The keys of foreign issuers: fetched over the way out, put in force at the verifier.
//!
//! When to fetch is decided by [`KeyKeeper`]; here is the fetching itself, and the waiting of requests for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use identity::{
    Asked, DISCOVERY_BYTES_MAX, Discovery, FetchProblem, ISSUERS_PER_TENANT_MAX, IssuerSettings,
    JWKS_BYTES_MAX, KEYS_KEPT_MAX, KeyKeeper, KeySet, KeyState, OneOrMore, Verifier, compact_key_set,
    key_set,
};
use outbound::{Client, Limits, Request};
use presence::{TenantId, Timestamp, UserId};
use store::{DOCUMENT_BODY_BYTES_MAX, DOCUMENT_KEY_BYTES_MAX, Document, DocumentKind, Store, StoreError};
use tokio::sync::watch;

use graph::operations::{is_application_permission, is_delegated_permission};

use crate::admin::is_own_role;
use crate::directory::Directory;
use crate::limits::ISSUER_ANSWER_TIMEOUT;

/// The issuers whose keys are fetched.
pub struct ForeignKeys {
    providers: ArcSwap<Vec<Arc<Provider>>>,
    /// Changes with them.
    changed: watch::Sender<u64>,
}

/// One issuer, whichever tenants trust it.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    /// Whether the configuration names it; if not, a tenant that was added while the server ran does.
    is_declared: bool,
    client: Client,
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
        let provider = |issuer| Arc::new(Provider::new(issuer, true, client.clone(), KeyKeeper::new(now)));
        let providers = issuers.into_iter().map(provider).collect();
        Self { providers: ArcSwap::from_pointee(providers), changed: watch::Sender::new(0) }
    }

    /// Fetches the keys of exactly these issuers besides those of the configuration, as `client` may. Those whose keys were
    /// `fetched` just now are not fetched again soon.
    pub fn follow(&self, client: &Client, issuers: &[String], fetched: &[String], now: Timestamp) {
        self.providers.rcu(|old| {
            let mut providers: Vec<Arc<Provider>> = old
                .iter()
                .filter(|provider| provider.is_declared || issuers.contains(&provider.issuer))
                .cloned()
                .collect();
            for issuer in issuers {
                if providers.iter().all(|provider| provider.issuer != *issuer) {
                    let mut keeper = KeyKeeper::new(now);
                    if fetched.contains(issuer) && keeper.begin(now) {
                        keeper.fetched(now, Ok(()));
                    }
                    providers.push(Arc::new(Provider::new(issuer.clone(), false, client.clone(), keeper)));
                }
            }
            providers
        });
        self.changed.send_modify(|count| *count += 1);
    }

    /// Believes the keys that were kept when an issuer last answered, as long as they would have been believed without a
    /// restart: an issuer that is down when the server starts stops nobody. What is kept of other issuers is forgotten.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    pub async fn restore(
        &self,
        store: &dyn Store,
        verifier: &Verifier,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut forgotten = Vec::new();
        for document in store.documents(DocumentKind::IssuerKeys).await? {
            let providers = self.providers.load();
            let provider = providers.iter().find(|provider| provider.issuer.as_bytes() == document.key);
            match (provider, read_kept(&document)) {
                (Some(provider), Some((fetched_at, keys)))
                    if now.duration_since(fetched_at) < KEYS_KEPT_MAX =>
                {
                    verifier.replace_keys(&provider.issuer, keys);
                    provider.keeper(|keeper| *keeper = KeyKeeper::with_kept(fetched_at, now));
                }
                _ => forgotten.push(Document { body: None, ..document }),
            }
        }
        if forgotten.is_empty() { Ok(()) } else { store.put_documents(forgotten).await }
    }

    pub(crate) fn providers(&self) -> Arc<Vec<Arc<Provider>>> {
        self.providers.load_full()
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How the keys of each issuer stand.
    pub fn states(&self) -> Vec<(String, KeyState)> {
        let providers = self.providers.load();
        let state =
            |provider: &Arc<Provider>| (provider.issuer.clone(), provider.keeper(|keeper| keeper.state()));
        providers.iter().map(state).collect()
    }

    /// Somebody shows a token with a key that this issuer is not known to have. True when its keys were fetched since, so
    /// that it pays to look again. Those who come meanwhile wait for the same fetch.
    pub(crate) async fn look_again(&self, issuer: &str, now: Timestamp) -> bool {
        let found = self.providers.load().iter().find(|provider| provider.issuer == issuer).cloned();
        let Some(provider) = found else { return false };
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
    fn new(issuer: String, is_declared: bool, client: Client, keeper: KeyKeeper) -> Self {
        let (ended, asked) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { issuer, is_declared, client, keeper: Mutex::new(keeper), ended, asked }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

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

/// Keys as an issuer gave them.
pub struct FetchedKeys {
    /// Read.
    pub keys: KeySet,
    document: Bytes,
}

/// Fetches an issuer's configuration, and its keys from where that says.
///
/// # Errors
/// [`FetchProblem`], in words for an operator.
pub async fn fetch_keys(client: &Client, issuer: &str) -> Result<FetchedKeys, FetchProblem> {
    let url = Discovery::url(issuer);
    let document = get(client, &url, DISCOVERY_BYTES_MAX).await?;
    let told = |url: &str, why: &dyn std::fmt::Display| FetchProblem(format!("{url}: {why}"));
    let discovery = Discovery::read(issuer, &document).map_err(|problem| told(&url, &problem))?;
    let document = get(client, &discovery.jwks_uri, JWKS_BYTES_MAX).await?;
    let keys = key_set(&document).map_err(|problem| told(&discovery.jwks_uri, &problem))?;
    Ok(FetchedKeys { keys, document })
}

/// Keeps what an issuer answered at `now`, for a start at which it does not. An issuer with a name too long for a key is not
/// kept.
///
/// # Errors
/// [`StoreError`] of the store.
pub(crate) async fn keep_keys(
    store: &dyn Store,
    issuer: &str,
    fetched: &FetchedKeys,
    now: Timestamp,
) -> Result<(), StoreError> {
    let room = DOCUMENT_BODY_BYTES_MAX - INSTANT_BYTES;
    let Ok(keys) = compact_key_set(&fetched.document, room) else { return Ok(()) };
    if issuer.len() > DOCUMENT_KEY_BYTES_MAX {
        return Ok(());
    }
    let body = [&now.as_second().to_be_bytes()[..], &keys].concat();
    let document =
        Document { kind: DocumentKind::IssuerKeys, key: issuer.as_bytes().to_vec(), body: Some(body) };
    store.put_documents(vec![document]).await
}

/// Seconds since the epoch, before the keys of a kept document.
const INSTANT_BYTES: usize = 8;

fn read_kept(document: &Document) -> Option<(Timestamp, KeySet)> {
    let (second, keys) = document.body.as_deref()?.split_at_checked(INSTANT_BYTES)?;
    let second = i64::from_be_bytes(second.try_into().ok()?);
    Some((Timestamp::from_second(second).ok()?, key_set(keys).ok()?))
}

/// What cannot be in the settings of a tenant's issuers, in words for an operator.
pub fn problems_of(issuers: &[IssuerSettings], tenant: TenantId) -> Vec<String> {
    let mut problems = Vec::new();
    if issuers.len() > ISSUERS_PER_TENANT_MAX {
        problems.push(format!("issuer: at most {ISSUERS_PER_TENANT_MAX}"));
    }
    for issuer in issuers {
        let place = format!("issuer {:?}", issuer.issuer);
        let found = issuer.trusted(tenant).err();
        problems.extend(found.into_iter().flatten().map(|problem| format!("{place}: {problem}")));
        let mapped = issuer.permission_map.values().flat_map(OneOrMore::iter);
        let is_known = |name: &&str| {
            is_application_permission(name) || is_own_role(name) || is_delegated_permission(name)
        };
        for name in mapped.filter(|name| !is_known(name)) {
            problems.push(format!("{place}: permission_map: {name:?} is not a permission that exists here"));
        }
        for name in issuer.default_scopes.iter().filter(|name| !is_delegated_permission(name)) {
            problems.push(format!("{place}: default_scopes: {name:?} is not a delegated permission"));
        }
    }
    problems
}

/// Whether the tokens of one issuer can be told apart by tenant: both must say how, in the same claim, and differ.
pub fn are_told_apart(issuer: &IssuerSettings, other: &IssuerSettings) -> bool {
    issuer.tenant_claim.is_some()
        && issuer.tenant_claim == other.tenant_claim
        && issuer.tenant_value != other.tenant_value
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
