//! Tenants: for administrators of the host tenant.

use graph::GraphError;
use identity::{IssuerSettings, TrustedIssuer};
use presence::TenantId;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Request, audit, checked_name, created, no_content, reply};
use crate::app::App;
use crate::directory::{
    Directory, KeptTenant, Origin, TENANTS_MAX, TRUSTS_MAX, Tenant, drop_tenant, keep_tenant,
};
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::own::only;
use crate::trust::{FetchedKeys, are_told_apart, fetch_keys, keep_keys, problems_of};

/// Domain names of one tenant at most. Ours.
const DOMAINS_MAX: usize = 100;

/// A new tenant, or what is to change of one: members that are left out stay as they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Only of a new tenant; a new GUID when left out.
    id: Option<Uuid>,
    name: Option<String>,
    domains: Option<Vec<String>>,
    trusts: Option<Vec<Uuid>>,
    /// Issuers of its own, as in the configuration; with one, the embedded issuer is not for it.
    issuers: Option<Vec<IssuerSettings>>,
    /// `null` takes the tenant's own limit back.
    #[serde(default, deserialize_with = "some")]
    requests_per_30_seconds: Option<Option<u32>>,
}

/// Tells null from nothing.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl App {
    /// `GET tenants`, `POST tenants`.
    pub(super) async fn all_tenants(&self, request: &mut Request<'_>) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "POST"], || Ok(()))?;
        if request.method() == "POST" {
            return self.add_tenant(request).await;
        }
        let directory = self.directory();
        let mut tenants: Vec<_> = directory.tenants().collect();
        tenants.sort_unstable_by_key(|(id, _)| *id);
        let tenants: Vec<Value> = tenants.into_iter().map(|(id, tenant)| describe(id, tenant)).collect();
        Ok(reply(&json!({ "value": tenants })))
    }

    async fn add_tenant(&self, request: &mut Request<'_>) -> Result<Reply, Refusal> {
        let settings: Settings = request.json().await?;
        let id = TenantId::from_u128(settings.id.unwrap_or_else(|| self.ids.guid()).as_u128());
        let mut kept =
            KeptTenant { name: checked_name(settings.name.clone(), "Name")?, ..KeptTenant::default() };
        let fetched = self.ask_issuers(settings.issuers.as_deref().unwrap_or_default(), id).await?;
        let _turn = self.directory_change.lock().await;
        if self.directory().tenant(id).is_some() {
            return Err(GraphError::conflict(format!("There is a tenant {id} already.")).into());
        }
        if self.directory().tenants().len() >= TENANTS_MAX {
            return Err(GraphError::conflict(format!("There are at most {TENANTS_MAX} tenants.")).into());
        }
        settings.change(&mut kept, id, &self.directory())?;
        keep_tenant(self.engine.store().as_ref(), id, &kept).await?;
        self.put_tenant(id, kept.to_tenant());
        self.believe_issuers(id, fetched).await;
        audit(request.visitor, id, "add tenant", &id.to_string());
        Ok(created(&describe(id, &kept.to_tenant())))
    }

    /// `GET tenants/{id}`, `PATCH tenants/{id}`, `DELETE tenants/{id}`.
    pub(super) async fn one_tenant(&self, request: &mut Request<'_>, id: TenantId) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "PATCH", "DELETE"], || Ok(()))?;
        match request.method() {
            "PATCH" => self.change_tenant(request, id).await,
            "DELETE" => self.remove_tenant(request, id).await,
            _ => Ok(reply(&describe(id, &*self.tenant(id)?))),
        }
    }

    async fn change_tenant(&self, request: &mut Request<'_>, id: TenantId) -> Result<Reply, Refusal> {
        let settings: Settings = request.json().await?;
        if settings.id.is_some() {
            return Err(GraphError::invalid_argument("[Id]: A tenant keeps its id.").into());
        }
        changeable(id, &*self.tenant(id)?)?;
        let fetched = self.ask_issuers(settings.issuers.as_deref().unwrap_or_default(), id).await?;
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(id)?;
        changeable(id, &old)?;
        let mut kept = KeptTenant {
            name: old.name.clone(),
            domains: old.domains.clone(),
            trusts: old.trusts.iter().map(|id| Uuid::from_u128(id.as_u128())).collect(),
            requests_max: old.requests_max,
            issuers: old.issuers.to_vec(),
        };
        settings.change(&mut kept, id, &self.directory())?;
        keep_tenant(self.engine.store().as_ref(), id, &kept).await?;
        let changed = kept.to_tenant();
        let mut new = Tenant::clone(&old);
        (new.name, new.domains, new.trusts, new.requests_max, new.issuers) =
            (changed.name, changed.domains, changed.trusts, changed.requests_max, changed.issuers);
        let document = describe(id, &new);
        self.put_tenant(id, new);
        self.believe_issuers(id, fetched).await;
        audit(request.visitor, id, "change tenant", &id.to_string());
        Ok(reply(&document))
    }

    async fn remove_tenant(&self, request: &mut Request<'_>, id: TenantId) -> Result<Reply, Refusal> {
        let _turn = self.directory_change.lock().await;
        let old = self.tenant(id)?;
        changeable(id, &old)?;
        let mut directory = Directory::clone(&self.directory());
        directory.remove(id);
        self.replace_directory(directory);
        let gone = async {
            self.end_subscriptions(id, |_| true).await;
            for user in old.users() {
                self.forget_user(presence::UserKey { tenant: id, user: user.id }).await?;
            }
            let users: Vec<_> = old.users().map(|user| user.id).collect();
            let applications: Vec<_> = old.applications.keys().copied().collect();
            Ok::<_, Refusal>(drop_tenant(self.engine.store().as_ref(), id, users, applications).await?)
        };
        if let Err(refusal) = gone.await {
            self.put_tenant(id, Tenant::clone(&old));
            return Err(refusal);
        }
        self.believe_issuers(id, Vec::new()).await;
        audit(request.visitor, id, "remove tenant", &id.to_string());
        Ok(no_content())
    }
}

