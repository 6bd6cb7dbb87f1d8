//! The context of a trace on its way: `traceparent` and `tracestate`, as W3C's Trace Context has them. What is
//! not in order is as if it were not there.

use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Bytes of other tracers' state that are taken along; with more, none is.
const STATE_MAX: usize = 512;

/// The caller's.
pub(crate) fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let parent = parse(value.to_str().ok()?)?;
    let state = state(headers).unwrap_or_default();
    Some(SpanContext::new(
        parent.trace_id(),
        parent.span_id(),
        parent.trace_flags(),
        true,
        state,
    ))
}

fn state(headers: &HeaderMap) -> Option<TraceState> {
    let mut states = headers.get_all(TRACESTATE).iter();
    let text = states.next()?.to_str().ok()?;
    let is_taken = text.len() <= STATE_MAX && states.next().is_none();
    is_taken.then(|| TraceState::from_str(text).ok()).flatten()
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; of a version to come, what begins so.
pub(crate) fn parse(text: &str) -> Option<SpanContext> {
    let bytes = text.as_bytes();
    let is_hex = |range: std::ops::Range<usize>| {
        let of_it = bytes.get(range)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        of_it
            .iter()
            .all(is_digit)
            .then(|| std::str::from_utf8(of_it).ok())
            .flatten()
    };
    let version = is_hex(0..2)?;
    let ends_there = match version {
        "ff" => false,
        "00" => bytes.len() == 55,
        _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
    };
    let has_dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    if !ends_there || !has_dashes {
        return None;
    }
    let flags = u8::from_str_radix(is_hex(53..55)?, 16).ok()?;
    let context = SpanContext::new(
        TraceId::from_hex(is_hex(3..35)?).ok()?,
        SpanId::from_hex(is_hex(36..52)?).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Shows it to who is called. What the headers had of another one goes.
pub(crate) fn write(context: &SpanContext, headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
    if let Ok(value) = HeaderValue::try_from(header(context)) {
        headers.insert(TRACEPARENT, value);
    }
    let state = context.trace_state().header();
    if !state.is_empty()
        && let Ok(value) = HeaderValue::try_from(state)
    {
        headers.insert(TRACESTATE, value);
    }
}

fn header(context: &SpanContext) -> String {
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = context.trace_flags().to_u8();
    format!("00-{trace}-{span}-{flags:02x}")
}

/// The `traceparent` of what is done here and now, where it is part of a trace that is recorded.
#[must_use]
pub fn current() -> Option<Box<str>> {
    Context::map_current(|here| {
        let span = here.span();
        let context = span.span_context();
        (context.is_valid() && context.is_sampled()).then(|| header(context).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_in_order_is_read_and_nothing_else() {
        let parsed = parse(GOOD).unwrap();
        assert!(parsed.is_sampled() && parsed.is_remote());
        assert_eq!(header(&parsed), GOOD);
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more";
        assert_eq!(header(&parse(later).unwrap()), GOOD);
        let none = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let nobody = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let signed = "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for bad in [
            "",
            "00",
            none,
            nobody,
            signed,
            &GOOD.to_uppercase(),
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            &"é".repeat(28),
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn headers_are_read_and_written() {
        let headers = |pairs: &[(&'static str, String)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            headers
        };
        let parent = || ("traceparent", GOOD.to_owned());
        let both = headers(&[parent(), ("tracestate", "a=1,b=2".into())]);
        let context = read(&both).unwrap();
        let mut written = headers(&[("tracestate", "old=1".into())]);
        write(&context, &mut written);
        assert_eq!(written, both);
        for state in [
            "x".repeat(STATE_MAX + 1),
            format!("a={}", "x".repeat(STATE_MAX)),
        ] {
            let context = read(&headers(&[parent(), ("tracestate", state)])).unwrap();
            assert_eq!(context.trace_state(), &TraceState::default());
        }
        assert_eq!(read(&headers(&[parent(), parent()])), None);
        assert_eq!(read(&HeaderMap::new()), None);
    }
}
