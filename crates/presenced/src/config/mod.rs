//! The configuration file of `presenced serve`: one struct a section, unknown keys refused, all problems named at once.
//! Sections with rules of their own have a file of their own.

mod changes;
mod dashboard;
mod history;
mod outbound;
mod overload;
mod redis;
mod subscriptions;
mod tenant;
mod tracing;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use graph::Profile;
use identity::IssuerSettings;
use serde::Deserialize;

pub(crate) use self::changes::Changes;
pub(crate) use self::history::History;
pub(crate) use self::outbound::Outbound;
use self::overload::Overload;
pub(crate) use self::redis::{EMBEDDED, Redis};
pub(crate) use self::subscriptions::Subscriptions;
pub(crate) use self::tenant::{Application, Tenant};
pub(crate) use self::tracing::Tracing;

/// Problems named at most; a file with more is not a configuration.
const PROBLEMS_MAX: usize = 50;

/// The whole file.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where presence is kept. Relative paths in the file start at the file's own folder.
    pub(crate) data_dir: PathBuf,
    /// Where presence is kept instead: `redis://host:port,...` or `rediss://...`; `embedded` or left out: in `data_dir`.
    pub(crate) store: Option<String>,
    /// What that URL does not say.
    pub(crate) redis: Redis,
    /// The URL clients use, such as `https://presence.example.org`: an audience of tokens and the issuer's base.
    pub(crate) public_url: String,
    /// How far the server goes beyond what the reference documents: `graph` or `extended`.
    pub(crate) profile: String,
    /// The tenant whose administrators may manage tenants; left out: nobody may.
    pub(crate) host_tenant: Option<String>,
    /// Where to listen.
    pub(crate) listen: Listen,
    /// Certificate and key for HTTPS.
    pub(crate) tls: Option<Tls>,
    /// How tokens come about.
    pub(crate) issuer: Issuer,
    /// How many requests an application may make.
    pub(crate) throttle: Throttle,
    /// How much of the log of changes is kept.
    pub(crate) changes: Changes,
    /// How much is served at a time.
    pub(crate) overload: Overload,
    /// How many subscriptions there may be and how long they live.
    pub(crate) subscriptions: Subscriptions,
    /// Where the server may send requests.
    pub(crate) outbound: Outbound,
    /// Where metrics are read.
    pub(crate) metrics: Metrics,
    /// Where traces go; left out: nowhere.
    pub(crate) tracing: Option<Tracing>,
    /// Whether the past of users is kept.
    pub(crate) history: History,
    /// The tenants: their users and applications.
    #[serde(rename = "tenant")]
    pub(crate) tenants: Vec<Tenant>,
}

/// `[listen]`: at least one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// HTTPS addresses; they need `[tls]`.
    pub(crate) https: Vec<SocketAddr>,
    /// Plain HTTP addresses, for loopback or behind a proxy that terminates TLS.
    pub(crate) http: Vec<SocketAddr>,
}

/// `[tls]`: PEM files, read again when they change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    /// Certificate chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// Private key.
    pub(crate) key: PathBuf,
}

/// `[issuer]`: the embedded token issuer, off unless configured.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    /// Issue tokens to the applications of this file that have a secret.
    pub(crate) embedded: bool,
    /// Let users sign in by choosing who they are: for development and demonstrations.
    #[serde(default)]
    pub(crate) passwordless_sign_in: PasswordlessSignIn,
}

/// Who may sign in as whoever they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PasswordlessSignIn {
    /// Nobody: the issuer serves applications only.
    #[default]
    Off,
    /// Whoever is on this machine: every listener must be on loopback.
    Loopback,
    /// Whoever reaches the server.
    Anywhere,
}

/// `[metrics]`: off unless configured.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Address of a listener that has nothing but `/metrics`, in plain HTTP and for whoever reaches it.
    pub(crate) listen: Option<SocketAddr>,
}

