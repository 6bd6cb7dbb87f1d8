//! The access log: a line for each call at its end, and with it for each stream. And the span around
//! a call, which has the same id.
//!
//! The line's fields are listed in `docs/operations.md` and keep their names. No metadata and no
//! message is among them: there may be a token in each. Health checks, and calls of the gateway in
//! this process, whose own line says it all, have theirs at the level `debug`.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;
use tower::{Layer, Service};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    answers,
    idle::OpenCall,
    incoming::Peer,
    server::{request_id, span},
};

/// What the log's lines are filtered by.
const TARGET: &str = "mercurio::access";
/// Why a call ended that was dropped: its client left, or its time was over.
const GIVEN_UP: &str = "given-up";
/// Why a stream ended whose client left.
const CLIENT_GONE: &str = "client-gone";
/// Bytes of a method's name that are logged: whoever calls may name any.
const METHOD_MAX: usize = 128;

/// What is learned of a call on its way. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Call(Arc<Learned>);

#[derive(Default)]
struct Learned {
    user: OnceLock<Box<str>>,
    delivered: AtomicU64,
}

impl Call {
    /// The one of this request.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Who calls.
    pub fn is_by(&self, user: &str) {
        let _ = self.0.user.set(user.into());
    }

    /// A stream has handed out so many messages, and ends.
    pub fn has_delivered(&self, messages: u64) {
        self.0.delivered.store(messages, Ordering::Relaxed);
    }
}

/// Logs each call of a service.
#[derive(Clone)]
pub(super) struct AccessLayer;

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access(inner)
    }
}

/// A service whose calls are logged.
#[derive(Clone)]
pub(super) struct Access<S>(S);

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let given = request_id(request.headers()).map(str::to_owned);
        let request_id = given.unwrap_or_else(|| Uuid::now_v7().to_string());
        let span = span(&request, &request_id);
        let call = Call::default();
        let mut line = Line {
            method: shortened(request.uri().path()).into(),
            request_id,
            remote: request
                .extensions()
                .get::<Peer>()
                .and_then(|peer| peer.address),
            call: call.clone(),
            _open: request
                .extensions()
                .get::<Peer>()
                .map(|peer| peer.calls.begin()),
            started: Instant::now(),
            ended: None,
            given_up: GIVEN_UP,
        };
        request.extensions_mut().insert(call);
        let answers = answers::of(&request);
        let response = span.in_scope(|| self.0.call(request));
        let response = response.instrument(span);
        // Outside of the span: the line says itself whose it is.
        Box::pin(async move {
            let response = response.await?;
            line.given_up = CLIENT_GONE;
            // Refused: there is no body to wait for.
            line.read(response.headers());
            let body = |inner| Logged {
                inner: Box::pin(inner),
                line,
            };
            let response = response.map(|inner| Body::new(body(inner)));
            Ok(match answers {
                Some(answers) => response.map(|body| Body::new(answers.body(body))),
                None => response,
            })
        })
    }
}

/// An answer; the call ends when it has been sent, or is dropped.
struct Logged {
    /// Dropped before the line is written: then a stream has said how much it delivered.
    inner: Pin<Box<Body>>,
    line: Line,
}

impl HttpBody for Logged {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.line.read(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The line of a call; written when it is dropped.
struct Line {
    request_id: String,
    method: Box<str>,
    remote: Option<SocketAddr>,
    call: Call,
    /// On its connection.
    _open: Option<OpenCall>,
    started: Instant,
    /// What the call said at its end.
    ended: Option<Status>,
    /// Why it ended, where it said nothing.
    given_up: &'static str,
}

impl Line {
    fn read(&mut self, headers: &HeaderMap) {
        self.ended = Status::from_header_map(headers).or(self.ended.take());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (code, reason) = match &self.ended {
            None => (Code::Cancelled, Some(self.given_up.to_owned())),
            Some(status) if status.code() == Code::Ok => (Code::Ok, None),
            Some(status) => {
                let info = status.get_details_error_info();
                (status.code(), info.map(|info| info.reason))
            }
        };
        let user = self.call.0.user.get().map(|user| &**user);
        // One that streams says how much; others deliver their one answer.
        let delivered = self.call.0.delivered.load(Ordering::Relaxed);
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    parent: None,
                    $level,
                    request_id = self.request_id,
                    user,
                    method = &*self.method,
                    code = name(code),
                    reason,
                    duration_ms = milliseconds(self.started.elapsed()),
                    entries = (delivered > 0).then_some(delivered),
                    remote = self.remote.map(tracing::field::display),
                    "call"
                )
            };
        }
        match self.remote.is_none() || self.method.starts_with("/grpc.health.") {
            true => line!(tracing::Level::DEBUG),
            false => line!(tracing::Level::INFO),
        }
    }
}

/// As much of a method's name as is logged.
fn shortened(method: &str) -> &str {
    &method[..method.floor_char_boundary(METHOD_MAX)]
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// As gRPC's documentation spells it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
