//! Requests, made under a [`Policy`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Url, redirect};
use tokio::time::Instant;

use crate::policy::{Forbidden, Policy};

/// How long a connection may take to come about, within the time of its request.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept open to one host for the next request.
pub const IDLE_PER_HOST_MAX: usize = 2;
/// How long one is kept open without use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes requests, where its policy allows.
#[derive(Clone, Debug)]
pub struct Client {
    policy: Arc<Policy>,
    inner: reqwest::Client,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// GET or POST.
    pub method: Method,
    /// Where to.
    pub url: &'a str,
    /// Headers besides those every request has.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
}

/// How long and how large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the beginning of the request to the last byte of the answer.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub response_bytes: usize,
}

/// What came back; redirects and errors too.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long it all took.
    pub elapsed: Duration,
}

/// Why nothing came back that counts.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The policy does not allow it.
    #[error("not allowed: {0}")]
    Forbidden(#[from] Forbidden),
    /// The name does not resolve, or the connection does not come about, or TLS fails.
    #[error("no connection: {0}")]
    Connect(String),
    /// Not in time.
    #[error("no answer in time")]
    Timeout,
    /// More than may be.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The conversation broke off, or was not HTTP.
    #[error("the connection broke off: {0}")]
    Broken(String),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An extra root certificate is not one.
    #[error("an extra root certificate cannot be read: {0}")]
    Root(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Client {
    /// A client under this policy. Certificates are checked against the system's roots and these extra ones, in PEM.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(policy: Policy, extra_roots_pem: &[String]) -> Result<Self, ClientError> {
        let policy = Arc::new(policy);
        let mut roots = Vec::new();
        for pem in extra_roots_pem {
            let bundle = Certificate::from_pem_bundle(pem.as_bytes());
            roots.extend(bundle.map_err(|error| ClientError::Root(error.to_string()))?);
        }
        let inner = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(CheckedResolver { policy: policy.clone() }))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .tls_certs_merge(roots)
            .user_agent(concat!("presenced/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Tls(chain(&error)))?;
        Ok(Self { policy, inner })
    }

    /// Where it may go.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Makes a request.
    ///
    /// # Errors
    /// [`SendError`]; an answer of any status is none.
    pub async fn send(&self, request: Request<'_>, limits: Limits) -> Result<Answer, SendError> {
        let url: Url = request.url.parse().map_err(|_| Forbidden::NotAUrl)?;
        self.policy.check_url(&url)?;
        let started = Instant::now();
        let answer = tokio::time::timeout(limits.time, self.exchange(request, url, limits));
        let (status, headers, body) = answer.await.map_err(|_| SendError::Timeout)??;
        Ok(Answer { status, headers, body, elapsed: started.elapsed() })
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        url: Url,
        limits: Limits,
    ) -> Result<(StatusCode, HeaderMap, Bytes), SendError> {
        let request = self.inner.request(request.method, url).headers(request.headers).body(request.body);
        let mut response = request.send().await.map_err(|error| classify(&error))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
            if body.len() + chunk.len() > limits.response_bytes {
                return Err(SendError::TooLarge(limits.response_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), std::mem::take(response.headers_mut()), body.freeze()))
    }
}

/// Resolves a name, and keeps of its addresses those that may be connected to.
struct CheckedResolver {
    policy: Arc<Policy>,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let checked = |address: &SocketAddr| policy.check_address(host, address.ip());
            match found.iter().find(|address| checked(address).is_ok()) {
                // One forbidden address spoils nothing; only the others are tried.
                Some(_) => {
                    let allowed: Vec<_> =
                        found.into_iter().filter(|address| checked(address).is_ok()).collect();
                    Ok(Box::new(allowed.into_iter()) as Addrs)
                }
                None => match found.first().map(checked) {
                    Some(Err(forbidden)) => Err(forbidden.into()),
                    _ => Err("the name has no address".into()),
                },
            }
        })
    }
}

fn classify(error: &reqwest::Error) -> SendError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
            return SendError::Forbidden(forbidden.clone());
        }
        source = cause.source();
    }
    if error.is_timeout() {
        SendError::Timeout
    } else if error.is_connect() {
        SendError::Connect(root_cause(error))
    } else {
        SendError::Broken(root_cause(error))
    }
}

/// The innermost cause, which says what happened; the outer ones repeat the URL, which may hold a secret.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