/// `[throttle]`: off unless configured. Graph's own figure is 1,500 requests in 30 seconds (presence-api §15).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Throttle {
    /// Requests one application may make in a tenant in 30 seconds.
    pub(crate) requests_per_30_seconds: Option<u32>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {plural} in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Problems`]: every one there is, as far as the file can be understood.
    pub(crate) fn read(path: &Path) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Problems(vec![format!("{}: {error}", path.display())]))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Problems> {
        let (mut config, mut problems) = read_leniently(text);
        config.resolve_paths(folder);
        problems.extend(config.check());
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        resolve(&mut self.data_dir);
        if let Some(tls) = &mut self.tls {
            resolve(&mut tls.certificate);
            resolve(&mut tls.key);
        }
        self.outbound.extra_roots.iter_mut().for_each(resolve);
        self.tracing.iter_mut().flat_map(Tracing::paths_mut).for_each(resolve);
        self.redis.paths().for_each(resolve);
        for tenant in &mut self.tenants {
            tenant.user_files.iter_mut().for_each(resolve);
            tenant.mqtt.iter_mut().flat_map(server::mqtt::MqttSettings::paths_mut).for_each(resolve);
            tenant.applications.iter_mut().filter_map(|app| app.secret_file.as_mut()).for_each(resolve);
            tenant.applications.iter_mut().flat_map(|app| &mut app.certificate_files).for_each(resolve);
        }
    }

    /// The URL of the engine, if presence is kept in one.
    pub(crate) fn engine(&self) -> Option<&str> {
        self.store.as_deref().filter(|store| *store != EMBEDDED)
    }

    /// What this node is called unless it is said.
    pub(crate) fn node(&self) -> String {
        let address = self.listen.https.iter().chain(&self.listen.http).next();
        address.map(ToString::to_string).unwrap_or_default()
    }

    /// The compatibility profile.
    pub(crate) fn profile(&self) -> Result<Profile, String> {
        if self.profile.is_empty() { Ok(Profile::default()) } else { self.profile.parse() }
    }

    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            problems.push("data_dir: say where to keep presence".to_owned());
        }
        if self.listen.https.is_empty() && self.listen.http.is_empty() {
            problems.push("[listen]: give at least one address in `https` or `http`".to_owned());
        }
        if !self.listen.https.is_empty() && self.tls.is_none() {
            problems.push("[listen] https needs [tls] with `certificate` and `key`".to_owned());
        }
        if let Some(tls) = &self.tls {
            for (key, path) in [("certificate", &tls.certificate), ("key", &tls.key)] {
                if let Err(error) = std::fs::File::open(path) {
                    problems.push(format!("[tls] {key}: {}: {error}", path.display()));
                }
            }
        }
        self.redis.check(self.store.as_deref(), &mut problems);
        if self.engine().is_some() && self.history.enabled {
            problems.push(
                "[history] enabled: a history is kept in the data_dir of one server, and with `store` others write too"
                    .to_owned(),
            );
        }
        let url = self.public_url.parse::<http::Uri>().ok();
        if !url.is_some_and(|url| matches!(url.scheme_str(), Some("https" | "http")) && url.path() == "/") {
            problems.push(format!("public_url: {:?} is not a URL of scheme and host alone", self.public_url));
        }
        if let Some(host) = &self.host_tenant
            && !self.tenants.iter().any(|tenant| tenant.id.eq_ignore_ascii_case(host))
        {
            problems.push(format!("host_tenant: {host:?} is not the id of a [[tenant]] of this file"));
        }
        self.changes.check(&mut problems);
        self.history.check(&mut problems);
        match self.profile() {
            Ok(profile) => self.subscriptions.check(profile, &mut problems),
            Err(problem) => problems.push(format!("profile: {problem}")),
        }
        if self.throttle.requests_per_30_seconds == Some(0) {
            problems.push(
                "[throttle] requests_per_30_seconds: 0 would refuse everything; leave it out instead"
                    .to_owned(),
            );
        }
        self.overload.check(&mut problems);
        for target in &self.outbound.allow {
            if let Err(error) = target.parse::<::outbound::Target>() {
                problems.push(format!("[outbound] allow: {error}"));
            }
        }
        for path in &self.outbound.extra_roots {
            if let Err(error) = std::fs::File::open(path) {
                problems.push(format!("[outbound] extra_roots: {}: {error}", path.display()));
            }
        }
        if let Some(tracing) = &self.tracing {
            tracing.check(&self.outbound, &mut problems);
        }
        let mut addresses = self.listen.https.iter().chain(&self.listen.http);
        if self.issuer.passwordless_sign_in == PasswordlessSignIn::Loopback
            && let Some(address) = addresses.find(|address| !address.ip().is_loopback())
        {
            problems.push(format!(
                "[issuer] passwordless_sign_in: {address} is not on loopback, so whoever reaches it could be any user; \
                 \"anywhere\" says that this is meant"
            ));
        }
        if self.tenants.is_empty() {
            problems.push("there is no [[tenant]]".to_owned());
        }
        let mut seen = BTreeMap::new();
        for (position, tenant) in self.tenants.iter().enumerate() {
            let place = format!("[[tenant]] {}", position + 1);
            if !is_guid(&tenant.id) {
                problems.push(format!("{place}: id {:?} is not a GUID", tenant.id));
            } else if let Some(other) = seen.insert(tenant.id.to_ascii_lowercase(), position + 1) {
                problems.push(format!("{place}: id {} is also that of tenant {other}", tenant.id));
            }
            if let (Some(mqtt), Ok(policy)) = (&tenant.mqtt, self.outbound.policy())
                && let Err(forbidden) = policy.check_host(&mqtt.host)
            {
                problems.push(format!(
                    "{place} mqtt: host {:?} may not be called: {forbidden}; name it in [outbound] allow",
                    mqtt.host
                ));
            }
            tenant.check(&place, self.issuer.embedded && tenant.issuers.is_empty(), &mut problems);
            if let Some(dashboard) = &tenant.dashboard {
                dashboard.check(&format!("{place} dashboard"), tenant, &self.public_url, &mut problems);
            }
        }
        self.check_shared_issuers(&mut problems);
        problems
    }
}

impl Config {
    /// An issuer that speaks for several tenants must say in each token for which.
    fn check_shared_issuers(&self, problems: &mut Vec<String>) {
        let mut seen: BTreeMap<&str, Vec<&IssuerSettings>> = BTreeMap::new();
        for issuer in self.tenants.iter().flat_map(|tenant| &tenant.issuers) {
            let others = seen.entry(&issuer.issuer).or_default();
            if !others.iter().all(|other| server::are_told_apart(issuer, other)) {
                problems.push(format!(
                    "[[tenant.issuer]] {:?} is written twice: give each tenant_claim and a tenant_value of its own",
                    issuer.issuer
                ));
            }
            others.push(issuer);
        }
    }
}

/// Reads what can be read, naming each line that cannot: an error blanks its lines and the rest is tried again, so that
/// one typing error does not hide the next.
fn read_leniently(text: &str) -> (Config, Vec<String>) {
    let mut text = text.to_owned();
    let mut problems = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match toml::from_str(&text) {
            Ok(config) => return (config, problems),
            Err(error) => error,
        };
        let Some(span) = error.span().filter(|span| !text[span.clone()].trim().is_empty()) else {
            problems.push(error.message().to_owned());
            break;
        };
        let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[span.end..].find('\n').map_or(text.len(), |newline| span.end + newline);
        let line = text[..start].matches('\n').count() + 1;
        problems.push(format!("line {line}: {}", error.message()));
        let blank: String = text[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        text.replace_range(start..end, &blank);
    }
    (Config::default(), problems)
}

fn is_guid(text: &str) -> bool {
    text.parse::<presence::TenantId>().is_ok()
}

/// The 32 bytes of 64 hexadecimal digits.
pub(crate) fn decode_sha256(hex: &str) -> Option<[u8; 32]> {
    let hex = hex.as_bytes();
    if hex.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use server::SubscriptionRules;

    use super::*;

    const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";

    fn problems(more: &str) -> Vec<String> {
        let text = format!(
            "data_dir = \"data\"\npublic_url = \"https://p.example\"\nlisten.http = [\"127.0.0.1:0\"]\nissuer.embedded = true\n{more}"
        );
        Config::parse(&text, Path::new(".")).err().map(|Problems(problems)| problems).unwrap_or_default()
    }

    #[test]
    fn every_block_of_the_page_about_identity_providers_is_a_good_configuration() {
        let page = include_str!("../../../../docs/identity-providers.md");
        let blocks: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), 5, "one for each recipe");
        for block in blocks {
            assert_eq!(problems(block), [""; 0], "{block}");
            let config = Config::parse(
                &format!(
                    "data_dir = \"d\"\npublic_url = \"https://p\"\nlisten.http = [\"127.0.0.1:0\"]\n{block}"
                ),
                Path::new("."),
            )
            .unwrap();
            assert!(config.outbound.issuer_client(&config.tenants).is_ok());
            assert_eq!(config.tenants[0].issuers.len(), 1);
        }
    }

    #[test]
    fn what_is_wrong_with_signing_in_is_told_with_its_place() {
        let app = |more: &str| {
            format!("[[tenant]]\nid = \"{TENANT}\"\n[[tenant.application]]\nid = \"{TENANT}\"\n{more}\n")
        };
        assert_eq!(
            problems(&app("is_public_client = true\nredirect_uris = [\"http://localhost\"]")),
            [""; 0]
        );
        assert_eq!(problems(&app("spa_redirect_uris = [\"https://board.example/\"]")), [""; 0]);
        for wrong in [
            "",
            "is_public_client = true\nscopes = [\"Presence.ReadWrite.All\"]",
            "is_public_client = true\nredirect_uris = [\"http://board.example/\"]",
            "is_public_client = true\nredirect_uris = [\"javascript:alert(1)\"]",
            "spa_redirect_uris = [\"https://board.example/*\"]",
            "certificate_files = [\"no such file\"]",
            "certificate_files = [\"Cargo.toml\"]",
        ] {
            assert_eq!(problems(&app(wrong)).len(), 1, "{wrong}");
        }
        let elsewhere = |sign_in: &str| {
            problems(&format!(
                "listen.https = [\"0.0.0.0:0\"]\ntls = {{ certificate = \"Cargo.toml\", key = \"Cargo.toml\" }}\n\
                 issuer.passwordless_sign_in = \"{sign_in}\"\n{}",
                app("is_public_client = true")
            ))
        };
        assert_eq!(elsewhere("off"), [""; 0]);
        assert_eq!(elsewhere("anywhere"), [""; 0]);
        let told = elsewhere("loopback");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("[issuer] passwordless_sign_in: 0.0.0.0:0 is not on loopback"),
            "{told:?}"
        );
    }

    #[test]
    fn only_the_extended_profile_leaves_subscriptions_to_the_operator() {
        let tenant = format!("[[tenant]]\nid = \"{TENANT}\"\n");
        let with = |profile: &str, section: &str| {
            problems(&format!("profile = \"{profile}\"\n[subscriptions]\n{section}\n{tenant}"))
        };
        let section = "per_user_and_application = 7\nper_application = 9\nlifetime_minutes_min = 2\nlifetime_minutes_max = 90";
        assert_eq!(with("extended", section), [""; 0]);
        let rules = toml::from_str::<Subscriptions>(section).unwrap().rules(Profile::Extended);
        assert_eq!((rules.quota.per_user_and_app, rules.quota.per_app_and_tenant), (7, 9));
        assert_eq!((rules.wire.lifetime_min.as_mins(), rules.wire.lifetime_max.as_mins()), (2, 90));
        assert_eq!(Subscriptions::default().rules(Profile::Graph), SubscriptionRules::of(Profile::Graph));

        assert!(with("graph", section)[0].starts_with("[subscriptions] needs `profile = "));
        assert_eq!(with("graph", ""), [""; 0]);
        for wrong in [
            "per_user_and_application = 0",
            "per_application = 1000001",
            "lifetime_minutes_min = 0",
            "lifetime_minutes_max = 43201",
            "lifetime_minutes_min = 90\nlifetime_minutes_max = 60",
        ] {
            assert_eq!(with("extended", wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn traces_go_where_outbound_says_or_stay_on_this_machine() {
        let with = |allow: &str, tracing: &str| {
            problems(&format!(
                "outbound.allow = [{allow}]\n[tracing]\n{tracing}\n[[tenant]]\nid = \"{TENANT}\"\n"
            ))
        };
        for good in ["http://127.0.0.1:4318", "http://localhost:4318", "http://[::1]:4318"] {
            assert_eq!(with("", &format!("otlp = \"{good}\"\nsample_ratio = 0.1")), [""; 0], "{good}");
        }
        assert_eq!(with("\"c.example\"", "otlp = \"https://c.example:4318\""), [""; 0]);
        for wrong in [
            "otlp = \"https://c.example:4318\"",
            "otlp = \"http://c.example:4318\"",
            "otlp = \"c.example\"",
            "otlp = \"http://localhost:4318\"\nsample_ratio = 1.5",
            "otlp = \"http://localhost:4318\"\nheaders_file = \"Cargo.toml\"",
            "otlp = \"http://localhost:4318\"\nheaders_file = \"no such file\"",
        ] {
            assert_eq!(with("", wrong).len(), 1, "{wrong}: {:?}", with("", wrong));
        }
    }

    #[test]
    fn a_broker_is_named_in_outbound_and_what_is_wrong_with_it_is_told_with_its_place() {
        let with = |allow: &str, mqtt: &str| {
            problems(&format!(
                "outbound.allow = [{allow}]\n[[tenant]]\nid = \"{TENANT}\"\n[[tenant.application]]\nid = \"{TENANT}\"\n\
                 is_public_client = true\nroles = [\"Presence.Read.All\"]\n[tenant.mqtt]\nhost = \"broker.example\"\n{mqtt}"
            ))
        };
        let listed = "\"broker.example\"";
        assert_eq!(with(listed, ""), [""; 0]);
        assert!(
            with("", "")[0].starts_with("[[tenant]] 1 mqtt: host \"broker.example\" may not be called: ")
        );
        let session = "[[tenant.mqtt.session]]\ntopic = \"pbx/{user}\"\n";
        let other = "application = \"22553876-f5ab-4529-bffb-cfe50aa89f87\"";
        assert_eq!(with(listed, &format!("{session}{other}")), [""; 0], "known to the admin API, perhaps");
        for wrong in [
            "topic = \"a/#\"",
            "discovery = \"/a\"",
            "password_file = \"Cargo.toml\"",
            "username = \"me\"\npassword_file = \"no such file\"",
            "authorities = \"Cargo.toml\"",
            "certificate = \"Cargo.toml\"",
            "tls = false\nauthorities = \"Cargo.toml\"",
            &format!("{session}application = \"{TENANT}\""),
            &format!("{session}{other}\nvalue = \"x\""),
        ] {
            assert_eq!(with(listed, wrong).len(), 1, "{wrong}: {:?}", with(listed, wrong));
        }
        let secret = toml::from_str::<Tenant>("mqtt = { host = \"h\", username = \"hush\" }").unwrap();
        assert!(!format!("{secret:?}").contains("hush"));
    }

    #[test]
    fn what_is_wrong_with_an_issuer_is_told_with_its_place() {
        let tenant =
            |id: &str, issuer: &str| format!("[[tenant]]\nid = \"{id}\"\n[[tenant.issuer]]\n{issuer}\n");
        let issuer = "issuer = \"https://id.example\"\naudiences = [\"a\"]\n";
        let told = problems(&tenant(TENANT, "issuer = \"https://id.example\""));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("[[tenant]] 1 issuer \"https://id.example\": audiences: "), "{told:?}");
        for wrong in [
            "algorithms = [\"HS256\"]",
            "permission_map = { a = \"Presence.Write\" }",
            "default_scopes = [\"Presence.ReadWrite.All.x\"]",
            "roles_claim = \"a..b\"",
            "recipe = \"okta\"",
            "tenant_claim = \"org\"",
        ] {
            assert_eq!(problems(&tenant(TENANT, &format!("{issuer}{wrong}"))).len(), 1, "{wrong}");
        }
        let secret = format!(
            "{}[[tenant.application]]\nid = \"{TENANT}\"\nsecret_sha256 = \"{}\"",
            tenant(TENANT, issuer),
            "0".repeat(64)
        );
        assert!(problems(&secret)[0].contains("its secret would be of no use"), "{:?}", problems(&secret));
        let other = "11112222-3333-4444-5555-666677778888";
        let twice = format!("{}{}", tenant(TENANT, issuer), tenant(other, issuer));
        assert!(problems(&twice)[0].contains("written twice"));
        let of =
            |id, value| tenant(id, &format!("{issuer}tenant_claim = \"org\"\ntenant_value = \"{value}\""));
        assert_eq!(problems(&format!("{}{}", of(TENANT, "a"), of(other, "b"))), [""; 0]);
        assert_eq!(problems(&format!("{}{}", of(TENANT, "a"), of(other, "a"))).len(), 1);
    }
}
