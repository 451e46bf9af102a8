//! Plain connections, for what is not HTTP, made under the same [`Policy`].

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::CONNECT_TIMEOUT;
use crate::policy::{Forbidden, Policy};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// The policy does not allow it.
    #[error("not allowed: {0}")]
    Forbidden(#[from] Forbidden),
    /// The name does not resolve, or nobody accepts.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// Nobody accepts in time.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

/// Connects to the first address of `host` that the policy allows and that accepts.
///
/// # Errors
/// [`TcpError`].
pub async fn connect(policy: &Policy, host: &str, port: u16) -> Result<TcpStream, TcpError> {
    policy.check_host(host)?;
    let name = host.trim_matches(['[', ']']);
    let mut failed = TcpError::Connect(std::io::Error::other("the name has no address"));
    for address in tokio::net::lookup_host((name, port)).await? {
        if let Err(forbidden) = policy.check_address(name, address.ip()) {
            failed = forbidden.into();
            continue;
        }
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = error.into(),
            Err(_) => failed = TcpError::Timeout,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn policy(allow: &[&str]) -> Policy {
        let allow = allow.iter().map(|target| target.parse().unwrap()).collect();
        Policy { allow, only_listed: true, loopback: false }
    }

    #[tokio::test]
    async fn a_connection_is_made_to_what_is_listed_and_to_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (host, listed) in
            [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("localhost", "127.0.0.0/8")]
        {
            assert!(connect(&policy(&[listed]), host, port).await.is_ok(), "{host} by {listed}");
        }
        for (host, listed) in [("127.0.0.1", "10.0.0.0/8"), ("localhost", "broker.example")] {
            let refused = connect(&policy(&[listed]), host, port).await;
            assert!(matches!(refused, Err(TcpError::Forbidden(_))), "{host} by {listed}: {refused:?}");
        }
        let public = Policy { only_listed: false, ..policy(&[]) };
        let refused = connect(&public, "localhost", port).await;
        assert!(matches!(refused, Err(TcpError::Forbidden(Forbidden::Address(_)))), "{refused:?}");
    }
}
