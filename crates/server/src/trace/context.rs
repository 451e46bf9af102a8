//! The context of a trace as it travels: W3C Trace Context, version 00.

use http::{HeaderMap, HeaderValue};

/// The header's name.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// Which span of which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// Whether whoever began the trace keeps it.
    pub(crate) is_sampled: bool,
}

/// What a caller sent; `None` when that is nothing or not what the standard says.
pub(crate) fn of(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.to_str().ok()?),
        _ => None,
    }
}

fn parse(text: &str) -> Option<SpanContext> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = (version.len(), trace.len(), span.len(), flags.len());
    if sizes != (2, 32, 16, 2) || ![version, trace, span, flags].into_iter().all(is_hex) || version == "ff" {
        return None;
    }
    // Later versions may say more after what this one says.
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let context = SpanContext {
        trace: u128::from_str_radix(trace, 16).ok()?,
        span: u64::from_str_radix(span, 16).ok()?,
        is_sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
    };
    (context.trace != 0 && context.span != 0).then_some(context)
}

impl SpanContext {
    /// The header for whoever is called within the span.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let flags = u8::from(self.is_sampled);
        HeaderValue::from_str(&format!("00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(good).unwrap();
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(context.header().unwrap(), good);
        assert!(!parse(&good.replace("-01", "-02")).unwrap().is_sampled);
        assert_eq!(parse(&format!("cc{}-more", &good[2..])), Some(context));
        for bad in [
            "",
            "00",
            &good[..54],
            &format!("{good}-more"),
            &format!("ff{}", &good[2..]),
            &good.to_uppercase(),
            &good.replace("00f067aa0ba902b7", "0000000000000000"),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("4bf9", "+bf9"),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let twice = HeaderMap::from_iter([(TRACEPARENT.parse().unwrap(), HeaderValue::from_static(good))]);
        assert!(of(&twice).is_some());
        let mut twice = twice;
        twice.append(TRACEPARENT, HeaderValue::from_static(good));
        assert_eq!(of(&twice), None);
    }
}
