//! `[outbound]`: where the server may send requests.

use std::path::PathBuf;

use serde::Deserialize;

use super::Tenant;

/// `[outbound]`: where notifications may be sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Outbound {
    /// Host names, `*.domain`, addresses or networks that may be called. Private addresses only when they are here.
    pub(crate) allow: Vec<String>,
    /// Whether every public https address may be called too. Off: only what is in `allow`.
    pub(crate) public: bool,
    /// PEM files of certificate authorities to trust besides those of the system.
    pub(crate) extra_roots: Vec<PathBuf>,
}

impl Outbound {
    /// Where the server may go.
    ///
    /// # Errors
    /// When a target cannot be read.
    pub(crate) fn policy(&self) -> anyhow::Result<::outbound::Policy> {
        let allow = self.allow.iter().map(|target| target.parse()).collect::<Result<Vec<_>, _>>()?;
        Ok(::outbound::Policy { allow, only_listed: !self.public, loopback: false })
    }

    /// Makes requests as this section allows.
    ///
    /// # Errors
    /// When a target or a certificate cannot be read.
    pub(crate) fn client(&self) -> anyhow::Result<::outbound::Client> {
        let policy = self.policy()?;
        let roots = self.extra_roots.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        Ok(::outbound::Client::new(policy, &roots)?)
    }
}

impl Outbound {
    /// Brings traces to a collector: where `allow` says, and in clear on this machine.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub(crate) fn collector_client(&self, in_clear: bool) -> anyhow::Result<::outbound::Client> {
        let policy = ::outbound::Policy { loopback: in_clear, ..self.policy()? };
        let roots = self.extra_roots.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        Ok(::outbound::Client::new(policy, &roots)?)
    }

    /// Asks issuers for their keys: those of the configuration wherever they are, and where they send us on the public
    /// internet or to what is in `allow`.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub(crate) fn issuer_client(&self, tenants: &[Tenant]) -> anyhow::Result<::outbound::Client> {
        let mut allow = self.allow.iter().map(|target| target.parse()).collect::<Result<Vec<_>, _>>()?;
        for issuer in tenants.iter().flat_map(|tenant| &tenant.issuers) {
            let url = issuer.issuer.parse::<http::Uri>()?;
            let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
            allow.push(host.parse()?);
        }
        let loopback = tenants
            .iter()
            .flat_map(|tenant| &tenant.issuers)
            .any(|issuer| issuer.issuer.starts_with("http:"));
        let policy = ::outbound::Policy { allow, only_listed: false, loopback };
        let roots = self.extra_roots.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        Ok(::outbound::Client::new(policy, &roots)?)
    }
}