/// What issuers that are to be believed have answered.
type Asked = Vec<(String, FetchedKeys)>;

impl App {
    /// Asks issuers that a tenant is to have for their keys. Nobody is sent where the operator does not let notifications
    /// go either.
    ///
    /// # Errors
    /// 400 for settings that cannot be, and for an issuer that does not answer as it should.
    async fn ask_issuers(&self, issuers: &[IssuerSettings], id: TenantId) -> Result<Asked, Refusal> {
        if let Some(problem) = problems_of(issuers, id).into_iter().next() {
            return Err(GraphError::invalid_argument(format!("[Issuers]: {problem}.")).into());
        }
        let mut asked = Vec::new();
        for IssuerSettings { issuer, .. } in issuers {
            let fetched = fetch_keys(&self.outbound, issuer).await;
            let fetched =
                fetched.map_err(|problem| GraphError::invalid_argument(format!("[Issuers]: {problem}.")))?;
            asked.push((issuer.clone(), fetched));
        }
        Ok(asked)
    }

    /// Puts the issuers of a tenant as it is now in force: its own, or the embedded one, or none.
    async fn believe_issuers(&self, id: TenantId, asked: Asked) {
        let now = self.wall_clock.now();
        let directory = self.directory().clone();
        let tenant = directory.tenant(id);
        let own = tenant.map(|tenant| &*tenant.issuers).unwrap_or_default();
        let trusted: Vec<TrustedIssuer> = match tenant {
            Some(tenant) if own.is_empty() => self.issuers.add(id, &tenant.domains).into_iter().collect(),
            _ => {
                self.issuers.remove(id);
                let keys = |issuer: &IssuerSettings| {
                    let asked = asked.iter().find(|(of, _)| *of == issuer.issuer);
                    asked.map(|(_, fetched)| fetched.keys.clone()).unwrap_or_default()
                };
                // Checked before they were kept.
                let trusted = own.iter().filter_map(|issuer| {
                    Some(TrustedIssuer { keys: keys(issuer), ..issuer.trusted(id).ok()? })
                });
                trusted.collect()
            }
        };
        self.verifier.replace_issuers(id, trusted);
        let fetched: Vec<String> = asked.iter().map(|(issuer, _)| issuer.clone()).collect();
        self.foreign_keys.follow(&self.outbound, &added_issuers(&directory), &fetched, now);
        for (issuer, fetched) in &asked {
            self.keep_issuer_keys(issuer, fetched).await;
        }
    }

