//! Request bodies: bounded in size and in time, and decompressed when they were compressed.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::{
    BODY_BYTES_MAX, BODY_READ_TIMEOUT, DRAIN_BYTES_MAX, DRAIN_TIMEOUT, GZIP_RATIO_FROM, GZIP_RATIO_MAX,
    LARGE_BODIES_MAX, LARGE_BODY_BYTES,
};

/// For how much of a body room is made before it has arrived.
const ROOM_BYTES_MAX: usize = 64 * 1024;

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// More than [`BODY_BYTES_MAX`], as sent or decompressed.
    TooLarge,
    /// Not all of it came within [`BODY_READ_TIMEOUT`].
    TooSlow,
    /// The client went away in the middle.
    Broken,
    /// A `Content-Encoding` that is not gzip.
    UnknownEncoding,
    /// One of too many large ones at a time.
    NoRoom,
    /// Not gzip although it says so, or cut short.
    Undecodable,
}

/// A body that may not have arrived yet: it is read only once everything that comes before it is known to be right.
pub(crate) enum BodySource {
    Stream(Incoming),
    Ready(Bytes),
    /// Read already, to the end or to an error: what there was, and the place it takes among the large ones.
    Spent {
        read: Bytes,
        _place: Option<Place>,
    },
}

/// A place among the large bodies.
type Place = SemaphorePermit<'static>;

/// The places of large bodies: all connections together must not fill the memory with what each of them may send.
static LARGE_BODIES: Semaphore = Semaphore::const_new(LARGE_BODIES_MAX);

/// Takes a place for a body of this length, if it needs one and has none.
fn take_place(place: &mut Option<Place>, length: usize) -> Result<(), BodyError> {
    if length > LARGE_BODY_BYTES && place.is_none() {
        *place = Some(LARGE_BODIES.try_acquire().map_err(|_| BodyError::NoRoom)?);
    }
    Ok(())
}

impl BodySource {
    /// Reads all of the body, and undoes its compression.
    ///
    /// Some Kiota clients compress by default and try again uncompressed when told 415 (presence-api §18); decompressing
    /// spares them the second request.
    pub(crate) async fn read(&mut self, headers: &HeaderMap) -> Result<Bytes, BodyError> {
        let incoming = match self {
            Self::Ready(bytes) => return Ok(std::mem::take(bytes)),
            Self::Spent { .. } => return Ok(Bytes::new()),
            Self::Stream(incoming) => incoming,
        };
        let encoding = encoding(headers)?;
        if incoming.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(BodyError::TooLarge);
        }
        let mut place = None;
        let read = tokio::time::timeout(BODY_READ_TIMEOUT, collect(incoming, &mut place)).await;
        let raw = read.map_err(|_| BodyError::TooSlow)??;
        *self = Self::Spent { read: Bytes::new(), _place: None };
        let plain = match encoding {
            Encoding::Identity => raw,
            Encoding::Gzip => gunzip(&raw)?,
        };
        take_place(&mut place, plain.len())?;
        *self = Self::Spent { read: plain.clone(), _place: place };
        Ok(plain)
    }

    /// What was read, for a look back.
    pub(crate) fn was_read(&self) -> Bytes {
        match self {
            Self::Spent { read, .. } => read.clone(),
            Self::Stream(_) | Self::Ready(_) => Bytes::new(),
        }
    }

    /// Throws away what is left, within bounds: a client that is still sending would otherwise find its connection reset
    /// before it could read the answer.
    pub(crate) async fn drain(&mut self) {
        let Self::Stream(incoming) = self else { return };
        if incoming.is_end_stream() {
            return;
        }
        let mut left = DRAIN_BYTES_MAX;
        let draining = async {
            while let Some(Ok(frame)) = incoming.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, draining).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    match value.to_str().map_or("?", str::trim) {
        "" => Ok(Encoding::Identity),
        name if name.eq_ignore_ascii_case("identity") => Ok(Encoding::Identity),
        name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
            Ok(Encoding::Gzip)
        }
        _ => Err(BodyError::UnknownEncoding),
    }
}

async fn collect(body: &mut Incoming, place: &mut Option<Place>) -> Result<Bytes, BodyError> {
    // Most bodies come in one piece, and are then not copied.
    let mut whole = BytesMut::new();
    if let Some(frame) = body.frame().await {
        let first = frame.map_err(|_| BodyError::Broken)?.into_data().unwrap_or_default();
        if first.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        take_place(place, first.len())?;
        if body.is_end_stream() {
            return Ok(first);
        }
        // Room for what is to come, but not on a client's word alone for more than most send.
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        whole.reserve(first.len().saturating_add(expected).min(ROOM_BYTES_MAX).max(first.len()));
        whole.extend_from_slice(&first);
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if whole.len() + data.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        take_place(place, whole.len() + data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Decompresses at most [`BODY_BYTES_MAX`] bytes, and gives up earlier on what looks like a bomb.
fn gunzip(compressed: &[u8]) -> Result<Bytes, BodyError> {
    if compressed.is_empty() {
        return Ok(Bytes::new());
    }
    let bound = BODY_BYTES_MAX.min(compressed.len().saturating_mul(GZIP_RATIO_MAX).max(GZIP_RATIO_FROM));
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(compressed).take(bound as u64 + 1).read_to_end(&mut plain);
    if plain.len() > bound {
        return Err(BodyError::TooLarge);
    }
    read.map_err(|_| BodyError::Undecodable)?;
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_undone_and_a_truncated_or_invented_one_is_refused() {
        let compressed = gzip(b"{\"sessionId\":\"x\"}");
        assert_eq!(gunzip(&compressed), Ok(Bytes::from_static(b"{\"sessionId\":\"x\"}")));
        for length in 1..compressed.len() {
            assert_eq!(gunzip(&compressed[..length]), Err(BodyError::Undecodable), "{length} bytes");
        }
        assert_eq!(gunzip(b"{}"), Err(BodyError::Undecodable));
        assert_eq!(gunzip(b""), Ok(Bytes::new()));
    }

    #[test]
    fn a_bomb_is_given_up_on_long_before_it_fills_memory() {
        let bomb = gzip(&vec![b' '; 3 * 1024 * 1024]);
        assert!(bomb.len() < 8 * 1024);
        assert_eq!(gunzip(&bomb), Err(BodyError::TooLarge));
        let honest = gzip(&vec![b' '; GZIP_RATIO_FROM]);
        assert_eq!(gunzip(&honest).map(|plain| plain.len()), Ok(GZIP_RATIO_FROM));
    }

    #[test]
    fn only_gzip_can_be_undone() {
        let mut headers = HeaderMap::new();
        assert!(encoding(&headers) == Ok(Encoding::Identity));
        for (value, known) in
            [("gzip", true), ("GZIP", true), ("identity", true), ("br", false), ("gzip, gzip", false)]
        {
            headers.insert(CONTENT_ENCODING, value.parse().unwrap());
            assert_eq!(encoding(&headers).is_ok(), known, "{value}");
        }
    }
}
