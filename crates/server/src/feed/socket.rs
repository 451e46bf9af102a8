//! `GET presences/stream` as a WebSocket (RFC 6455): the same events, one text message each.
//!
//! A page in a browser cannot set headers here, so the token may come as a subprotocol of its own, `bearer.TOKEN`, beside
//! the one that is spoken.

use futures_util::{SinkExt, StreamExt};
use graph::feed as wire;
use http::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{Event, Feed};
use crate::http::reply::{ResponseBody, full};
use crate::limits::{FEED_MESSAGE_BYTES_MAX, FEED_WRITE_TIMEOUT};

/// The subprotocol spoken.
const PROTOCOL: &str = "presenced.v1";
/// What goes before a token that comes as a subprotocol.
const TOKEN_PROTOCOL: &str = "bearer.";

/// Whether a request asks for a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
    };
    has(UPGRADE, "websocket") && has(CONNECTION, "upgrade")
}

/// Moves a token among the subprotocols to where tokens stand.
pub(super) fn find_token(headers: &mut HeaderMap) {
    if headers.contains_key(AUTHORIZATION) {
        return;
    }
    let token =
        protocols(headers).find_map(|protocol| protocol.strip_prefix(TOKEN_PROTOCOL).map(str::to_owned));
    if let Some(mut value) = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok()) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// 101, and the conversation that begins when it was sent. `None`: the handshake is not one.
pub(super) fn accept(headers: &HeaderMap, upgrade: OnUpgrade, feed: Feed) -> Option<Response<ResponseBody>> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    if headers.get(SEC_WEBSOCKET_VERSION)?.as_bytes() != b"13" {
        return None;
    }
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?);
    if protocols(headers).any(|protocol| protocol == PROTOCOL) {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            converse(TokioIo::new(upgraded), feed).await;
        }
    });
    Some(response)
}

/// Tells events until either side has enough. A client that does not take them for [`FEED_WRITE_TIMEOUT`] is let go: it can
/// come back with the last position it saw.
async fn converse<S>(stream: S, mut feed: Feed)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(FEED_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(FEED_MESSAGE_BYTES_MAX));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    loop {
        let message = tokio::select! {
            event = feed.next() => match event {
                Some(event) => message(&event),
                None => break,
            },
            heard = socket.next() => match heard {
                // Pings are answered by the library. Nothing a client says has a meaning yet.
                Some(Ok(message)) if !message.is_close() => continue,
                _ => break,
            },
        };
        match tokio::time::timeout(FEED_WRITE_TIMEOUT, socket.send(message)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let _ = tokio::time::timeout(FEED_WRITE_TIMEOUT, socket.close(None)).await;
}

fn message(event: &Event) -> Message {
    let json = match event {
        Event::Heartbeat => return Message::Ping(bytes::Bytes::new()),
        Event::Snapshot { body, .. } => wire::message("snapshot", body),
        Event::Change { body, .. } => wire::message("change", body),
        Event::Behind { oldest } => wire::message("behind", &wire::behind(oldest)),
        Event::End(reason) => wire::message("end", &wire::end(*reason)),
    };
    Message::text(String::from_utf8(json).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "one task for each socket, bounded by FEEDS_MAX")]
fn spawn(conversation: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(conversation);
}
