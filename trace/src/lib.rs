//! Distributed traces: what a call did, and where, across processes. Knows no service of ours.
//!
//! | module | subject |
//! |---|---|
//! | [`context`] | W3C's `traceparent` and `tracestate`, read from callers and shown to those called |
//! | [`scope`] | a stretch of work within a trace |
//! | [`grpc`] | what each call of gRPC is within a trace, on both sides |
//! | [`export`] | how spans get to a collector, over OTLP |
//!
//! Off by default: then no span is made, and what costs anything is looking for the header of a caller, whose
//! context is handed on as it is. Nothing here ever waits for a collector; what it doesn't take in time is lost.
//!
//! The current context is the task's, as OpenTelemetry keeps it: who calls within [`Scope::run`] is within.

#![warn(missing_docs)]

pub mod context;
pub mod export;
pub mod grpc;
pub mod scope;

use http::HeaderMap;
use opentelemetry::{
    Context,
    trace::{SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::SdkTracer;

pub use context::current;
pub use export::{Collector, Exporter, ExporterSettings, SetupError};
pub use scope::{Scope, note};

/// Where spans are made. Cheap to clone; the default one makes none.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<SdkTracer>);

impl Traces {
    /// What is done for a caller, whose trace it is part of, as its headers say; else of one of its own.
    pub fn serve(&self, headers: &HeaderMap, name: impl FnOnce() -> String) -> Scope {
        let caller = context::read(headers);
        match &self.0 {
            Some(tracer) => {
                let parent = caller.map_or_else(Context::new, within);
                Self::begin(tracer, SpanKind::Server, name(), parent)
            }
            None => Scope::of(caller.map(within)),
        }
    }

    /// A call to another service. Outside of any trace it is part of none.
    pub fn call(&self, name: impl FnOnce() -> String) -> Scope {
        let here = Context::current();
        if !here.span().span_context().is_valid() {
            return Scope::default();
        }
        match &self.0 {
            Some(tracer) => Self::begin(tracer, SpanKind::Client, name(), here),
            None => Scope::of(Some(here)),
        }
    }

    /// What is done with something that came without being asked for, made within the trace of this
    /// `traceparent`. Empty, or none at all: part of none.
    pub fn receive(&self, traceparent: &str, name: &'static str) -> Scope {
        let (Some(tracer), false) = (&self.0, traceparent.is_empty()) else {
            return Scope::default();
        };
        let Some(made) = context::parse(traceparent) else {
            return Scope::default();
        };
        Self::begin(tracer, SpanKind::Consumer, name.to_owned(), within(made))
    }

    fn begin(tracer: &SdkTracer, kind: SpanKind, name: String, parent: Context) -> Scope {
        let span = tracer.span_builder(name).with_kind(kind);
        let span = span.start_with_context(tracer, &parent);
        Scope::of(Some(parent.with_span(span)))
    }
}

fn within(remote: opentelemetry::trace::SpanContext) -> Context {
    Context::new().with_remote_span_context(remote)
}
