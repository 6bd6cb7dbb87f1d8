//! What the core counts, in Prometheus' terms.

use std::sync::atomic::AtomicU64;

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

/// Every name begins with it.
pub(crate) const PREFIX: &str = "mercurio_core";

/// The core's counters. The doc of each is its name behind `mercurio_core_`.
#[derive(Debug)]
pub struct Metrics {
    /// `notifications_published_total`
    pub published: Counter,
    /// `notifications_duplicate_total`
    pub duplicates: Counter,
    /// `changes_delivered_total{path="subscribe"}`
    pub delivered_to_streams: Counter,
    /// `changes_delivered_total{path="relay"}`
    pub delivered_to_relays: Counter,
    /// `readers_fell_behind_total{path="subscribe"}`
    pub streams_fell_behind: Counter,
    /// `readers_fell_behind_total{path="relay"}`
    pub relays_fell_behind: Counter,
    /// `streams_open`
    pub streams: Gauge,
    /// `streams_catching_up`
    pub catching_up: Gauge,
    /// `relays_open`
    pub relays: Gauge,
    /// `relay_recipients_joined`
    pub relay_recipients: Gauge,
    /// `connections_open`
    pub connections: Gauge,
    /// `publish_seconds`
    pub publish_seconds: Histogram,
    /// `writer_batch_requests`
    pub batch_size: Histogram,
    /// `writer_commit_seconds`
    pub sync_seconds: Histogram,
    /// `writer_rests_seconds_total`
    pub rests: Counter<f64, AtomicU64>,
    /// `store_bytes`
    pub store_bytes: Gauge,
    /// `store_segments`
    pub segments: Gauge,
    /// `log_connected`
    pub log_connected: Gauge,
    /// `log_halted`
    pub log_halted: Gauge,
    /// `log_lag_messages`
    pub log_lag: Gauge<u64, AtomicU64>,
    /// `log_applied_position`
    pub log_applied: Gauge<u64, AtomicU64>,
    /// `last_sequence`
    pub last_sequence: Gauge<u64, AtomicU64>,
    delivered: Family<PathLabel, Counter>,
    fell_behind: Family<PathLabel, Counter>,
    refusals: Family<RefusalLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let delivered = Family::<PathLabel, Counter>::default();
        let fell_behind = Family::<PathLabel, Counter>::default();
        // Looked up once: a label costs a lock and a hash.
        let path = |family: &Family<PathLabel, Counter>, path| {
            family.get_or_create(&PathLabel { path }).clone()
        };
        Self {
            published: Counter::default(),
            duplicates: Counter::default(),
            delivered_to_streams: path(&delivered, "subscribe"),
            delivered_to_relays: path(&delivered, "relay"),
            streams_fell_behind: path(&fell_behind, "subscribe"),
            relays_fell_behind: path(&fell_behind, "relay"),
            streams: Gauge::default(),
            catching_up: Gauge::default(),
            relays: Gauge::default(),
            relay_recipients: Gauge::default(),
            connections: Gauge::default(),
            publish_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            sync_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            rests: Counter::default(),
            store_bytes: Gauge::default(),
            segments: Gauge::default(),
            log_connected: Gauge::default(),
            log_halted: Gauge::default(),
            log_lag: Gauge::default(),
            log_applied: Gauge::default(),
            last_sequence: Gauge::default(),
            delivered,
            fell_behind,
            refusals: Family::default(),
        }
    }
}

impl Metrics {
    /// Counts a call that was refused, or a stream that was ended, by its stable reason.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// Has `registry` show these.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix(PREFIX);
        r.register(
            "notifications_published",
            "Notifications stored and acknowledged",
            self.published.clone(),
        );
        r.register(
            "notifications_duplicate",
            "Notifications acknowledged that had been published before",
            self.duplicates.clone(),
        );
        r.register(
            "changes_delivered",
            "Changes handed to readers: to streams of one recipient, or once to a relay",
            self.delivered.clone(),
        );
        r.register(
            "readers_fell_behind",
            "Times a reader's buffer was full, so that it goes back to the store",
            self.fell_behind.clone(),
        );
        r.register(
            "streams_open",
            "Open Subscribe streams",
            self.streams.clone(),
        );
        r.register(
            "streams_catching_up",
            "Open Subscribe streams that read the store",
            self.catching_up.clone(),
        );
        r.register("relays_open", "Open relays", self.relays.clone());
        r.register(
            "relay_recipients_joined",
            "Recipients joined on all relays",
            self.relay_recipients.clone(),
        );
        r.register(
            "connections_open",
            "Open connections",
            self.connections.clone(),
        );
        r.register_with_unit(
            "publish",
            "Time until a publish was answered, from when it was found in order",
            Unit::Seconds,
            self.publish_seconds.clone(),
        );
        r.register(
            "writer_batch_requests",
            "Requests answered by one batch of the writer",
            self.batch_size.clone(),
        );
        r.register_with_unit(
            "writer_commit",
            "Time to make a batch safe against a power cut",
            Unit::Seconds,
            self.sync_seconds.clone(),
        );
        r.register_with_unit(
            "writer_rests",
            "Time for which the writer was slowed down, since packing segments could not keep up",
            Unit::Seconds,
            self.rests.clone(),
        );
        r.register_with_unit(
            "store",
            "Size on disk",
            Unit::Bytes,
            self.store_bytes.clone(),
        );
        r.register(
            "store_segments",
            "Segments of the store",
            self.segments.clone(),
        );
        r.register(
            "log_connected",
            "Whether the log can be reached; an embedded one always can",
            self.log_connected.clone(),
        );
        r.register(
            "log_halted",
            "Whether the log is no longer applied, because it is not what it should be",
            self.log_halted.clone(),
        );
        r.register(
            "log_lag_messages",
            "Messages that a shared log has more than are applied here",
            self.log_lag.clone(),
        );
        r.register(
            "log_applied_position",
            "The last message of a shared log that is applied here",
            self.log_applied.clone(),
        );
        r.register(
            "last_sequence",
            "The newest entry of the log",
            self.last_sequence.clone(),
        );
        r.register(
            "rpc_refusals",
            "Calls refused and streams ended, by reason",
            self.refusals.clone(),
        );
    }
}

/// Raises a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Raised(Gauge);

impl Raised {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut registry = Registry::default();
        let metrics = Metrics::default();
        metrics.register(&mut registry);
        metrics.published.inc();
        metrics.refused("NOT_FOUND");
        metrics.batch_size.observe(3.0);
        drop(Raised::new(&metrics.streams));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "mercurio_core_notifications_published_total 1",
            "mercurio_core_notifications_duplicate_total 0",
            "mercurio_core_changes_delivered_total{path=\"relay\"} 0",
            "mercurio_core_readers_fell_behind_total{path=\"subscribe\"} 0",
            "mercurio_core_streams_open 0",
            "mercurio_core_writer_batch_requests_count 1",
            "mercurio_core_writer_commit_seconds_count 0",
            "mercurio_core_store_bytes 0",
            "mercurio_core_last_sequence 0",
            "mercurio_core_rpc_refusals_total{reason=\"NOT_FOUND\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
