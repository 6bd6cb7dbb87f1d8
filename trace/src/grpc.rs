//! Calls of gRPC within traces, on both sides. Of a call that streams, its beginning: up to the first answer's
//! head.

use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either, FutureExt};
use http::{Request, Response, Uri};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::{Scope, Traces};

/// A connection whose calls are part of the trace that they are made in.
#[derive(Clone, Debug)]
pub struct Calls<S> {
    inner: S,
    traces: Traces,
}

impl<S> Calls<S> {
    /// Calls over this.
    pub fn over(inner: S, traces: Traces) -> Self {
        Self { inner, traces }
    }
}

type Traced<S, B> = Either<
    <S as Service<Request<B>>>::Future,
    BoxFuture<
        'static,
        Result<<S as Service<Request<B>>>::Response, <S as Service<Request<B>>>::Error>,
    >,
>;

impl<S, B, A> Service<Request<B>> for Calls<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Traced<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let scope = self.traces.call(|| name(request.uri()));
        if !scope.is_traced() {
            return Either::Left(self.inner.call(request));
        }
        scope.show(request.headers_mut());
        describe(&scope, request.uri());
        let answer = self.inner.call(request);
        let traced = async move {
            let answered = answer.await;
            match answered.as_ref().map(|answer| code(answer)) {
                Ok(code) => note(&scope, code, code != Code::Ok),
                Err(_) => note(&scope, Code::Unavailable, true),
            }
            answered
        };
        Either::Right(traced.boxed())
    }
}

/// Has a server's calls be part of their callers' traces.
#[derive(Clone, Debug)]
pub struct ServeTraced {
    traces: Traces,
    /// What the paths of those calls begin with: health and reflection are of no interest.
    of: &'static str,
}

impl ServeTraced {
    /// Of the calls whose paths begin so.
    #[must_use]
    pub fn new(traces: Traces, of: &'static str) -> Self {
        Self { traces, of }
    }
}

impl<S> Layer<S> for ServeTraced {
    type Service = Served<S>;

    fn layer(&self, inner: S) -> Served<S> {
        Served {
            inner,
            by: self.clone(),
        }
    }
}

/// A server whose calls are part of their callers' traces.
#[derive(Clone, Debug)]
pub struct Served<S> {
    inner: S,
    by: ServeTraced,
}

impl<S, B, A> Service<Request<B>> for Served<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Traced<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !request.uri().path().starts_with(self.by.of) {
            return Either::Left(self.inner.call(request));
        }
        let scope = self
            .by
            .traces
            .serve(request.headers(), || name(request.uri()));
        if !scope.is_traced() {
            return Either::Left(self.inner.call(request));
        }
        describe(&scope, request.uri());
        let answer = self.inner.call(request);
        let traced = async move {
            let answered = scope.run(answer).await;
            if let Ok(answer) = &answered {
                let code = code(answer);
                // As OpenTelemetry has it: what a caller did wrong is no error of the server's.
                let is_ours = matches!(
                    code,
                    Code::Unknown
                        | Code::DeadlineExceeded
                        | Code::Unimplemented
                        | Code::Internal
                        | Code::Unavailable
                        | Code::DataLoss
                );
                note(&scope, code, is_ours);
            }
            answered
        };
        Either::Right(traced.boxed())
    }
}

fn name(uri: &Uri) -> String {
    uri.path().trim_start_matches('/').to_owned()
}

fn describe(scope: &Scope, uri: &Uri) {
    if scope.is_recorded()
        && let Some((service, method)) = uri.path().trim_start_matches('/').split_once('/')
    {
        scope.set("rpc.system", "grpc");
        scope.set("rpc.service", service.to_owned());
        scope.set("rpc.method", method.to_owned());
    }
}

fn note(scope: &Scope, code: Code, is_error: bool) {
    scope.set("rpc.grpc.status_code", i64::from(i32::from(code)));
    if is_error {
        scope.failed(code.description());
    }
}

/// An answer that begins with its end is a refusal; one that doesn't is taken for good.
fn code<A>(answer: &Response<A>) -> Code {
    Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
}
