//! Spans as OTLP: the Protocol Buffers of `opentelemetry/proto/collector/trace/v1`, of which a few fields are needed.
//!
//! By hand, as it is two kinds of field: the crates that would do it bring eleven more, and a processor of batches that keeps
//! a thread of its own.

use super::{Span, SpanContext, Value};

/// The request that brings spans to a collector.
pub(super) fn request(spans: &[Span], version: &str) -> Vec<u8> {
    let mut resource = Vec::new();
    attribute(&mut resource, 1, "service.name", &"presenced".into());
    attribute(&mut resource, 1, "service.version", &version.into());
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"presenced");
    bytes(&mut scope, 2, version.as_bytes());
    let mut of_scope = Vec::with_capacity(spans.len() * 256);
    bytes(&mut of_scope, 1, &scope);
    for span in spans {
        bytes(&mut of_scope, 2, &encode(span));
    }
    let mut of_resource = Vec::with_capacity(of_scope.len() + 64);
    bytes(&mut of_resource, 1, &resource);
    bytes(&mut of_resource, 2, &of_scope);
    let mut out = Vec::with_capacity(of_resource.len() + 8);
    bytes(&mut out, 1, &of_resource);
    out
}

fn encode(span: &Span) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    identify(&mut out, &span.context);
    if let Some(parent) = &span.parent {
        bytes(&mut out, 4, &parent.span.to_be_bytes());
    }
    bytes(&mut out, 5, span.name.as_bytes());
    number(&mut out, 6, span.kind as u64);
    fixed(&mut out, 7, nanoseconds(span.started_at));
    fixed(&mut out, 8, nanoseconds(span.ended_at));
    for (key, value) in &span.attributes {
        attribute(&mut out, 9, key, value);
    }
    for link in &span.links {
        let mut linked = Vec::with_capacity(32);
        identify(&mut linked, link);
        bytes(&mut out, 13, &linked);
    }
    if span.is_error {
        const ERROR: u64 = 2;
        let mut status = Vec::new();
        number(&mut status, 3, ERROR);
        bytes(&mut out, 15, &status);
    }
    out
}

fn identify(out: &mut Vec<u8>, context: &SpanContext) {
    bytes(out, 1, &context.trace.to_be_bytes());
    bytes(out, 2, &context.span.to_be_bytes());
}

fn nanoseconds(at: presence::Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}

fn attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &Value) {
    let mut any = Vec::new();
    match value {
        Value::Text(text) => bytes(&mut any, 1, text.as_bytes()),
        Value::Number(value) => number(&mut any, 3, value.cast_unsigned()),
    }
    let mut pair = Vec::new();
    bytes(&mut pair, 1, key.as_bytes());
    bytes(&mut pair, 2, &any);
    bytes(out, field, &pair);
}

/// A field of bytes: text, or a message.
fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_bytes_of_protocol_buffers() {
        let mut out = Vec::new();
        number(&mut out, 1, 150);
        bytes(&mut out, 2, b"testing");
        fixed(&mut out, 7, 1);
        assert_eq!(
            out, b"\x08\x96\x01\x12\x07testing\x39\x01\0\0\0\0\0\0\0",
            "the examples of the documentation"
        );
    }
}
