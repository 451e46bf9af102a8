//! Bodies that are no JSON object, of another type, compressed badly, too large, or where none is read.

use serde_json::json;

use crate::bad_input::{
    EMPTY, FIVE_MEGABYTES, TOO_LARGE, UNREADABLE, Untouched, actions, assert_error, assert_refused, gzip,
};
use crate::support::{Caller, JSON, shared};

#[test]
fn a_body_that_is_no_json_object_is_unreadable_to_every_operation_and_changes_nothing() {
    let user = Untouched::new();
    let me = user.me();
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat().into_bytes();
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"true".to_vec(),
        b"0".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"sessionId\":".to_vec(),
        b"{\"sessionId\" \"x\"}".to_vec(),
        b"{'sessionId':'x'}".to_vec(),
        b"{\"a\":1,}".to_vec(),
        b"{\"a\":NaN}".to_vec(),
        b"{\"a\":01}".to_vec(),
        b"{} {}".to_vec(),
        b"{}x".to_vec(),
        b"// a comment\n{}".to_vec(),
        b"{\"sessionId\":\"\xFF\xFE\"}".to_vec(),
        b"{\"\xC0\x80\":1}".to_vec(),
        b"{\"a\":\"\n\"}".to_vec(),
        b"{\"a\":\"\\x\"}".to_vec(),
        b"\0".to_vec(),
        b"{\0}".to_vec(),
        "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "\u{feff}\u{feff}{}".as_bytes().to_vec(),
        b"sessionId=x&availability=Busy".to_vec(),
        b"<presence/>".to_vec(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("[", ""),
        deep("{\"a\":", ""),
    ];
    let mut operations: Vec<&str> = actions().into_iter().map(|(name, _)| name).collect();
    operations.push("getPresencesByUserId");
    for operation in operations {
        for body in &bodies {
            let start = String::from_utf8_lossy(&body[..body.len().min(40)]);
            let answer = me.post_bytes(&user.path(operation), body);
            assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {start}"));
        }
        for empty in [&b""[..], b" ", b"\r\n\t ", "\u{feff}".as_bytes()] {
            let answer = me.post_bytes(&user.path(operation), empty);
            assert_error(&answer, 400, "BadRequest", EMPTY, &format!("{operation}: {empty:?}"));
        }
    }
    user.assert_untouched();
}

#[test]
fn a_body_of_another_type_or_without_one_is_unreadable_however_right_it_is() {
    let user = Untouched::new();
    let me = user.me();
    let mut operations = actions();
    operations.push(("getPresencesByUserId", json!({ "ids": [user.id] })));
    for (operation, body) in operations {
        let body = body.to_string();
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/xml",
            "application/jsonp",
            "application/json-patch+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "charset=utf-8; application/json",
            "\"application/json\"",
            "\u{e4}",
        ] {
            let answer =
                me.send("POST", &user.path(operation), &[("Content-Type", content_type)], body.as_bytes());
            assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {content_type:?}"));
        }
        let answer = me.send("POST", &user.path(operation), &[], body.as_bytes());
        assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: no type"));
    }
    user.assert_untouched();
}

#[test]
fn a_body_that_is_compressed_badly_or_far_too_well_is_refused() {
    let user = Untouched::new();
    let me = user.me();
    let mut operations = actions();
    operations.push(("getPresencesByUserId", json!({ "ids": [user.id] })));
    // A gigabyte of spaces: a thousand streams of a megabyte, one after the other.
    let bomb = gzip(&vec![b' '; 1024 * 1024]).repeat(1024);
    assert!(bomb.len() < 4 * 1024 * 1024);
    let small_bomb = gzip(&vec![b' '; 3 * 1024 * 1024]);
    for (operation, body) in operations {
        let whole = gzip(body.to_string().as_bytes());
        let path = user.path(operation);
        let send =
            |coding: &str, bytes: &[u8]| me.send("POST", &path, &[JSON, ("Content-Encoding", coding)], bytes);
        for cut in [1, 9, 10, 11, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
            let answer = send("gzip", &whole[..cut]);
            assert_error(
                &answer,
                400,
                "BadRequest",
                UNREADABLE,
                &format!("{operation}: {cut} of {}", whole.len()),
            );
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_error(&send("gzip", &flipped), 400, "BadRequest", UNREADABLE, operation);
        assert_error(&send("gzip", body.to_string().as_bytes()), 400, "BadRequest", UNREADABLE, operation);
        // Compressed, and not said to be.
        assert_error(&send("identity", &whole), 400, "BadRequest", UNREADABLE, operation);
        assert_error(&send("gzip", &gzip(b"")), 400, "BadRequest", EMPTY, operation);
        for coding in ["br", "deflate", "zstd", "compress", "gzip, gzip", "\u{e4}"] {
            assert_refused(
                &send(coding, &whole),
                415,
                "UnsupportedMediaType",
                &format!("{operation}: {coding}"),
            );
        }
        assert_error(&send("gzip", &bomb), 413, "RequestEntityTooLarge", TOO_LARGE, operation);
        assert_error(&send("gzip", &small_bomb), 413, "RequestEntityTooLarge", TOO_LARGE, operation);
    }
    user.assert_untouched();
}

#[test]
fn a_body_of_five_megabytes_is_too_large_for_every_operation_that_reads_one() {
    let user = Untouched::new();
    let me = user.me();
    let mut paths: Vec<String> = actions().iter().map(|(action, _)| user.path(action)).collect();
    paths.push(user.path("getPresencesByUserId"));
    paths.push("/v1.0/$batch".to_owned());
    let body = [b"{\"a\":\"", &vec![b'x'; FIVE_MEGABYTES][..], b"\"}"].concat();
    for path in &paths {
        let answer = me.post_bytes(path, &body);
        assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, path);
    }
    // Chunked, so that nobody knows beforehand.
    let (name, token) = me.authorization();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n",
        paths[0],
        body.len()
    );
    let answer = user.server.send_raw(&[head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat());
    assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, "chunked");
    user.assert_untouched();
}

#[test]
fn a_read_ignores_whatever_body_comes_with_it() {
    let user = Untouched::new();
    let me = user.me();
    let huge = vec![b'{'; FIVE_MEGABYTES];
    for body in [&b"{"[..], b"\xFF", &huge] {
        let length = body.len().to_string();
        let headers = [("Content-Length", length.as_str()), ("Content-Encoding", "br")];
        assert_eq!(me.send("GET", "/v1.0/me/presence", &headers, body).status, 200);
    }
    user.assert_untouched();
}

#[test]
fn a_body_less_action_ignores_whatever_body_and_type_come_with_it() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let huge = vec![b'{'; FIVE_MEGABYTES];
    for action in ["clearUserPreferredPresence", "clearLocation", "clearAutomaticLocation"] {
        let path = format!("/v1.0/me/presence/{action}");
        for body in [&b""[..], b"{}", b"{", b"[]", b"\xFF", &huge] {
            for headers in [&[][..], &[JSON], &[("Content-Type", "text/plain"), ("Content-Encoding", "br")]] {
                let answer = me.send("POST", &path, headers, body);
                assert_eq!((answer.status, answer.body.len()), (200, 0), "{action}: {answer:?}");
            }
        }
    }
}
