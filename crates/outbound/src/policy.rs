//! Where requests may go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use reqwest::Url;

/// Where requests may go.
///
/// A target that is listed may be called whatever its address is. Everything else must be HTTPS, and may not have an
/// address that is nobody's on the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Targets that may be called. When [`only_listed`](Self::only_listed), no others.
    pub allow: Vec<Target>,
    /// Whether only listed targets may be called.
    pub only_listed: bool,
    /// Whether loopback addresses may be called, and without TLS: in an emulator.
    pub loopback: bool,
}

/// A target an operator has listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host name, without regard to case.
    Host(String),
    /// Every name below a domain: `*.example.org`.
    Below(String),
    /// Addresses: `10.1.0.0/16`, `192.0.2.7`.
    Network(IpNet),
}

/// A target that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name, nor *.domain, nor an address or network")]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim().to_ascii_lowercase();
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (&*text, false),
        };
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !name.split('.').all(is_label) {
            return Err(TargetError(text));
        }
        Ok(if is_below { Self::Below(name.to_owned()) } else { Self::Host(name.to_owned()) })
    }
}

/// Why a request may not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Not a URL of a host.
    #[error("it is not a URL with a host")]
    NotAUrl,
    /// Not HTTPS.
    #[error("only https is allowed")]
    NotHttps,
    /// A user name or password in the URL.
    #[error("a URL must not contain a user name or a password")]
    Credentials,
    /// A target nobody has listed.
    #[error("the host is not in the list of allowed targets")]
    NotListed,
    /// An address of a network that is not public.
    #[error("{0} is not a public address, and not in the list of allowed targets")]
    Address(IpAddr),
}

impl Policy {
    /// Whether a request to this URL may be made, as far as the URL alone tells.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Forbidden::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Credentials);
        }
        let address = address_of(host);
        let is_loopback = self.loopback
            && (address.is_some_and(|address| address.is_loopback())
                || host.eq_ignore_ascii_case("localhost"));
        match url.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            _ => return Err(Forbidden::NotHttps),
        }
        match address {
            Some(address) => self.check_address(host, address),
            None if is_loopback => Ok(()),
            None => self.check_name(host),
        }
    }

    /// Whether a host may be connected to, as far as its name alone tells; its addresses are checked when they are known.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn check_host(&self, host: &str) -> Result<(), Forbidden> {
        match address_of(host) {
            Some(address) => self.check_address(host, address),
            None => self.check_name(host),
        }
    }

    fn check_name(&self, host: &str) -> Result<(), Forbidden> {
        // A network in the list may turn out to hold the name's address.
        let has_network = || self.allow.iter().any(|target| matches!(target, Target::Network(_)));
        match self.only_listed && !self.lists_name(host) && !has_network() {
            true => Err(Forbidden::NotListed),
            false => Ok(()),
        }
    }

    /// Whether this address may be connected to for the sake of `host`.
    ///
    /// # Errors
    /// [`Forbidden::Address`] and [`Forbidden::NotListed`].
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        let real = unwrapped(address);
        let in_network = |target: &Target| match target {
            Target::Network(network) => network.contains(&address) || network.contains(&real),
            Target::Host(_) | Target::Below(_) => false,
        };
        if self.lists_name(host) || self.allow.iter().any(in_network) || (self.loopback && real.is_loopback())
        {
            return Ok(());
        }
        if self.only_listed {
            return Err(Forbidden::NotListed);
        }
        if is_public(real) { Ok(()) } else { Err(Forbidden::Address(address)) }
    }

    fn lists_name(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allow.iter().any(|target| match target {
            Target::Host(name) => *name == host,
            Target::Below(domain) => {
                host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
            }
            Target::Network(_) => false,
        })
    }
}

/// The address that a host is, if it is one and not a name.
pub(crate) fn address_of(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// The IPv4 address inside an IPv6 one, where a translator or the operating system would go to that: mapped (RFC 4291),
/// NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let v4 =
        |at: usize| IpAddr::V4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4(12),
        [0x2002, ..] => v4(2),
        _ => address,
    }
}

