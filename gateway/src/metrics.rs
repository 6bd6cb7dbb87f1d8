//! What is counted. Names follow Prometheus' conventions; the registry adds `_total` to counters.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
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

#[derive(Default)]
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
}

impl Metrics {
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
        registry.register(
            "failovers",
            "Times the gateway went to another core, by reason",
            self.failovers.clone(),
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
