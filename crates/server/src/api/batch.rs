//! `POST /$batch`: up to twenty requests as one, each carried out as it would have been by itself (§16).

use graph::batch::{Batch, Order, PartRequest, PartResponse, write_responses};
use graph::error::InnerError;
use graph::path::Route;
use graph::{GraphError, headers};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Call, Facts, Request, Visitor};
use crate::app::App;
use crate::http::body::BodySource;
use crate::http::error::Refusal;
use crate::http::reply::Reply;

impl App {
    pub(super) async fn batch(&self, visitor: Visitor, request: &Request<'_>) -> Result<Reply, Refusal> {
        let batch = Batch::parse(request.json(), request.route.root)?;
        let mut responses: Vec<PartResponse> = Vec::with_capacity(batch.parts.len());
        for part in batch.parts {
            let has_failed = responses.last().is_some_and(|previous| previous.status >= 400);
            let outcome = if batch.order == Order::Sequence && has_failed {
                Err(GraphError::failed_dependency().into())
            } else {
                self.carry_out(visitor, part.request, request).await
            };
            responses.push(self.part_response(part.id, outcome, request));
        }
        let mut out = Vec::with_capacity(1_024);
        write_responses(&mut out, &responses);
        Ok(Reply::content(headers::CONTENT_TYPE_BATCH, out))
    }

    async fn carry_out(
        &self,
        visitor: Visitor,
        part: Result<PartRequest, GraphError>,
        whole: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let part = part?;
        let route = Route::parse(&part.path)?;
        let headers = header_map(&part);
        let mut body = BodySource::Ready(part.body.into());
        let call = Call {
            origin: whole.origin,
            request_id: whole.request_id,
            method: part.method,
            path: &part.path,
            query: Some(&part.query),
            headers: &headers,
            body: &mut body,
            is_part: true,
        };
        // One line in the log for the whole batch: what its parts are is not told.
        self.call_as(Some(visitor), route, call, &mut Facts::default()).await
    }

    fn part_response(
        &self,
        id: String,
        outcome: Result<Reply, Refusal>,
        whole: &Request<'_>,
    ) -> PartResponse {
        let field = |name: HeaderName, value: &str| (name.to_string(), value.to_owned());
        let mut fields = vec![field(CACHE_CONTROL, headers::CACHE_CONTROL.1)];
        match outcome {
            Ok(reply) => {
                if let Some(content_type) = reply.content_type {
                    fields.push(field(CONTENT_TYPE, content_type));
                }
                if let Some(outcome) = &reply.outcome {
                    let value = graph::explanation::outcome_header(outcome);
                    fields.push((headers::OUTCOME.to_owned(), value));
                }
                if reply.is_odata {
                    fields.push((headers::ODATA_VERSION.0.to_owned(), headers::ODATA_VERSION.1.to_owned()));
                }
                PartResponse { id, status: reply.status.as_u16(), headers: fields, body: reply.body.into() }
            }
            Err(Refusal { error, cause, .. }) => {
                if let Some(cause) = cause.filter(|_| error.status >= 500) {
                    tracing::error!(
                        request_id = whole.request_id,
                        part = id,
                        cause,
                        "a part of a batch failed"
                    );
                }
                fields.push(field(CONTENT_TYPE, headers::CONTENT_TYPE_ERROR));
                if let Some(seconds) = error.retry_after_secs {
                    fields.push(field(RETRY_AFTER, &seconds.to_string()));
                }
                let client_request_id = whole.header(headers::CLIENT_REQUEST_ID);
                let inner = InnerError {
                    date: self.wall_clock.now(),
                    request_id: whole.request_id,
                    client_request_id,
                };
                let mut body = Vec::new();
                error.write(&mut body, &inner);
                PartResponse { id, status: error.status, headers: fields, body }
            }
        }
    }
}

/// A part's headers. One that could not be a header by itself is left out, as it would have been by itself.
fn header_map(part: &PartRequest) -> HeaderMap {
    let fields = part.headers.iter().filter_map(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
    });
    fields.collect()
}
