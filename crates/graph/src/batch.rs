//! `$batch`: reading up to twenty requests out of one, and writing their answers into one. Source: §16.
//!
//! Carrying the parts out is the server's business; in which order is decided here.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::GraphError;
use crate::json::{self, Body, Members};
use crate::operations::Method;
use crate::path::Root;

/// Requests in one batch. Source: json-batching.
pub const PARTS_MAX: usize = 20;

/// A batch that was read, of 1 to [`PARTS_MAX`] parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The parts, in the order in which they are to be carried out.
    pub parts: Vec<Part>,
    /// How they depend on each other.
    pub order: Order,
}

/// How the parts of a batch depend on each other; nothing between the two is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not at all.
    Parallel,
    /// Each on the one before it: once one fails (status 400 or more), all after it are
    /// [`GraphError::failed_dependency`].
    Sequence,
}

/// One request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What the answer is known by.
    pub id: String,
    /// The request, or why this part alone is refused.
    pub request: Result<PartRequest, GraphError>,
}

/// A request as it would have come by itself, but for the token, which is the whole batch's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRequest {
    /// The method.
    pub method: Method,
    /// The path, with the version root of the batch.
    pub path: String,
    /// The query, without its question mark; empty when there is none.
    pub query: String,
    /// The headers as given.
    pub headers: Vec<(String, String)>,
    /// The body: JSON as it stood in the batch, or the bytes that base64url text stood for.
    pub body: Vec<u8>,
}

impl PartRequest {
    /// A header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body with the headers that say how to read it.
    pub fn body(&self) -> Body<'_> {
        Body {
            content_type: self.header("content-type"),
            content_encoding: self.header("content-encoding"),
            bytes: &self.body,
        }
    }
}

impl Batch {
    /// Reads the body of a `POST /$batch` below this root.
    ///
    /// # Errors
    /// 400 for a batch that is malformed as a whole: what only spoils one part is that part's answer.
    pub fn parse(body: Body<'_>, root: Root) -> Result<Self, GraphError> {
        let requests = body.members()?.get::<Vec<Members<'_>>>("requests")?;
        let requests = requests.ok_or_else(|| GraphError::bad_request("The batch has no requests."))?;
        if requests.is_empty() || requests.len() > PARTS_MAX {
            return Err(GraphError::bad_request(format!("A batch has between 1 and {PARTS_MAX} requests.")));
        }
        let mut parts: Vec<Part> = Vec::with_capacity(requests.len());
        let mut dependencies = Vec::with_capacity(requests.len());
        for request in &requests {
            let id = match request.text("id")? {
                Some(id) if !id.is_empty() => id.into_owned(),
                _ => return Err(GraphError::bad_request("A request of the batch has no id.")),
            };
            if parts.iter().any(|part| part.id.eq_ignore_ascii_case(&id)) {
                return Err(GraphError::bad_request(format!(
                    "The request id '{id}' is not unique in the batch."
                )));
            }
            dependencies.push(depends_on(request, &id, &parts)?);
            parts.push(Part { request: part_request(request, &id, root)?, id });
        }
        Ok(Self { order: order(&dependencies)?, parts })
    }
}

/// Which earlier parts a part depends on, by their positions.
fn depends_on(request: &Members<'_>, id: &str, earlier: &[Part]) -> Result<Vec<usize>, GraphError> {
    let wanted = request.get::<Vec<String>>("dependsOn")?.unwrap_or_default();
    let position = |wanted: String| {
        earlier.iter().position(|part| part.id.eq_ignore_ascii_case(&wanted)).ok_or_else(|| {
            GraphError::bad_request(format!(
                "Invalid dependency for request Id '{id}': '{wanted}' is not the id of an earlier request."
            ))
        })
    };
    wanted.into_iter().map(position).collect()
}

/// All without dependencies, or a chain in which each depends at least on the one before it.
fn order(dependencies: &[Vec<usize>]) -> Result<Order, GraphError> {
    if dependencies.iter().all(Vec::is_empty) {
        return Ok(Order::Parallel);
    }
    let mut after_the_first = dependencies.iter().enumerate().skip(1);
    if after_the_first.all(|(position, wanted)| wanted.contains(&(position - 1))) {
        return Ok(Order::Sequence);
    }
    Err(GraphError::bad_request("Batch should be either fully sequential or fully parallel."))
}

