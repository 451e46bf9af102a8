//! What a handler answers, before it becomes an HTTP response or a part of a batch.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt;
use graph::error::{GraphError, InnerError, www_authenticate};
use graph::headers::MetadataLevel;
use graph::{Method, headers};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use presence::{Outcome, Timestamp};

use crate::scim::{self, ScimType};

// The names every answer has, parsed once.
const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);
pub(crate) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static(headers::CLIENT_REQUEST_ID);
const DIAGNOSTIC: HeaderName = HeaderName::from_static(headers::DIAGNOSTIC);
const ODATA_VERSION: HeaderName = HeaderName::from_static(headers::ODATA_VERSION.0);
const OUTCOME: HeaderName = HeaderName::from_static(headers::OUTCOME);
// And their values, checked once.
const NO_CACHE: HeaderValue = HeaderValue::from_static(headers::CACHE_CONTROL.1);
const VARIES: HeaderValue = HeaderValue::from_static("Accept-Encoding");
const ODATA_VERSION_VALUE: HeaderValue = HeaderValue::from_static(headers::ODATA_VERSION.1);
const HTTPS_ONLY: HeaderValue = HeaderValue::from_static(headers::STRICT_TRANSPORT_SECURITY.1);
/// In the place of a value that each answer has of its own.
const OWN_VALUE: HeaderValue = HeaderValue::from_static("");

/// The body of a response: all of it at once, or one that goes on for as long as the client listens.
pub(crate) type ResponseBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// A body that is there in full.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Either::Left(Full::new(bytes.into()))
}

/// The bytes of a body that is there in full.
pub(crate) fn in_full(body: &ResponseBody) -> Option<Bytes> {
    let Either::Left(body) = body else { return None };
    Some(body.clone().collect().now_or_never()?.ok()?.to_bytes())
}

/// A success: status, and a body with its type when there is one.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<&'static str>,
    /// Whether the body is OData, and says so in a header.
    pub(crate) is_odata: bool,
    pub(crate) body: Bytes,
    /// Where what was created is, for the `Location` header.
    pub(crate) location: Option<String>,
    /// What a presence write has come to, for its header.
    pub(crate) outcome: Option<Outcome>,
    /// What follows the body for as long as the client listens; a batch has no use for it.
    pub(crate) stream: Option<UnsyncBoxBody<Bytes, Infallible>>,
}

impl Reply {
    /// 200 without a body and without a Content-Type: what every presence action answers (presence-api §6).
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// 200 with an OData body.
    pub(crate) fn odata(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type), is_odata: true, body: body.into(), ..Self::default() }
    }

    /// 200 with any other body.
    pub(crate) fn content(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type), body: body.into(), ..Self::default() }
    }
}

/// The heads of the usual answers, with everything that is the same in each. To copy one is a third of the work of putting it
/// together.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Of any answer.
    any: HeaderMap,
    /// Of one with an OData body.
    odata: HeaderMap,
    /// Of one to a write, which says what has come of it.
    write: HeaderMap,
}

impl Heads {
    /// With this value of the diagnostic header.
    pub(crate) fn new(diagnostic: HeaderValue) -> Self {
        let any = HeaderMap::from_iter([
            (CONTENT_LENGTH, OWN_VALUE),
            (CACHE_CONTROL, NO_CACHE),
            (VARY, VARIES),
            (DIAGNOSTIC, diagnostic),
            (CLIENT_REQUEST_ID, OWN_VALUE),
            (REQUEST_ID, OWN_VALUE),
        ]);
        let mut odata = any.clone();
        odata.insert(CONTENT_TYPE, HeaderValue::from_static(MetadataLevel::Minimal.content_type()));
        odata.insert(ODATA_VERSION, ODATA_VERSION_VALUE);
        let mut write = any.clone();
        write.insert(OUTCOME, OWN_VALUE);
        Self { any, odata, write }
    }
}

