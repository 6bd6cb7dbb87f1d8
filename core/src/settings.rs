//! Settings of the core, each with its default. What is wrong with a request is measured against
//! [`Limits`]; what the service itself may use, against [`Transport`] and [`HubSettings`].

use std::{path::PathBuf, time::Duration};

use mercurio_trace::Traces;

use crate::{
    entry::RECIPIENT_ID_MAX,
    log::LogSettings,
    store::{Retention, StoreSettings},
    topic::TOPIC_MAX,
    writer::WriterSettings,
};

/// All settings of a core.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// What the process is called in its status. Default `core`.
    pub role: &'static str,
    /// Where everything is stored; made where it is not there. Default `data`.
    pub data_dir: PathBuf,
    /// What a request may hold, and a user may open.
    pub limits: Limits,
    /// How long and how many notifications are kept.
    pub retention: Retention,
    /// How the store uses its machine.
    pub store: StoreSettings,
    /// Which log is written to and applied.
    pub log: LogSettings,
    /// Bounds of the writer.
    pub writer: WriterSettings,
    /// Bounds of what waits for live readers.
    pub hub: HubSettings,
    /// Connections and how they end.
    pub transport: Transport,
    /// How long a shutdown takes at most, the flush not included: half of it passes before a
    /// connection whose client doesn't read is cut. Default 10 s.
    pub shutdown_grace: Duration,
    /// Where calls' spans are made. Default: none are.
    pub traces: Traces,
}

impl Default for CoreSettings {
    fn default() -> Self {
        Self {
            role: "core",
            data_dir: PathBuf::from("data"),
            limits: Limits::default(),
            retention: Retention::default(),
            store: StoreSettings::default(),
            log: LogSettings::default(),
            writer: WriterSettings::default(),
            hub: HubSettings::default(),
            transport: Transport::default(),
            shutdown_grace: Duration::from_secs(10),
            traces: Traces::default(),
        }
    }
}

/// What a request may hold, and how much may be open. Recipient ids have
/// [`RECIPIENT_ID_MAX`] bytes and topics [`TOPIC_MAX`] at most, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a source's id. Default 128.
    pub source_id_bytes: usize,
    /// Bytes of an event's id. Default 128.
    pub event_id_bytes: usize,
    /// Bytes of a notification's body. Default 65,536.
    pub data_bytes: usize,
    /// Recipients named in one publish. Default 10,000.
    pub recipients: usize,
    /// The longest time to live. Default 100 years of 365 days.
    pub ttl: Duration,
    /// Topic filters of one stream or list. Default 64.
    pub topic_filters: usize,
    /// Notifications on a page of history. Default 500.
    pub page_size: usize,
    /// Notifications on a page of history where none is asked for. Default 50.
    pub default_page_size: usize,
    /// Bytes of bodies on a page of history or catch-up: behind them it ends early, with at least
    /// one notification on it. Clients decode 4 MiB by default. Default 3 MiB.
    pub page_bytes: usize,
    /// Ids in one mark. Default 500.
    pub mark_ids: usize,
    /// Ids in one Join or Leave of a relay. Default 10,000.
    pub relay_ids: usize,
    /// Recipients joined on one relay. Default 1,000,000.
    pub relay_recipients: usize,
    /// Relays open at once. Default 256.
    pub relays: usize,
    /// Live streams open for one user; those that end at the present don't count. Default 64.
    pub streams_per_user: usize,
    /// Streams open at once, of all users and kinds. Default 100,000.
    pub streams: usize,
    /// Publishes a second of one publisher's, and ten times as many at once; one to many recipients
    /// counts as one for each hundred. 0: no limit. Default 5,000.
    pub publishes_per_publisher: u32,
    /// Calls a second of one user's, publishing aside, and ten times as many at once; those who may act
    /// for anyone are not limited. 0: no limit. Default 100.
    pub calls_per_user: u32,
    /// Calls a second from one address, an IPv6 one by /64, and ten times as many at once. 0: no limit.
    /// Default 50,000, which is more than one core can answer.
    pub calls_per_address: u32,
    /// How long a revocation is kept where who revokes doesn't say when the tokens expire: as long
    /// as tokens live, at least. Default 90 days.
    pub revocation_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_id_bytes: 128,
            event_id_bytes: 128,
            data_bytes: 65_536,
            recipients: 10_000,
            ttl: Duration::from_secs(100 * 365 * 24 * 3600),
            topic_filters: 64,
            page_size: 500,
            default_page_size: 50,
            page_bytes: 3 << 20,
            mark_ids: 500,
            relay_ids: 10_000,
            relay_recipients: 1_000_000,
            relays: 256,
            streams_per_user: 64,
            streams: 100_000,
            publishes_per_publisher: 5_000,
            calls_per_user: 100,
            calls_per_address: 50_000,
            revocation_age: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl Limits {
    /// Bytes of the largest message that a publish or a gateway's can be within the limits. Twice over,
    /// and gRPC's usual 4 MiB at least: so what is too large is answered by naming the field, and
    /// only what is far too large by refusing the message.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        // A length-delimited field costs a tag and a length beside its bytes.
        const FIELD: usize = 6;
        let id = RECIPIENT_ID_MAX + FIELD;
        let ids = self.recipients.max(self.relay_ids).saturating_mul(id);
        let texts = self.data_bytes + self.source_id_bytes + self.event_id_bytes;
        let message = ids.saturating_add(texts).saturating_add(TOPIC_MAX + FIELD);
        message.saturating_mul(2).max(4 << 20)
    }

    /// The same of a request that neither publishes nor is a gateway's. 64 KiB at least.
    #[must_use]
    pub fn short_message_bytes(&self) -> usize {
        let topics = self.topic_filters.saturating_mul(TOPIC_MAX + 6);
        let marks = self.mark_ids.saturating_mul(10);
        topics.saturating_add(marks).saturating_mul(2).max(64 << 10)
    }
}

