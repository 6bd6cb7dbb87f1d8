//! A stretch of work within a trace, or within none.

use std::{borrow::Cow, future::Future};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, Value,
    context::FutureExt,
    trace::{Status, TraceContextExt},
};

use crate::context;

/// A stretch of work. It ends when it is dropped.
#[derive(Debug, Default)]
#[must_use]
pub struct Scope(Option<Context>);

impl Scope {
    pub(crate) fn of(context: Option<Context>) -> Self {
        Self(context)
    }

    /// Whether it is part of a trace, recorded here or not.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.0.is_some()
    }

    /// Whether what is noted is seen by anybody.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|context| context.span().is_recording())
    }

    /// Notes something about it. Never a token, a query, or what a notification says.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// It went wrong, and how.
    pub fn failed(&self, why: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(why));
        }
    }

    /// Does the work: what it calls is part of the same trace.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Tells who is called that it is part of this.
    pub fn show(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.0 {
            context::write(context.span().span_context(), headers);
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// Notes something about what is done here and now.
pub fn note(key: &'static str, value: impl Into<Value>) {
    Context::map_current(|here| {
        let span = here.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new(key, value));
        }
    });
}