/// What every answer to one request shares.
pub(crate) struct Envelope<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) client_request_id: Option<&'a str>,
    pub(crate) heads: &'a Heads,
    /// Scheme and host as the client sees them: a 401 sends it there to sign in.
    pub(crate) origin: &'a str,
    pub(crate) tls: bool,
    /// Wall-clock time, for `innerError.date`.
    pub(crate) date: Timestamp,
}

impl Envelope<'_> {
    pub(crate) fn inner_error(&self) -> InnerError<'_> {
        InnerError { date: self.date, request_id: self.request_id, client_request_id: self.client_request_id }
    }

    /// The response of a success.
    pub(crate) fn success(&self, reply: Reply) -> Response<ResponseBody> {
        let head = match reply {
            Reply { is_odata: true, .. } => &self.heads.odata,
            Reply { outcome: Some(_), .. } => &self.heads.write,
            _ => &self.heads.any,
        };
        let mut response = self.response(head, reply.status, reply.content_type, reply.body);
        if let Some(stream) = reply.stream {
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = Either::Right(stream);
        }
        if let Some(location) = &reply.location {
            insert(&mut response, LOCATION, location);
        }
        if let Some(outcome) = &reply.outcome {
            insert(&mut response, OUTCOME, &graph::explanation::outcome_header(outcome));
        }
        response
    }

    /// The response of a failure.
    pub(crate) fn failure(&self, error: &GraphError) -> Response<ResponseBody> {
        let mut body = Vec::new();
        error.write(&mut body, &self.inner_error());
        self.failure_with(error, headers::CONTENT_TYPE_ERROR, body)
    }

    /// The response of a failure in the words of SCIM.
    pub(crate) fn scim_failure(
        &self,
        error: &GraphError,
        scim_type: Option<ScimType>,
    ) -> Response<ResponseBody> {
        self.failure_with(error, scim::CONTENT_TYPE, scim::error_body(error, scim_type))
    }

    fn failure_with(
        &self,
        error: &GraphError,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Response<ResponseBody> {
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.response(&self.heads.any, status, Some(content_type), body.into());
        if let Some(allow) = &error.allow {
            let methods: Vec<&str> = allow.iter().copied().map(Method::as_str).collect();
            insert(&mut response, ALLOW, &methods.join(", "));
        }
        if let Some(seconds) = error.retry_after_secs {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let authorization_uri = format!("{}/common/oauth2/authorize", self.origin);
            insert(&mut response, WWW_AUTHENTICATE, &www_authenticate(&authorization_uri));
        }
        response
    }

    fn response(
        &self,
        head: &HeaderMap,
        status: StatusCode,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Response<ResponseBody> {
        let length = body.len();
        let mut response = Response::new(full(body));
        *response.status_mut() = status;
        *response.headers_mut() = head.clone();
        let fields = response.headers_mut();
        // The usual one is there; to make a value is to look at each of its bytes.
        if let Some(content_type) =
            content_type.filter(|it| fields.get(CONTENT_TYPE).is_none_or(|is| is != it))
        {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        fields.insert(CONTENT_LENGTH, length.into());
        // Most answers have it twice; the bytes are shared.
        if let Ok(request_id) =
            HeaderValue::from_maybe_shared(Bytes::copy_from_slice(self.request_id.as_bytes()))
        {
            let given = self.client_request_id.and_then(|id| HeaderValue::from_str(id).ok());
            fields.insert(CLIENT_REQUEST_ID, given.unwrap_or_else(|| request_id.clone()));
            fields.insert(REQUEST_ID, request_id);
        }
        if self.tls {
            fields.insert(STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
        }
        response
    }
}

/// Sets a header unless its value cannot be one. The names are ours, the values were read from headers or made here.
fn insert(response: &mut Response<ResponseBody>, name: impl TryInto<HeaderName>, value: &str) {
    if let (Ok(name), Ok(value)) = (name.try_into(), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}