/// Bounds of what waits for live readers. Past one of them the reader goes back to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSettings {
    /// Entries that wait for one stream. Default 256.
    pub stream_entries: usize,
    /// Bytes that wait for one stream. Default 1 MiB.
    pub stream_bytes: usize,
    /// Entries that wait for one relay. Default 8,192.
    pub relay_entries: usize,
    /// Bytes that wait for one relay. Default 32 MiB.
    pub relay_bytes: usize,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            stream_entries: 256,
            stream_bytes: 1 << 20,
            relay_entries: 8192,
            relay_bytes: 32 << 20,
        }
    }
}

/// Connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Connections open at once; more wait in the listener's backlog. Default 10,000.
    pub connections: usize,
    /// Of these, from one address, an IPv6 one by /64; one more is closed. Default 1,000.
    pub connections_per_address: usize,
    /// Calls open at once on one connection; a client waits with more. Default 4,096.
    pub calls_per_connection: u32,
    /// How often a quiet peer is asked whether it is there. Default 20 s.
    pub keepalive_interval: Duration,
    /// How long its answer may take before the connection is dropped. Default 10 s.
    pub keepalive_timeout: Duration,
    /// How long a new connection may take to speak HTTP/2. Default 10 s.
    pub handshake_timeout: Duration,
    /// A connection on which no call is open, and none was for so long, is ended, within twice that.
    /// Default 60 s.
    pub connection_idle: Duration,
    /// How long a call may take to be answered, a stream to begin; and how long an answer that is not
    /// a stream may go without any of it being taken. Default 30 s.
    pub call_timeout: Duration,
    /// Streams of health and reflection open at once, which need no token; on one connection 16.
    /// Default 1,024.
    pub other_streams: usize,
    /// Bytes of services' messages that are on their way at once, the first 4 KiB of each aside, and
    /// besides, an eighth of it for users'; room for one at least. Default 64 MiB.
    pub message_room: usize,
    /// Reads of the store at once. Default 64.
    pub reads: usize,
    /// Snapshots held at once, and reads of them. Default 2.
    pub snapshots: usize,
    /// How long a snapshot is held that nobody reads. Default 10 minutes.
    pub snapshot_idle: Duration,
    /// How long a read waits for its turn before it is refused. Default 10 s.
    pub read_wait: Duration,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            calls_per_connection: 4096,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            connection_idle: Duration::from_secs(60),
            call_timeout: Duration::from_secs(30),
            other_streams: 1024,
            message_room: 64 << 20,
            reads: 64,
            snapshots: 2,
            snapshot_idle: Duration::from_secs(600),
            read_wait: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_valid_request_fits_a_message() {
        let limits = Limits::default();
        let publish = limits.recipients * (RECIPIENT_ID_MAX + 3) + limits.data_bytes + TOPIC_MAX;
        assert!(limits.message_bytes() > publish);
        // What a client decodes by default.
        assert!(publish < 4 << 20);
    }
}
