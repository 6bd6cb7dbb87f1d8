//! The listener: routes, connections with bounds of their own, and the end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, Request},
    middleware::{self, Next},
    response::Response,
    routing::{get, post, put},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use mercurio_auth::{RevocationSet, ServiceTokens, Verifier};
use prometheus_client::registry::Registry as MetricsRegistry;
use thiserror::Error;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

use crate::{
    Context,
    about::About,
    abuse::{self, Abuse},
    access::Line,
    api, assets, connection,
    cores::Cores,
    demo,
    error::ApiError,
    events, health,
    metrics::Metrics,
    observe,
    registry::{Limits, Registry},
    relay,
    revocations::Revocations,
    settings::GatewaySettings,
    stream,
};

/// Why the gateway can't serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// An address of a core is none.
    #[error(
        "the core's address {url:?} is not one: {source}; it looks like http://127.0.0.1:50051"
    )]
    CoreUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// No core is named.
    #[error("no core is named: the gateway needs at least one address")]
    NoCore,
    /// An origin is none.
    #[error("the origin {0:?} is not one; it looks like https://app.example, or is *")]
    Origin(String),
}

/// A gateway, not served yet.
pub struct Gateway {
    pub(crate) context: Arc<Context>,
    router: Router,
}

impl Gateway {
    /// Checks the settings; connects to the core when served.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn new(
        settings: GatewaySettings,
        verifier: Arc<Verifier>,
        tokens: ServiceTokens,
        registry: &mut MetricsRegistry,
    ) -> Result<Self, ServeError> {
        if settings.core_urls.is_empty() {
            return Err(ServeError::NoCore);
        }
        let metrics = Arc::new(Metrics::default());
        metrics.register(registry);
        let cores = Cores::new(&settings, tokens, metrics.clone())
            .map_err(|(url, source)| ServeError::CoreUrl { url, source })?;
        let revoked: Arc<RevocationSet> = Arc::default();
        let cors = cors(&settings.cors_origins)?;
        let limits = Limits {
            streams: settings.streams_max,
            streams_per_user: settings.streams_per_user,
            mailbox: settings.mailbox,
        };
        let context = Arc::new(Context {
            cores,
            registry: Arc::new(Registry::new(limits, metrics.clone())),
            metrics,
            abuse: Abuse::new(&settings),
            catch_ups: Arc::new(Semaphore::new(settings.catch_ups)),
            settings,
            verifier: Verifier::clone(&verifier).with_revocations(revoked.clone()),
            revocations: Revocations::new(revoked),
            shutdown: CancellationToken::new(),
            about: About::default(),
        });
        let router = router(&context)
            .layer(middleware::from_fn_with_state(
                context.clone(),
                observe::request,
            ))
            .layer(cors)
            .layer(middleware::from_fn(spanned));
        Ok(Self { context, router })
    }

    /// Serves browsers on the listener until `shutdown` is cancelled; every open stream is told
    /// and ended, and clients that don't read are cut after the grace.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { context, router } = self;
        context.about.listens(&listener);
        let relay = tokio::spawn(relay::run(context.clone()));
        let checked = context.clone();
        tokio::spawn(async move { checked.cores.check(&checked.shutdown).await });
        let ending = context.shutdown.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            ending.cancel();
        });
        connection::accept(&context, listener, router).await;
        // It ends with the shutdown; a panic in it has been printed.
        let _ = relay.await;
    }
}

fn router(context: &Arc<Context>) -> Router {
    let one = "/api/clients/{client}/notifications/{id}";
    let mut router = Router::new()
        .route(
            "/api/clients/{client}/notifications/stream",
            get(stream::open),
        )
        .route(
            "/api/clients/{client}/notifications/stream/token",
            put(stream::renew),
        )
        .route("/api/clients/{client}/notifications", get(api::list))
        .route(
            "/api/clients/{client}/notifications/read",
            put(api::read_up_to),
        )
        .route(one, get(api::get))
        .route(&format!("{one}/read"), put(api::read))
        .route(&format!("{one}/unread"), put(api::unread))
        .route("/api/events/unicast", post(events::unicast))
        .route("/api/events/broadcast", post(events::broadcast))
        .merge(assets::routes());
    if context.settings.demo.is_some() {
        router = router
            .merge(assets::demo())
            .route("/demo/tokens/{user}", post(demo::token));
    }
    router
        .fallback(|| async {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "there is nothing at this path",
            )
        })
        .method_not_allowed_fallback(|| async {
            let message = "this path does not take this method";
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                message,
            )
        })
        .layer(middleware::from_fn_with_state(
            context.clone(),
            abuse::by_source,
        ))
        // Whoever else comes from where a probe does: it is answered.
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .with_state(context.clone())
}

fn cors(origins: &[String]) -> Result<CorsLayer, ServeError> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::PUT, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            HeaderName::from_static("mercurio-heartbeat"),
            stream::STREAM_ID,
            stream::EXPIRES,
            REQUEST_ID,
        ])
        .max_age(Duration::from_secs(3600));
    if origins.iter().any(|origin| origin == "*") {
        return Ok(layer.allow_origin(AllowOrigin::any()));
    }
    let parse = |origin: &String| {
        let is_one = origin.contains("://") && !origin.ends_with('/');
        let value = is_one.then(|| HeaderValue::from_str(origin).ok()).flatten();
        value.ok_or_else(|| ServeError::Origin(origin.clone()))
    };
    let origins: Vec<HeaderValue> = origins.iter().map(parse).collect::<Result<_, _>>()?;
    if origins.is_empty() {
        return Ok(CorsLayer::new());
    }
    Ok(layer
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true))
}

/// The id of a request: the caller's, or one made here. It is in the logs here and in the core.
#[derive(Clone)]
pub(crate) struct RequestId(pub String);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request an id and a span. The span has the path and never the query: there may be a
/// token in it.
async fn spanned(mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok());
    let is_id = |id: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        (1..=64).contains(&id.len()) && id.bytes().all(known)
    };
    let id = given
        .filter(is_id)
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        path = request.uri().path(),
    );
    let mut line = Line::new(&mut request, &id);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).instrument(span).await;
    line.answered(&mut response);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self(String::new())))
    }
}
