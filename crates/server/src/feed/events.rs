//! `GET presences/stream` as Server-Sent Events.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use graph::feed as wire;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::{Event, Feed};
use crate::http::reply::Reply;

/// The stream of a feed. It is read as fast as the client reads.
pub(super) fn reply(feed: Feed) -> Reply {
    let frames = stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(write(&event)))), feed))
    });
    let mut reply = Reply::content(wire::EVENT_STREAM, Bytes::new());
    reply.stream = Some(StreamBody::new(frames).boxed_unsync());
    reply
}

fn write(event: &Event) -> Vec<u8> {
    let (name, id, data) = match event {
        // A comment: clients drop it, proxies see traffic.
        Event::Heartbeat => return b":\n\n".to_vec(),
        Event::Snapshot { position, body } => ("snapshot", Some(position), body),
        Event::Change { position, body } => ("change", Some(position), body),
        Event::Behind { oldest } => ("behind", None, &wire::behind(oldest)),
        Event::End(reason) => ("end", None, &wire::end(*reason)),
    };
    let mut out = Vec::with_capacity(data.len() + 64);
    if let Some(position) = id {
        out.extend_from_slice(format!("id: {position}\n").as_bytes());
    }
    out.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    // JSON of ours has no line break: it is one line of data.
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out
}