/// What a part asks for. The outer error is the whole batch's, the inner one the part's.
fn part_request(
    request: &Members<'_>,
    id: &str,
    root: Root,
) -> Result<Result<PartRequest, GraphError>, GraphError> {
    let missing =
        |member: &str| GraphError::bad_request(format!("The request with id '{id}' has no {member}."));
    let method = request.text("method")?.ok_or_else(|| missing("method"))?;
    let url = request.text("url")?.ok_or_else(|| missing("url"))?;
    let relative = url.strip_prefix('/').unwrap_or(&url);
    // `//host` is as absolute as `scheme://host`.
    let is_absolute = relative.starts_with('/')
        || relative.split(['/', '?']).next().is_some_and(|start| start.ends_with(':'));
    if is_absolute {
        return Err(GraphError::bad_request(format!(
            "The URL of the request with id '{id}' is not relative."
        )));
    }
    let (path, query) = relative.split_once('?').unwrap_or((relative, ""));
    let headers = match request.object("headers")? {
        Some(headers) => headers
            .iter()
            .map(|(name, value)| {
                let value = serde_json::from_str(value).map_err(|_| GraphError::unreadable_payload())?;
                Ok((name.to_owned(), value))
            })
            .collect::<Result<Vec<(String, String)>, GraphError>>()?,
        None => Vec::new(),
    };
    let mut part = PartRequest {
        method: Method::parse(&method),
        path: format!("/{}/{path}", root.as_str()),
        query: query.to_owned(),
        headers,
        body: Vec::new(),
    };
    let is_json = part.header("content-type").is_none_or(json::is_json);
    Ok(part_body(request.raw("body"), is_json).and_then(|body| {
        part.body = body;
        check_nesting(&part.path)?;
        Ok(part)
    }))
}

fn part_body(body: Option<&str>, is_json: bool) -> Result<Vec<u8>, GraphError> {
    let Some(body) = body.filter(|body| *body != "null") else { return Ok(Vec::new()) };
    if is_json {
        return Ok(body.as_bytes().to_vec());
    }
    let text: String = serde_json::from_str(body).map_err(|_| GraphError::unreadable_payload())?;
    let text = text.trim_end_matches('=');
    URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .map_err(|_| GraphError::unreadable_payload())
}

/// A batch in a batch could make twenty requests four hundred; the schema needs no token and so no batch.
fn check_nesting(path: &str) -> Result<(), GraphError> {
    let Ok(route) = crate::path::Route::parse(path) else { return Ok(()) };
    if ["/$batch", "/$metadata"].contains(&route.template) {
        return Err(GraphError::bad_request(format!(
            "'{}' is not supported in a batch.",
            &route.template[1..]
        )));
    }
    Ok(())
}

/// The answer to one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartResponse {
    /// The id of the request.
    pub id: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers of the part.
    pub headers: Vec<(String, String)>,
    /// The body; left out when empty.
    pub body: Vec<u8>,
}

