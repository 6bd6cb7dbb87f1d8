//! What is counted. Names follow Prometheus' conventions; the registry adds `_total` to counters.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CoreLabel {
    core: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

/// What more was asked for than is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AddressRequests,
    AddressStreams,
    AddressConnections,
    UserRequests,
    UserStreams,
    Streams,
}

impl Limit {
    const ALL: [Self; 6] = [
        Self::AddressRequests,
        Self::AddressStreams,
        Self::AddressConnections,
        Self::UserRequests,
        Self::UserStreams,
        Self::Streams,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AddressRequests => "address_requests",
            Self::AddressStreams => "address_streams",
            Self::AddressConnections => "address_connections",
            Self::UserRequests => "user_requests",
            Self::UserStreams => "user_streams",
            Self::Streams => "streams",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

/// From 1 ms to 16 s.
type Seconds = Family<RouteLabel, Histogram, fn() -> Histogram>;

pub(crate) struct Metrics {
    pub streams: Gauge,
    pub catching_up: Gauge,
    pub delivered: Counter,
    pub fell_behind: Counter,
    pub relay_connected: Gauge,
    pub relay_reconnects: Counter,
    pub relay_resets: Counter,
    pub relayed: Counter,
    pub connections: Gauge,
    limited: Family<LimitLabel, Counter>,
    current_core: Family<CoreLabel, Gauge>,
    failovers: Family<ReasonLabel, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds,
    refusals: Family<CodeLabel, Counter>,
    ended: Family<ReasonLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            streams: Gauge::default(),
            catching_up: Gauge::default(),
            delivered: Counter::default(),
            fell_behind: Counter::default(),
            relay_connected: Gauge::default(),
            relay_reconnects: Counter::default(),
            relay_resets: Counter::default(),
            relayed: Counter::default(),
            connections: Gauge::default(),
            limited: Family::default(),
            current_core: Family::default(),
            failovers: Family::default(),
            requests: Family::default(),
            request_seconds: Seconds::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            }),
            refusals: Family::default(),
            ended: Family::default(),
        }
    }
}

impl Metrics {
    /// A request was answered: of a stream, its beginning.
    pub fn answered(&self, route: &str, status: StatusCode, code: Option<&str>, took: Duration) {
        let of_it = RequestLabels {
            route: route.to_owned(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&of_it).inc();
        let RequestLabels { route, .. } = of_it;
        self.request_seconds
            .get_or_create(&RouteLabel { route })
            .observe(took.as_secs_f64());
        if let Some(code) = code {
            let code = code.to_owned();
            self.refusals.get_or_create(&CodeLabel { code }).inc();
        }
    }

    /// A stream ended.
    pub fn stream_ended(&self, reason: &'static str) {
        self.ended.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Whether this core is the current one.
    pub fn show_core(&self, url: &str, is_current: bool) {
        let label = CoreLabel { core: url.into() };
        self.current_core
            .get_or_create(&label)
            .set(i64::from(is_current));
    }

    /// Something was refused for being too much.
    pub fn limited(&self, limit: Limit) {
        let label = LimitLabel {
            limit: limit.name(),
        };
        self.limited.get_or_create(&label).inc();
    }

    /// The gateway went to another core.
    pub fn failed_over(&self, reason: &'static str) {
        self.failovers.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("mercurio_gateway");
        let mut gauge = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("streams", "Open browser streams", &self.streams);
        gauge(
            "streams_catching_up",
            "Streams that read the store",
            &self.catching_up,
        );
        gauge(
            "relay_connected",
            "1 while the relay to a core stands",
            &self.relay_connected,
        );
        gauge("connections", "Open HTTP connections", &self.connections);
        registry.register(
            "core_current",
            "1 for the core that the gateway keeps to",
            self.current_core.clone(),
        );
        registry.register(
            "limited",
            "Requests, streams and connections beyond a limit, by which one",
            self.limited.clone(),
        );
        // Shown from the start: so the first one that is refused is an increase.
        for limit in Limit::ALL {
            let limit = limit.name();
            let _ = self.limited.get_or_create(&LimitLabel { limit });
        }
        registry.register(
            "failovers",
            "Times the gateway went to another core, by reason",
            self.failovers.clone(),
        );
        registry.register(
            "requests",
            "HTTP requests answered, of streams their beginning, by route and status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request",
            "Time until a request was answered, of a stream until it began",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register(
            "refusals",
            "HTTP requests refused, by the code of the answer",
            self.refusals.clone(),
        );
        registry.register(
            "streams_ended",
            "Browser streams that ended, by reason",
            self.ended.clone(),
        );
        let mut counter =
            |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        counter(
            "delivered",
            "Entries handed to browser streams, from the relay or the store",
            &self.delivered,
        );
        counter(
            "fell_behind",
            "Streams that went back to the store",
            &self.fell_behind,
        );
        counter(
            "relay_reconnects",
            "Relays that ended",
            &self.relay_reconnects,
        );
        counter(
            "relay_resets",
            "Relays that left entries out",
            &self.relay_resets,
        );
        counter("relayed", "Entries that came over the relay", &self.relayed);
    }
}
