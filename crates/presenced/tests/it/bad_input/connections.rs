//! What is wrong below the request: bytes that are no HTTP, clients that die or stop, pipelines, odd forms of a request.

use std::io::{Read, Write};

use serde_json::json;

use crate::bad_input::{
    FIVE_MEGABYTES, TOO_LARGE, UNREADABLE, Untouched, actions, assert_error, assert_refused, whatever_comes,
};
use crate::support::{Answer, parse_answer, read_answer};

#[test]
fn a_request_line_or_header_that_is_no_http_ends_without_harm() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let line = |line: &str| {
        format!("{line}\r\nHost: x\r\n{name}: {token}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let header = |header: &str| {
        format!("GET /v1.0/me/presence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n{header}\r\nConnection: close\r\n\r\n")
            .into_bytes()
    };
    let body = |headers: &str, body: &str| {
        format!(
            "POST /v1.0/me/presence/clearLocation HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n{headers}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    };
    for bytes in [
        line("GET /v1.0/me/presence HTTP/3.0"),
        line("GET /v1.0/me/presence"),
        line("GET  HTTP/1.1"),
        line("GET /v1.0/me\0/presence HTTP/1.1"),
        line("\0\0\0\0"),
        line("GET\t/v1.0/me/presence\tHTTP/1.1"),
        header("X: a\0b"),
        header("X Y: z"),
        header(": z"),
        header("no colon"),
        header(&(0..200).map(|n| format!("X-{n}: y")).collect::<Vec<_>>().join("\r\n")),
        header(&format!("X: {}", "y".repeat(1024 * 1024))),
        header(&format!("{}: y", "X".repeat(1024 * 1024))),
        line(&format!("GET /v1.0/{} HTTP/1.1", "x".repeat(1024 * 1024))),
        body("Content-Length: -1", ""),
        body("Content-Length: 99999999999999999999999", ""),
        body("Content-Length: 1\r\nContent-Length: 2", "xx"),
        body("Transfer-Encoding: gzip", "x"),
        // The hello of a client that takes the port for a TLS one.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20).to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
        let answer = whatever_comes(user.server.connect(), &bytes);
        if !answer.is_empty() {
            let status = parse_answer(&answer).status;
            assert!((400..500).contains(&status), "{status} to {shown}");
        }
    }
    user.assert_untouched();
}

#[test]
fn chunks_that_are_none_are_unreadable_or_end_the_connection_and_change_nothing() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let head = format!(
        "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    for chunks in [
        "xyz\r\n{}\r\n0\r\n\r\n",
        "-1\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n",
        "2\r\n{}}}\r\n0\r\n\r\n",
    ] {
        let answer = whatever_comes(user.server.connect(), &[head.as_bytes(), chunks.as_bytes()].concat());
        // Where a request ends in a stream that is no HTTP is anybody's guess: the connection may just end.
        if !answer.is_empty() {
            assert_error(&parse_answer(&answer), 400, "BadRequest", UNREADABLE, chunks);
        }
    }
    user.assert_untouched();
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_request_changes_nothing() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let body = actions()[0].1.to_string();
    let request = format!(
        "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let request = request.as_bytes();
    for cut in (1..request.len()).step_by(97).chain([request.len() - 1]) {
        let mut stream = user.server.connect();
        stream.write_all(&request[..cut]).unwrap();
        drop(stream);
    }
    user.assert_untouched();
}

#[test]
fn a_client_that_stops_sending_in_the_middle_of_a_body_is_told_it_is_unreadable() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    for (action, body) in actions() {
        let body = body.to_string();
        let request = format!(
            "POST /v1.0/me/presence/{action} HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            body.len(),
            &body[..body.len() - 1]
        );
        let answer = whatever_comes(user.server.connect(), request.as_bytes());
        // The connection may be gone before the answer; if there is one, it is this.
        if !answer.is_empty() {
            assert_error(&parse_answer(&answer), 400, "BadRequest", UNREADABLE, action);
        }
    }
    user.assert_untouched();
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on_or_gets_its_refusal() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let body = json!({ "sessionId": null }).to_string();
    let head = |path: &str, headers: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n{headers}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    let with_token = format!("{name}: {token}\r\n");
    let mut stream = user.server.connect();
    stream.write_all(head("/v1.0/me/presence/clearPresence", &with_token, body.len()).as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let required = "[SessionId]: The SessionId field is required.";
    assert_error(&read_answer(&mut stream), 400, "InvalidArgument", required, "after 100");
    // Too much to read, and said so beforehand: no need to send it.
    let mut stream = user.server.connect();
    let path = "/v1.0/me/presence/setPresence";
    stream.write_all(head(path, &with_token, FIVE_MEGABYTES).as_bytes()).unwrap();
    assert_error(&read_answer(&mut stream), 413, "RequestEntityTooLarge", TOO_LARGE, "before the body");
    let mut stream = user.server.connect();
    stream.write_all(head(path, "", 10).as_bytes()).unwrap();
    assert_refused(&read_answer(&mut stream), 401, "InvalidAuthenticationToken", "before the body");
    user.assert_untouched();
}

/// Every response of a connection, told apart by their lengths.
fn all_answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let mut answer = parse_answer(&bytes[..end]);
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        answer.body = bytes[end..end + length].to_vec();
        bytes = &bytes[end + length..];
        answers.push(answer);
    }
    answers
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_bad_one_spoils_no_other() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n{more}\r\n");
    let post = |body: &str| {
        format!(
            "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let requests = [
        get("/v1.0/me/presence", ""),
        post("{"),
        get("/v1.0/xyz", ""),
        post("{}"),
        get("/v1.0/me/presence", "Authorization: again\r\n"),
        get("/v1.0/me/presence", "Connection: close\r\n"),
    ];
    let mut stream = user.server.connect();
    stream.write_all(requests.concat().as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let statuses: Vec<u16> = all_answers(&bytes).iter().map(|answer| answer.status).collect();
    assert_eq!((&statuses[..4], statuses[5]), (&[200, 400, 400, 400][..], 200));
    user.assert_untouched();
}

#[test]
fn other_forms_of_a_request_get_the_same_answer() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let host = user.server.http;
    let plain = me.get("/v1.0/me/presence");
    assert_eq!(plain.status, 200);
    let send = |line: &str, headers: &str| {
        let request = format!("{line}\r\n{name}: {token}\r\n{headers}Connection: close\r\n\r\n");
        user.server.send_raw(request.as_bytes())
    };
    let absolute = format!("GET http://{host}/v1.0/me/presence HTTP/1.1");
    assert_eq!(send(&absolute, &format!("Host: {host}\r\n")).json(), plain.json());
    assert_eq!(send("GET /v1.0/me/presence HTTP/1.0", "").json(), plain.json(), "HTTP/1.0 needs no Host");
    assert_eq!(send("GET /v1.0/me/presence HTTP/1.0", &format!("Host: {host}\r\n")).json(), plain.json());
    assert_eq!(send("GET /v1.0/me/presence HTTP/1.1", "").json(), plain.json(), "no Host");
    // A Host that cannot stand in a link does not come back in one.
    let odd = send("GET /v1.0/me/presence HTTP/1.1", "Host: x\"><script>\r\n");
    assert!((odd.status == 400) || odd.json()["@odata.context"] == plain.json()["@odata.context"], "{odd:?}");
    let head = send("HEAD /v1.0/me/presence HTTP/1.1", &format!("Host: {host}\r\n"));
    assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
    assert_eq!(head.header("content-length"), plain.header("content-length"));
    assert_eq!(head.header("content-type"), plain.header("content-type"));
    let refused = send("HEAD /v1.0/xyz HTTP/1.1", &format!("Host: {host}\r\n"));
    assert_eq!((refused.status, refused.body.len()), (400, 0), "{refused:?}");
    let options = send("OPTIONS * HTTP/1.1", &format!("Host: {host}\r\n"));
    assert!((400..500).contains(&options.status), "{options:?}");
    user.assert_untouched();
}
