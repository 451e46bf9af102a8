//! Packets as bytes, in both directions.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest packet that is kept whole, in bytes. Ours: what says who is where is a few hundred.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Longest topic, in bytes (MQTT 3.1.1 §1.5.3).
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// How much of a packet that nobody wants is read at a time, in bytes.
const SKIP_BYTES: usize = 8 * 1024;

/// What a broker sends that matters to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The answer to CONNECT; zero is a welcome.
    ConnAck {
        /// Why not, otherwise.
        code: u8,
    },
    /// A message of a topic that was subscribed to.
    Publish(Message),
    /// A message too large to be looked at.
    TooLarge {
        /// What to acknowledge it by.
        id: Option<u16>,
    },
    /// What was published under this name is the broker's now.
    PubAck {
        /// The name.
        id: u16,
    },
    /// The answer to SUBSCRIBE.
    SubAck {
        /// The name of the request.
        id: u16,
        /// Whether every filter was accepted.
        is_granted: bool,
    },
    /// The answer to UNSUBSCRIBE.
    UnsubAck,
    /// The answer to PINGREQ.
    PingResp,
}

/// One message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// Whether it is what the broker remembered of the topic, rather than news.
    pub is_retained: bool,
    /// What to acknowledge it by; `None`: nobody waits for that.
    pub id: Option<u16>,
}

/// Never the payload: it is about people.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.payload.len();
        f.debug_struct("Message").field("topic", &self.topic).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// What came is not MQTT 3.1.1, or not what a client is sent.
    #[error("the broker sent what MQTT 3.1.1 does not allow: {0}")]
    Malformed(&'static str),
}

/// Reads one packet. Cancelling loses the place.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Packet, ProtocolError> {
    let first = reader.read_u8().await?;
    let length = read_length(reader).await?;
    if length > PACKET_BYTES_MAX {
        return skip_publish(reader, first, length).await;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    parse(first, &body)
}

