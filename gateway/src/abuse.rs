//! How much one address or one user may ask for. What is refused is answered before anything else
//! is done for it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use mercurio_net::{Counted, Counts, Rates, Source};

use crate::{
    Context, access::Remote, error::ApiError, metrics::Limit, settings::GatewaySettings,
    source::Proxies,
};

/// The limits, and what is used of them.
pub(crate) struct Abuse {
    pub proxies: Proxies,
    per_source: Rates<Source>,
    per_user: Rates<String>,
    /// Open connections of each address.
    pub connections: Arc<Counts<Source>>,
    /// Open streams of each.
    pub streams: Arc<Counts<Source>>,
}

impl Abuse {
    pub fn new(settings: &GatewaySettings) -> Self {
        // One for each stream over HTTP/1.1, and some for calls.
        let connections = settings
            .streams_per_address
            .saturating_add(crate::connection::SPARE_CONNECTIONS);
        Self {
            proxies: Proxies::new(settings.trusted_proxies.clone()),
            per_source: Rates::new(settings.requests_per_address),
            per_user: Rates::new(settings.requests_per_user),
            connections: Arc::new(Counts::new(connections)),
            streams: Arc::new(Counts::new(settings.streams_per_address)),
        }
    }
}

impl Context {
    /// Counts a request of this user's.
    pub fn charge(&self, user: &String) -> Result<(), ApiError> {
        self.abuse.per_user.take(user).map_err(|wait| {
            self.metrics.limited(Limit::UserRequests);
            let most = self.settings.requests_per_user;
            let message = format!("this user makes more than {most} requests a second");
            too_many(message).retry_in(wait)
        })
    }
}

/// Has an address open a stream, for as long as what is returned lives.
pub(crate) fn open_stream(context: &Context, source: Source) -> Result<OfSource, ApiError> {
    context.abuse.streams.open(source).ok_or_else(|| {
        context.metrics.limited(Limit::AddressStreams);
        let most = context.settings.streams_per_address;
        let message = format!("this address has {most} open streams, which is the most allowed");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", message).retry(5)
    })
}

/// What is counted for an address.
pub(crate) type OfSource = Counted<Source>;

/// Counts a request of its address', and tells the others which one that is.
pub(crate) async fn by_source(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    let abuse = &context.abuse;
    if let Some(peer) = Remote::of(request.extensions()) {
        let source = Source::from(abuse.proxies.client(peer.ip(), request.headers()));
        if let Err(wait) = abuse.per_source.take(&source) {
            context.metrics.limited(Limit::AddressRequests);
            let most = context.settings.requests_per_address;
            let message = format!("more than {most} requests a second come from this address");
            return too_many(message).retry_in(wait).into_response();
        }
        request.extensions_mut().insert(source);
    }
    next.run(request).await
}

fn too_many(message: String) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", message)
}