    /// Keeps an issuer's keys for a start at which it does not answer.
    pub(crate) async fn keep_issuer_keys(&self, issuer: &str, fetched: &FetchedKeys) {
        let kept = keep_keys(self.engine.store().as_ref(), issuer, fetched, self.wall_clock.now());
        if let Err(error) = kept.await {
            tracing::warn!(issuer, %error, "the issuer's keys could not be kept; they are fetched at the next start");
        }
    }
}

/// The issuers of tenants that were added while the server ran.
pub(crate) fn added_issuers(directory: &Directory) -> Vec<String> {
    let added = directory.tenants().filter(|(_, tenant)| tenant.origin == Origin::Kept);
    added.flat_map(|(_, tenant)| tenant.issuers.iter().map(|issuer| issuer.issuer.clone())).collect()
}

impl Settings {
    /// Changes what is named, if all of it can be.
    fn change(self, kept: &mut KeptTenant, id: TenantId, directory: &Directory) -> Result<(), Refusal> {
        if self.name.is_some() {
            kept.name = checked_name(self.name, "Name")?;
        }
        if let Some(domains) = self.domains {
            if domains.len() > DOMAINS_MAX || !domains.iter().all(|domain| is_domain(domain)) {
                return Err(GraphError::invalid_argument("[Domains]: Not a list of domain names.").into());
            }
            let is_taken = |domain: &String| {
                directory.tenants().any(|(other, tenant)| {
                    other != id && tenant.domains.iter().any(|taken| taken.eq_ignore_ascii_case(domain))
                })
            };
            if let Some(domain) = domains.iter().find(|domain| is_taken(domain)) {
                return Err(GraphError::conflict(format!("{domain} is another tenant's.")).into());
            }
            kept.domains = domains;
        }
        if let Some(trusts) = self.trusts {
            if trusts.len() > TRUSTS_MAX {
                return Err(GraphError::out_of_range("Trusts").into());
            }
            kept.trusts = trusts;
        }
        if let Some(issuers) = self.issuers {
            let of_others = directory.tenants().filter(|(other, _)| *other != id);
            let others: Vec<&IssuerSettings> =
                of_others.flat_map(|(_, tenant)| tenant.issuers.iter()).chain(&issuers).collect();
            let clashes = |issuer: &&IssuerSettings| {
                others.iter().any(|other| {
                    !std::ptr::eq(*issuer, *other)
                        && issuer.issuer == other.issuer
                        && !are_told_apart(issuer, other)
                })
            };
            if let Some(issuer) = issuers.iter().find(clashes) {
                let why = "speaks for another tenant too: give each tenantClaim and a tenantValue of its own";
                return Err(GraphError::conflict(format!("{} {why}.", issuer.issuer)).into());
            }
            kept.issuers = issuers;
        }
        if let Some(requests_max) = self.requests_per_30_seconds {
            if requests_max == Some(0) {
                return Err(GraphError::out_of_range("RequestsPer30Seconds").into());
            }
            kept.requests_max = requests_max;
        }
        Ok(())
    }
}

fn describe(id: TenantId, tenant: &Tenant) -> Value {
    json!({
        "id": id.to_string(),
        "name": tenant.name,
        "domains": tenant.domains,
        "trusts": tenant.trusts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "requestsPer30Seconds": tenant.requests_max,
        "issuers": &*tenant.issuers,
        "users": tenant.users().len(),
        "applications": tenant.applications.len(),
        "isDeclared": tenant.origin == Origin::Declared,
    })
}

fn changeable(id: TenantId, tenant: &Tenant) -> Result<(), Refusal> {
    match tenant.origin {
        Origin::Kept => Ok(()),
        Origin::Declared => {
            let why = format!("{id} is declared in the configuration and can only be changed there.");
            Err(GraphError::conflict(why).into())
        }
    }
}

/// A name as DNS has them, with a dot: nothing that could be a GUID or an alias.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}
