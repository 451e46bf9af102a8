//! A record of Graph requests and what was answered, for whoever tests a client: an emulator may keep one.
//!
//! Only requests below a Graph root are recorded, so that no secret of a sign-in can be among them, and headers that carry
//! credentials are left out.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;

/// Headers that are not recorded.
const SECRET_HEADERS: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// Writes one line of JSON for each exchange.
pub struct Recorder {
    out: Mutex<Box<dyn Write + Send>>,
}

/// One line of the record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exchange<'a> {
    method: &'a str,
    /// With its query.
    path: &'a str,
    request_headers: BTreeMap<&'a str, &'a str>,
    status: u16,
    response_headers: BTreeMap<&'a str, &'a str>,
    /// As text; `null` for one that is none or goes on.
    body: Option<&'a str>,
}

impl Recorder {
    /// Records to `out`, a line at a time.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)) }
    }

    /// Records an exchange. A record that cannot be written is not worth a request: it is missing, and the log says so.
    pub(crate) fn record(
        &self,
        head: &http::request::Parts,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<&Bytes>,
    ) {
        let exchange = Exchange {
            method: head.method.as_str(),
            path: head.uri.path_and_query().map_or(head.uri.path(), |path| path.as_str()),
            request_headers: texts(&head.headers),
            status: status.as_u16(),
            response_headers: texts(headers),
            body: body.and_then(|bytes| std::str::from_utf8(bytes).ok()),
        };
        let Ok(mut line) = serde_json::to_vec(&exchange) else { return };
        line.push(b'\n');
        if let Err(error) = self.out.lock().write_all(&line) {
            tracing::warn!(%error, "an exchange could not be recorded");
        }
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<&str, &str> {
    let public = headers.iter().filter(|(name, _)| !SECRET_HEADERS.contains(name));
    public.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_exchange_is_one_line_without_the_token() {
        let lines = Lines::default();
        let recorder = Recorder::new(lines.clone());
        let request = http::Request::get("/v1.0/me/presence?$select=id")
            .header("authorization", "Bearer secret-token")
            .header("accept", "application/json");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::from_static(b"{\"id\":\n1}");
        recorder.record(&head, StatusCode::OK, &HeaderMap::new(), Some(&body));
        let written = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert_eq!(
            written,
            "{\"method\":\"GET\",\"path\":\"/v1.0/me/presence?$select=id\",\
             \"requestHeaders\":{\"accept\":\"application/json\"},\"status\":200,\"responseHeaders\":{},\
             \"body\":\"{\\\"id\\\":\\n1}\"}\n"
        );
    }
}