async fn read_length(reader: &mut (impl AsyncRead + Unpin)) -> Result<usize, ProtocolError> {
    let mut length = 0;
    for place in 0..4 {
        let byte = reader.read_u8().await?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(ProtocolError::Malformed("a length of more than four bytes"))
}

/// Reads past a message that is too large, as far as its name.
async fn skip_publish(
    reader: &mut (impl AsyncRead + Unpin),
    first: u8,
    length: usize,
) -> Result<Packet, ProtocolError> {
    if first >> 4 != PUBLISH {
        return Err(ProtocolError::Malformed("a packet too long for its kind"));
    }
    let topic = usize::from(reader.read_u16().await?);
    // The packet is longer than its kept part may be, which may still be shorter than its topic says.
    let is_named = qos(first)? > 0;
    let head = 2 + topic + if is_named { 2 } else { 0 };
    let rest = length.checked_sub(head).ok_or(ProtocolError::Malformed("a topic longer than its packet"))?;
    skip(reader, topic).await?;
    let id = match is_named {
        true => Some(reader.read_u16().await?),
        false => None,
    };
    skip(reader, rest).await?;
    Ok(Packet::TooLarge { id })
}

async fn skip(reader: &mut (impl AsyncRead + Unpin), mut bytes: usize) -> Result<(), ProtocolError> {
    let mut buffer = [0; SKIP_BYTES];
    while bytes > 0 {
        let part = bytes.min(SKIP_BYTES);
        reader.read_exact(&mut buffer[..part]).await?;
        bytes -= part;
    }
    Ok(())
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
/// A filter that was not accepted, in SUBACK.
const REFUSED: u8 = 0x80;

fn qos(first: u8) -> Result<u8, ProtocolError> {
    match (first >> 1) & 3 {
        qos @ (0 | 1) => Ok(qos),
        _ => Err(ProtocolError::Malformed("a message with more acknowledgement than was asked for")),
    }
}

fn parse(first: u8, body: &[u8]) -> Result<Packet, ProtocolError> {
    let id = |at: usize| match body.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(ProtocolError::Malformed("a packet that ends early")),
    };
    Ok(match first >> 4 {
        CONNACK => match body {
            [_, code] => Packet::ConnAck { code: *code },
            _ => return Err(ProtocolError::Malformed("a CONNACK of another length")),
        },
        PUBLISH => {
            let ends = 2 + usize::from(id(0)?);
            let topic = body.get(2..ends).and_then(|topic| std::str::from_utf8(topic).ok());
            let topic = topic.filter(|topic| !topic.is_empty() && !topic.contains(['+', '#', '\0']));
            let topic = topic.ok_or(ProtocolError::Malformed("a message without a topic"))?.to_owned();
            let name = if qos(first)? > 0 { Some(id(ends)?) } else { None };
            let payload = body[ends + if name.is_some() { 2 } else { 0 }..].to_vec();
            Packet::Publish(Message { topic, payload, is_retained: first & 1 == 1, id: name })
        }
        PUBACK => Packet::PubAck { id: id(0)? },
        SUBACK => {
            let codes = body.get(2..).unwrap_or_default();
            Packet::SubAck { id: id(0)?, is_granted: !codes.is_empty() && !codes.contains(&REFUSED) }
        }
        UNSUBACK => Packet::UnsubAck,
        PINGRESP => Packet::PingResp,
        _ => return Err(ProtocolError::Malformed("a packet that a client is not sent")),
    })
}

/// Packets that a client sends, as bytes.
pub mod outgoing {
    use super::{CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE};
    use crate::connection::Broker;

    /// CONNECT, for a conversation that remembers nothing of the one before: what is to be told stands in our own log.
    pub(crate) fn connect(broker: &Broker) -> Vec<u8> {
        const CLEAN: u8 = 0x02;
        const WILL: u8 = 0x04;
        const WILL_AT_LEAST_ONCE: u8 = 0x08;
        const WILL_RETAIN: u8 = 0x20;
        const PASSWORD: u8 = 0x40;
        const USER: u8 = 0x80;
        let mut flags = CLEAN;
        let mut rest = Vec::new();
        text(&mut rest, broker.client_id.as_bytes());
        if let Some(will) = &broker.will {
            flags |= WILL | WILL_AT_LEAST_ONCE | WILL_RETAIN;
            text(&mut rest, will.topic.as_bytes());
            text(&mut rest, &will.payload);
        }
        if let Some(user) = &broker.username {
            flags |= USER;
            text(&mut rest, user.as_bytes());
            // A password without a user name does not exist in this version.
            if let Some(password) = &broker.password {
                flags |= PASSWORD;
                text(&mut rest, password.0.as_bytes());
            }
        }
        let mut body = Vec::new();
        text(&mut body, b"MQTT");
        body.extend([4, flags]);
        let seconds = u16::try_from(broker.keep_alive.as_secs()).unwrap_or(u16::MAX);
        body.extend(seconds.to_be_bytes());
        body.extend(rest);
        packet(CONNECT << 4, &body)
    }

    /// PUBLISH, to be acknowledged under `id`.
    pub fn publish(id: u16, topic: &str, payload: &[u8], is_retained: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
        text(&mut body, topic.as_bytes());
        body.extend(id.to_be_bytes());
        body.extend(payload);
        packet(PUBLISH << 4 | 0x02 | u8::from(is_retained), &body)
    }

    /// PUBACK.
    pub fn puback(id: u16) -> Vec<u8> {
        packet(PUBACK << 4, &id.to_be_bytes())
    }

    /// SUBSCRIBE, to messages that are acknowledged or not.
    pub fn subscribe(id: u16, filters: &[String], is_acknowledged: bool) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        for filter in filters {
            text(&mut body, filter.as_bytes());
            body.push(u8::from(is_acknowledged));
        }
        packet(SUBSCRIBE << 4 | 0x02, &body)
    }

    /// UNSUBSCRIBE.
    pub fn unsubscribe(id: u16, filter: &str) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        text(&mut body, filter.as_bytes());
        packet(UNSUBSCRIBE << 4 | 0x02, &body)
    }

    /// PINGREQ.
    pub fn ping() -> Vec<u8> {
        packet(PINGREQ << 4, &[])
    }

    /// DISCONNECT: a farewell, after which the last will is not sent.
    pub fn disconnect() -> Vec<u8> {
        packet(DISCONNECT << 4, &[])
    }

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len() + 5);
        out.push(first);
        let mut length = body.len();
        loop {
            let byte = (length & 0x7f) as u8;
            length >>= 7;
            out.push(if length > 0 { byte | 0x80 } else { byte });
            if length == 0 {
                break;
            }
        }
        out.extend(body);
        out
    }

    /// A length and so many bytes: as many as the length can say. Whoever reads settings refuses longer ones.
    fn text(out: &mut Vec<u8>, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
        out.extend((bytes.len() as u16).to_be_bytes());
        out.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::connection::{Broker, Secret, Will};

    fn read_all(bytes: &[u8]) -> Result<Packet, ProtocolError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read(&mut &*bytes))
    }

    /// A PUBLISH as a broker sends it.
    fn published(topic: &[u8], payload: &[u8], first: u8) -> Vec<u8> {
        let mut out = outgoing::publish(7, "", payload, false);
        let at = out.len() - payload.len() - 4;
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic);
        body.extend(&out[at + 2..]);
        out = vec![first];
        let mut length = body.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(body);
        out
    }

    #[test]
    fn a_connect_is_the_bytes_of_the_standard() {
        let broker = Broker {
            host: "b".into(),
            port: 1,
            tls: None,
            client_id: "me".into(),
            username: Some("u".into()),
            password: Some(Secret("p".into())),
            keep_alive: Duration::from_secs(30),
            will: Some(Will { topic: "t".into(), payload: b"x".to_vec() }),
        };
        let expected = b"\x10\x1a\x00\x04MQTT\x04\xee\x00\x1e\x00\x02me\x00\x01t\x00\x01x\x00\x01u\x00\x01p";
        assert_eq!(outgoing::connect(&broker), expected);
        let nobody = Broker { username: None, will: None, ..broker };
        assert_eq!(outgoing::connect(&nobody), b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x1e\x00\x02me");
    }

    #[test]
    fn what_a_client_sends_is_the_bytes_of_the_standard() {
        assert_eq!(outgoing::publish(258, "a/b", b"hi", true), b"\x33\x09\x00\x03a/b\x01\x02hi");
        assert_eq!(outgoing::puback(258), b"\x40\x02\x01\x02");
        assert_eq!(outgoing::subscribe(1, &["a/+".into()], true), b"\x82\x08\x00\x01\x00\x03a/+\x01");
        assert_eq!(outgoing::unsubscribe(1, "a"), b"\xa2\x05\x00\x01\x00\x01a");
        assert_eq!(outgoing::ping(), b"\xc0\x00");
        assert_eq!(outgoing::disconnect(), b"\xe0\x00");
        assert_eq!(outgoing::publish(1, "a", &[0; 124], false)[1..3], [0x81, 0x01], "a length of two bytes");
    }

    #[test]
    fn what_a_broker_sends_is_read() {
        assert_eq!(read_all(b"\x20\x02\x00\x05").unwrap(), Packet::ConnAck { code: 5 });
        assert_eq!(read_all(b"\x40\x02\x01\x02").unwrap(), Packet::PubAck { id: 258 });
        assert_eq!(
            read_all(b"\x90\x04\x00\x01\x01\x80").unwrap(),
            Packet::SubAck { id: 1, is_granted: false }
        );
        assert_eq!(read_all(b"\x90\x03\x00\x01\x01").unwrap(), Packet::SubAck { id: 1, is_granted: true });
        assert_eq!(read_all(b"\xd0\x00").unwrap(), Packet::PingResp);
        let message =
            Message { topic: "a/b".into(), payload: b"hi".to_vec(), is_retained: true, id: Some(7) };
        assert_eq!(read_all(&published(b"a/b", b"hi", 0x33)).unwrap(), Packet::Publish(message));
        assert_eq!(read_all(b"\x30\x03\x00\x01a").unwrap(), {
            Packet::Publish(Message { topic: "a".into(), payload: Vec::new(), is_retained: false, id: None })
        });
    }

    #[test]
    fn a_message_that_is_too_large_is_read_past_and_the_next_one_read() {
        let mut bytes = published(b"a", &vec![b'x'; 1_000_000], 0x32);
        bytes.extend(b"\xd0\x00");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = &*bytes;
        runtime.block_on(async {
            assert_eq!(read(&mut rest).await.unwrap(), Packet::TooLarge { id: Some(7) });
            assert_eq!(read(&mut rest).await.unwrap(), Packet::PingResp);
        });
    }

    #[test]
    fn what_is_not_mqtt_ends_the_conversation() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"\x30\xff\xff\xff\xff\x01",
            b"\x30\x02\x00\x05",
            b"\x30\x04\x00\x02a\xff",
            b"\x30\x03\x00\x01#",
            b"\x34\x05\x00\x01a\x00\x01",
            b"\x20\x01\x00",
            b"\x10\x00",
            b"\xff\xff\xff\x7f",
        ] {
            assert!(read_all(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
        }

        #[test]
        fn every_message_is_read_as_it_was_written(
            topic in "[^+#\u{0}]{1,40}",
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let read = read_all(&published(topic.as_bytes(), &payload, 0x32)).unwrap();
            prop_assert_eq!(read, Packet::Publish(Message { topic, payload, is_retained: false, id: Some(7) }));
        }
    }
}
