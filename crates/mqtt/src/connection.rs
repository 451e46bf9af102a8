//! A connection to a broker, from the address to the welcome.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbound::{Policy, TcpError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::packet::{self, Packet, ProtocolError, outgoing};

/// How long a connection may take, from its address to the broker's welcome.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which broker, and who we are there.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS; `None`: in clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// Our name there; of two with the same name the broker keeps the later.
    pub client_id: String,
    /// As whom we sign in.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// How long we may be silent.
    pub keep_alive: Duration,
    /// What the broker says for us when we are gone without a farewell, retained.
    pub will: Option<Will>,
}

/// A last will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
}

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

/// Never the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not allowed, or nobody there.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// TLS does not come about.
    #[error("no TLS: {0}")]
    Tls(std::io::Error),
    /// The host is no name that a certificate could have.
    #[error("{0:?} is not a name for TLS")]
    Name(String),
    /// The broker does not want us.
    #[error("the broker refuses: {0}")]
    Refused(&'static str),
    /// Something else than a welcome.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Not in time.
    #[error("no welcome within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What comes from the broker.
pub struct Reader(BufReader<ReadHalf<Box<dyn Stream>>>);

/// What goes there.
pub struct Writer(WriteHalf<Box<dyn Stream>>);

impl Reader {
    /// The next packet. Cancelling loses the place.
    ///
    /// # Errors
    /// [`ProtocolError`]: the conversation is over.
    pub async fn read(&mut self) -> Result<Packet, ProtocolError> {
        packet::read(&mut self.0).await
    }
}

impl Writer {
    /// Sends packets. Cancelling may leave half of one behind.
    ///
    /// # Errors
    /// When the connection has broken.
    pub async fn write(&mut self, packets: &[u8]) -> Result<(), ProtocolError> {
        self.0.write_all(packets).await?;
        Ok(self.0.flush().await?)
    }

    /// Ends the connection.
    pub async fn close(mut self) {
        // The other side may have closed already; there is nothing to do about it.
        let _ = self.0.shutdown().await;
    }
}

/// Connects, where the policy allows, and signs in.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(broker: &Broker, policy: &Policy) -> Result<(Reader, Writer), ConnectError> {
    timeout(CONNECT_TIMEOUT, sign_in(broker, policy)).await.map_err(|_| ConnectError::Timeout)?
}

async fn sign_in(broker: &Broker, policy: &Policy) -> Result<(Reader, Writer), ConnectError> {
    let stream = outbound::connect(policy, &broker.host, broker.port).await?;
    let stream: Box<dyn Stream> = match &broker.tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from(broker.host.trim_matches(['[', ']']).to_owned());
            let name = name.map_err(|_| ConnectError::Name(broker.host.clone()))?;
            let connector = TlsConnector::from(tls.clone());
            Box::new(connector.connect(name, stream).await.map_err(ConnectError::Tls)?)
        }
    };
    let (reader, writer) = tokio::io::split(stream);
    let (mut reader, mut writer) = (Reader(BufReader::new(reader)), Writer(writer));
    writer.write(&outgoing::connect(broker)).await?;
    match reader.read().await? {
        Packet::ConnAck { code: 0 } => Ok((reader, writer)),
        Packet::ConnAck { code } => Err(ConnectError::Refused(refusal(code))),
        _ => Err(ProtocolError::Malformed("something before its welcome").into()),
    }
}

/// MQTT 3.1.1 §3.2.2.3.
const fn refusal(code: u8) -> &'static str {
    match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it does not like our client id",
        3 => "it is not available",
        4 => "user name or password are malformed or wrong",
        5 => "we are not authorized",
        _ => "it does not say why",
    }
}
