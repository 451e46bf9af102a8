//! Response compression, for clients that accept it and bodies that gain by it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Either};
use hyper::body::Body;

use crate::http::reply::{ResponseBody, full};
use crate::limits::GZIP_REPLY_FROM;

/// Compresses the body when the client accepts gzip and it has at least [`GZIP_REPLY_FROM`] bytes.
pub(crate) fn compress(request: &HeaderMap, response: &mut Response<ResponseBody>) {
    let Either::Left(body) = response.body_mut() else { return };
    if body.size_hint().lower() < GZIP_REPLY_FROM || !accepts_gzip(request) {
        return;
    }
    let Some(Ok(plain)) = std::mem::take(body).collect().now_or_never() else { return };
    let plain = plain.to_bytes();
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    // Writing to memory does not fail; if it did, the plain body would still be right.
    let compressed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    let Ok(compressed) = compressed else {
        *response.body_mut() = full(plain);
        return;
    };
    response.headers_mut().insert(CONTENT_LENGTH, compressed.len().into());
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    *response.body_mut() = full(compressed);
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parameters = coding.split(';').map(str::trim);
        let name = parameters.next().unwrap_or_default();
        let refused =
            parameters.any(|p| p.replace(' ', "").strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        name.eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_when_accepted() {
        for (value, accepted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q = 0.0", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