/// Appends the body of the response to a batch. A body whose `Content-Type` is JSON stands as it is, any other as
/// base64url text.
pub fn write_responses(out: &mut Vec<u8>, responses: &[PartResponse]) {
    out.extend_from_slice(b"{\"responses\":[");
    for (position, response) in responses.iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"{\"id\":" } else { b",{\"id\":" });
        json::string(out, &response.id);
        out.extend_from_slice(format!(",\"status\":{},\"headers\":{{", response.status).as_bytes());
        for (position, (name, value)) in response.headers.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            json::string(out, &documented_case(name));
            out.push(b':');
            json::string(out, value);
        }
        out.push(b'}');
        if !response.body.is_empty() {
            out.extend_from_slice(b",\"body\":");
            let mut types =
                response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            if types.any(|(_, value)| json::is_json(value)) {
                out.extend_from_slice(&response.body);
            } else {
                json::string(out, &URL_SAFE_NO_PAD.encode(&response.body));
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// A header's name as HTTP/1.1 writes it. In a batch it is a member of an object, and the JavaScript client looks for
/// `Content-Type` in exactly this case (§16).
fn documented_case(name: &str) -> String {
    let parts = name.split('-').map(|part| match part {
        "odata" => "OData".to_owned(),
        part => {
            let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
            first.to_ascii_uppercase() + rest
        }
    });
    parts.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parse(requests: &Value) -> Result<Batch, GraphError> {
        let body = json!({ "requests": requests }).to_string();
        Batch::parse(Body::json(body.as_bytes()), Root::V1)
    }

    fn get(id: &str) -> Value {
        json!({ "id": id, "method": "GET", "url": "/me/presence" })
    }

    fn after(id: &str, others: &[&str]) -> Value {
        json!({ "id": id, "method": "GET", "url": "/me/presence", "dependsOn": others })
    }

    #[track_caller]
    fn refused(requests: &Value) -> String {
        let error = parse(requests).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, "BadRequest"), "{requests}");
        error.message.into_owned()
    }

    fn only_part(request: Value) -> Result<PartRequest, GraphError> {
        parse(&json!([request])).unwrap().parts.remove(0).request
    }

    #[test]
    fn a_part_has_method_path_query_headers_and_body() {
        let part = only_part(json!({
            "id": "1", "method": "post", "url": "me/presence/setPresence?x=1",
            "headers": { "content-type": "application/json", "X": "y" },
            "body": { "sessionId": "a" },
        }))
        .unwrap();
        assert_eq!(
            (part.method, part.path.as_str(), part.query.as_str()),
            (Method::Post, "/v1.0/me/presence/setPresence", "x=1")
        );
        assert_eq!(part.header("x"), Some("y"));
        assert_eq!(part.body().members().unwrap().text("sessionId").unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn urls_are_relative_to_the_batchs_own_root_with_or_without_a_slash() {
        let body = json!({ "requests": [get("1"), { "id": "2", "method": "GET", "url": "me/presence" }] })
            .to_string();
        let batch = Batch::parse(Body::json(body.as_bytes()), Root::Beta).unwrap();
        let paths: Vec<_> =
            batch.parts.iter().map(|part| part.request.as_ref().unwrap().path.as_str()).collect();
        assert_eq!(paths, ["/beta/me/presence"; 2]);
    }

    #[test]
    fn an_absolute_url_fails_the_batch() {
        for url in ["https://graph.microsoft.com/v1.0/me", "//host/me", "HTTP://x", "http:"] {
            let message = refused(&json!([{ "id": "1", "method": "GET", "url": url }]));
            assert!(message.contains("not relative"), "{url}");
        }
        assert!(
            only_part(json!({ "id": "1", "method": "GET", "url": "/users?$filter=mail eq 'a:b//c'" }))
                .is_ok()
        );
    }

    #[test]
    fn a_batch_has_one_to_twenty_requests() {
        let many = |count: usize| Value::from((0..count).map(|id| get(&id.to_string())).collect::<Vec<_>>());
        assert_eq!(parse(&many(20)).unwrap().parts.len(), 20);
        refused(&many(21));
        refused(&many(0));
        assert_eq!(Batch::parse(Body::json(b"{}"), Root::V1).unwrap_err().code.as_str(), "BadRequest");
        assert_eq!(Batch::parse(Body::json(b""), Root::V1).unwrap_err(), GraphError::empty_payload());
        assert_eq!(Batch::parse(Body::json(b"[]"), Root::V1).unwrap_err(), GraphError::unreadable_payload());
    }

    #[test]
    fn ids_are_required_and_unique_without_case() {
        refused(&json!([get("a"), get("A")]));
        refused(&json!([{ "method": "GET", "url": "/me" }]));
        refused(&json!([get("")]));
        refused(&json!([{ "id": 1, "method": "GET", "url": "/me" }]));
        refused(&json!([{ "id": "1", "url": "/me" }]));
        refused(&json!([{ "id": "1", "method": "GET" }]));
        refused(&json!([{ "id": "1", "method": "GET", "url": "/me", "headers": { "x": 1 } }]));
    }

    #[test]
    fn parts_are_all_parallel_or_one_chain() {
        assert_eq!(parse(&json!([get("1"), get("2"), after("3", &[])])).unwrap().order, Order::Parallel);
        assert_eq!(
            parse(&json!([get("1"), after("2", &["1"]), after("3", &["2"])])).unwrap().order,
            Order::Sequence
        );
        assert_eq!(
            parse(&json!([get("A"), after("2", &["a"]), after("3", &["A", "2"])])).unwrap().order,
            Order::Sequence
        );
        let text = "Batch should be either fully sequential or fully parallel.";
        assert_eq!(refused(&json!([get("1"), get("2"), after("3", &["2"])])), text);
        assert_eq!(refused(&json!([get("1"), after("2", &["1"]), after("3", &["1"])])), text);
    }

    #[test]
    fn a_dependency_on_a_later_or_unknown_id_fails_the_batch() {
        for requests in [
            json!([after("1", &["2"]), get("2")]),
            json!([get("1"), after("2", &["x"])]),
            json!([after("1", &["1"])]),
        ] {
            let message = refused(&requests);
            assert!(message.starts_with("Invalid dependency for request Id"), "{message}");
        }
    }

    #[test]
    fn a_nested_batch_or_schema_fails_only_its_part() {
        for url in ["/$batch", "$metadata", "/%24batch"] {
            let error = only_part(json!({ "id": "1", "method": "POST", "url": url })).unwrap_err();
            assert_eq!((error.status, error.code.as_str()), (400, "BadRequest"), "{url}");
        }
    }

    #[test]
    fn a_body_of_another_type_is_base64url_text() {
        let part = |body: Value| {
            only_part(json!({
                "id": "1", "method": "POST", "url": "/me", "headers": { "Content-Type": "text/plain" }, "body": body,
            }))
        };
        for text in ["_-8", "_-8=", "/+8="] {
            assert_eq!(part(text.into()).unwrap().body, [0xFF, 0xEF], "{text}");
        }
        assert_eq!(part("*".into()).unwrap_err(), GraphError::unreadable_payload());
        assert_eq!(part(json!({})).unwrap_err(), GraphError::unreadable_payload());
        assert_eq!(part(Value::Null).unwrap().body, b"");
    }

    #[test]
    fn a_body_without_a_content_type_is_unreadable_for_its_part() {
        let part =
            only_part(json!({ "id": "1", "method": "POST", "url": "/me", "body": { "a": 1 } })).unwrap();
        assert_eq!(part.body().members().unwrap_err(), GraphError::unreadable_payload());
    }

    #[test]
    fn responses_have_numbers_for_statuses_and_no_body_when_it_is_empty() {
        let response = |id: &str, status, content_type: Option<&str>, body: &[u8]| PartResponse {
            id: id.into(),
            status,
            headers: content_type.map(|value| ("Content-Type".into(), value.into())).into_iter().collect(),
            body: body.into(),
        };
        let mut out = Vec::new();
        write_responses(
            &mut out,
            &[
                response("1\"", 200, Some("application/json;odata.metadata=minimal"), b"{\"a\":1}"),
                response("2", 200, None, b""),
                response("3", 200, Some("image/png"), &[0xFF, 0xEF]),
            ],
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"responses":[{"id":"1\"","status":200,"headers":{"Content-Type":"application/json;odata.metadata=minimal"},"body":{"a":1}},{"id":"2","status":200,"headers":{}},{"id":"3","status":200,"headers":{"Content-Type":"image/png"},"body":"_-8"}]}"#
        );
    }

    #[test]
    fn headers_of_parts_are_named_as_documented_because_a_client_looks_for_that_case() {
        for (name, documented) in [
            ("content-type", "Content-Type"),
            ("odata-version", "OData-Version"),
            ("retry-after", "Retry-After"),
            ("cache-control", "Cache-Control"),
            ("-é-", "-é-"),
        ] {
            assert_eq!(documented_case(name), documented);
        }
    }

    #[test]
    fn a_failed_dependency_is_424() {
        let error = GraphError::failed_dependency();
        assert_eq!((error.status, error.code.as_str()), (424, "FailedDependency"));
    }

    proptest! {
        #[test]
        fn no_batch_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), url in ".{0,30}", body in ".{0,20}") {
            let _ = Batch::parse(Body::json(&bytes), Root::V1);
            let _ = parse(&json!([{ "id": "1", "method": url, "url": url, "body": body, "headers": { "content-type": body } }]));
        }
    }
}