/// Whether an address can be somebody's on the public internet. Source: the special-purpose registries of IANA (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    // Only 2000::/3 is given out; within it, protocol assignments and documentation are not.
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && second < 0x0200)
        && !(first == 0x2001 && second == 0x0db8)
        && !(first == 0x3fff && second < 0x1000)
        && !(first == 0x2002 && third == 0 && second == 0)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], only_listed: bool) -> Policy {
        let allow = allow.iter().map(|target| target.parse().unwrap()).collect();
        Policy { allow, only_listed, loopback: false }
    }

    fn check(policy: &Policy, url: &str) -> Result<(), Forbidden> {
        policy.check_url(&url.parse().unwrap())
    }

    #[test]
    fn a_public_https_url_is_allowed_and_little_else() {
        let policy = Policy::default();
        assert_eq!(check(&policy, "https://receiver.example/a?b"), Ok(()));
        assert_eq!(check(&policy, "https://93.184.216.34/"), Ok(()));
        assert_eq!(check(&policy, "https://[2606:4700::1111]/"), Ok(()));
        for url in ["http://receiver.example/", "ftp://receiver.example/", "http://127.0.0.1/"] {
            assert_eq!(check(&policy, url), Err(Forbidden::NotHttps), "{url}");
        }
        assert_eq!(check(&policy, "https://user@receiver.example/"), Err(Forbidden::Credentials));
        assert_eq!(check(&policy, "data:text/plain,x"), Err(Forbidden::NotAUrl));
    }

    #[test]
    fn addresses_that_are_nobodys_on_the_internet_are_forbidden_in_every_spelling() {
        let policy = Policy::default();
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "203.0.113.5",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
            "[3fff::1]",
            "[100::1]",
        ] {
            let url = format!("https://{host}/");
            assert!(matches!(check(&policy, &url), Err(Forbidden::Address(_))), "{host}");
        }
    }

    #[test]
    fn what_an_operator_lists_may_be_called_and_with_only_listed_nothing_else() {
        let open = policy(&["10.1.0.0/16", "pbx.corp", "*.lan.example"], false);
        for url in [
            "https://10.1.2.3/",
            "https://pbx.corp/",
            "https://a.b.lan.example/",
            "https://receiver.example/",
        ] {
            assert_eq!(check(&open, url), Ok(()), "{url}");
        }
        assert_eq!(open.check_address("PBX.corp.", "192.168.0.9".parse().unwrap()), Ok(()));
        assert!(open.check_address("other.corp", "192.168.0.9".parse().unwrap()).is_err());
        assert!(check(&open, "https://10.2.0.1/").is_err());
        assert!(
            open.check_address("evil.example", "10.1.2.3".parse().unwrap()).is_ok(),
            "the network is listed"
        );

        let closed = policy(&["pbx.corp", "*.lan.example"], true);
        assert_eq!(check(&closed, "https://pbx.corp/"), Ok(()));
        for url in [
            "https://receiver.example/",
            "https://lan.example/",
            "https://evil-lan.example/",
            "https://8.8.8.8/",
        ] {
            assert_eq!(check(&closed, url), Err(Forbidden::NotListed), "{url}");
        }
    }

    #[test]
    fn an_emulator_may_call_loopback_without_tls() {
        let policy = Policy { loopback: true, ..Policy::default() };
        for url in ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "https://localhost/"] {
            assert_eq!(check(&policy, url), Ok(()), "{url}");
        }
        assert!(policy.check_address("localhost", "127.0.0.1".parse().unwrap()).is_ok());
        assert_eq!(check(&policy, "http://receiver.example/"), Err(Forbidden::NotHttps));
        assert!(check(&policy, "https://10.0.0.1/").is_err());
    }

    #[test]
    fn targets_are_read_or_refused() {
        for text in ["", "*", "*.", "a b", "http://x/", "x/y", "10.0.0.0/33", "a..b"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        for text in ["receiver.example", "*.receiver.example", "10.0.0.0/8", "fd00::/8"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }
}
