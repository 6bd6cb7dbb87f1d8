//! What the core is told of this gateway when it asks, for `mercurio status` and `mercurio streams`.

use std::{net::SocketAddr, sync::OnceLock, time::SystemTime};

use mercurio_proto::v1::{GatewayReport, RelayStreams, RelayStreamsQuestion};
use tokio::net::TcpListener;

use crate::Context;

/// The most streams in one answer.
const STREAMS_MAX: u32 = 1000;

/// Which gateway this is.
pub(crate) struct About {
    id: String,
    started_at: SystemTime,
    listens: OnceLock<SocketAddr>,
}

impl Default for About {
    fn default() -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            started_at: SystemTime::now(),
            listens: OnceLock::new(),
        }
    }
}

impl About {
    /// It serves here.
    pub fn listens(&self, listener: &TcpListener) {
        if let Ok(address) = listener.local_addr() {
            let _ = self.listens.set(address);
        }
    }
}

impl Context {
    /// How this gateway is.
    pub fn report(&self) -> GatewayReport {
        let (streams, streams_behind, cursor) = self.registry.count();
        let About {
            id,
            started_at,
            listens,
        } = &self.about;
        GatewayReport {
            gateway_id: id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some((*started_at).into()),
            http_address: listens.get().map(ToString::to_string).unwrap_or_default(),
            streams,
            streams_behind,
            cursor,
        }
    }

    /// Which streams are open here.
    pub fn streams(&self, question: &RelayStreamsQuestion) -> RelayStreams {
        let only = Some(question.recipient_id.as_str()).filter(|id| !id.is_empty());
        let after = (
            question.after_recipient_id.as_str(),
            question.after_stream_id,
        );
        let limit = question.limit.clamp(1, STREAMS_MAX) as usize;
        let (streams, more) = self.registry.list(only, after, limit);
        RelayStreams {
            gateway_id: self.about.id.clone(),
            streams,
            more,
        }
    }
}
