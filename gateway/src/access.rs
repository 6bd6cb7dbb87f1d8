//! The access log: a line for each request once it is answered, and for each stream at its end.
//!
//! Its fields are listed in `docs/operations.md` and keep their names. No query, header or body is
//! among them: there may be a token in each. Liveness and readiness are asked for all day long: their
//! lines are at the level `debug`.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{extract::MatchedPath, extract::Request, response::Response};
use http::{Extensions, Method};
use tokio::time::Instant;

use crate::{error::Refused, feed::Handover};

/// What the log's lines are filtered by.
const TARGET: &str = "mercurio::access";
/// What a stream's line calls the way that it came.
const STREAM_ROUTE: &str = "/api/clients/{client}/notifications/stream";
/// Why something ended whose client did not wait for it.
pub(crate) const CLIENT_GONE: &str = "client-gone";

/// The other end of a request's connection.
#[derive(Clone, Copy)]
pub(crate) struct Remote(pub SocketAddr);

impl Remote {
    pub fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get::<Self>().map(|remote| remote.0)
    }
}

/// Whose token a request showed, once that is known.
#[derive(Clone, Default)]
pub(crate) struct User(Arc<OnceLock<Box<str>>>);

impl User {
    /// The line of this request says so.
    pub fn note(extensions: &Extensions, user: &str) {
        if let Some(noted) = extensions.get::<Self>() {
            let _ = noted.0.set(user.into());
        }
    }
}

/// The line of a request; written when it is dropped, which is also what happens to a request whose
/// client has gone.
pub(crate) struct Line {
    request_id: String,
    method: Method,
    route: Option<MatchedPath>,
    remote: Option<SocketAddr>,
    user: User,
    started: Instant,
    /// `None`: it was not answered.
    status: Option<u16>,
    reason: Option<String>,
    /// Its line is the stream's.
    is_stream: bool,
}

impl Line {
    /// Of a request that came with this id.
    pub fn new(request: &mut Request, request_id: &str) -> Self {
        let user = User::default();
        let extensions = request.extensions_mut();
        extensions.insert(user.clone());
        Self {
            request_id: request_id.to_owned(),
            route: extensions.get().cloned(),
            remote: Remote::of(extensions),
            method: request.method().clone(),
            user,
            started: Instant::now(),
            status: None,
            reason: None,
            is_stream: false,
        }
    }

    /// This is the answer.
    pub fn answered(&mut self, response: &mut Response) {
        self.status = Some(response.status().as_u16());
        let extensions = response.extensions_mut();
        self.reason = extensions.remove().map(|Refused(code)| code);
        self.is_stream = extensions.get::<Handover>().is_some();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_stream {
            return;
        }
        let route = self.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        let reason = match self.status {
            Some(_) => self.reason.as_deref(),
            None => Some(CLIENT_GONE),
        };
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    parent: None,
                    $level,
                    request_id = self.request_id,
                    user = self.user.0.get().map(|user| &**user),
                    method = self.method.as_str(),
                    route,
                    status = self.status,
                    reason,
                    duration_ms = milliseconds(self.started.elapsed()),
                    remote = self.remote.map(tracing::field::display),
                    "request"
                )
            };
        }
        match route {
            "/healthz" | "/readyz" => line!(tracing::Level::DEBUG),
            _ => line!(tracing::Level::INFO),
        }
    }
}

/// A stream that has ended.
pub(crate) struct Ended<'a> {
    pub request_id: &'a str,
    /// Whose token it was opened with.
    pub user: &'a str,
    pub remote: Option<SocketAddr>,
    pub lasted: Duration,
    /// Entries that were handed to its connection.
    pub entries: u64,
    /// Bytes that its connection took, heads, heartbeats and all.
    pub bytes: u64,
    pub reason: &'static str,
}

impl Ended<'_> {
    /// Writes its line.
    pub fn log(&self) {
        tracing::info!(
            target: TARGET,
            parent: None,
            request_id = self.request_id,
            user = self.user,
            method = "GET",
            route = STREAM_ROUTE,
            status = 200,
            reason = self.reason,
            duration_ms = milliseconds(self.lasted),
            entries = self.entries,
            bytes = self.bytes,
            remote = self.remote.map(tracing::field::display),
            "stream ended"
        );
    }
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
