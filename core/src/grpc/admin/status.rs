//! `GetStatus`: how this core is, and the gateways connected to it.

use std::time::SystemTime;

use futures_util::future::join_all;
use mercurio_proto::v1::{
    self as pb, RelayReportQuestion, relay_answer::Answer, relay_question::Question,
};

use crate::{
    grpc::{Context, gateways::Gateway, status::Refusal},
    log::LogKind,
};

impl Context {
    pub(super) async fn get_status(&self) -> Result<pb::GetStatusResponse, Refusal> {
        let gateways = self.gateways.all();
        let gateways = join_all(gateways.iter().map(|gateway| status_of(gateway))).await;
        Ok(pb::GetStatusResponse {
            core: Some(self.core_status().await?),
            gateways,
        })
    }

    async fn core_status(&self) -> Result<pb::CoreStatus, Refusal> {
        let (disk_free_bytes, disk_reserve_bytes) = self.read(|store| store.disk().room()).await?;
        let log = self.log.now();
        let unready = match self.shutdown.is_cancelled() {
            true => Some("shutting down".to_owned()),
            false => log.unready(),
        };
        let metrics = &self.metrics;
        Ok(pb::CoreStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: self.about.role.to_owned(),
            started_at: Some(self.about.started_at.into()),
            ready: unready.is_none(),
            unready_reason: unready.unwrap_or_default(),
            last_sequence: self.store.last_sequence(),
            store: Some(pb::StoreStatus {
                bytes: unsigned(metrics.store_bytes.get()),
                segments: unsigned(metrics.segments.get()),
                disk_free_bytes,
                disk_reserve_bytes,
            }),
            log: Some(pb::LogStatus {
                kind: match self.about.log {
                    LogKind::Embedded => "embedded",
                    LogKind::Nats => "nats",
                    LogKind::RabbitMq => "rabbitmq",
                }
                .to_owned(),
                connected: log.connected,
                last_position: log.last,
                applied_position: log.applied,
                lag_messages: log.lag(),
                halted_reason: log.halted.map(|why| why.to_string()).unwrap_or_default(),
            }),
            streams: unsigned(metrics.streams.get()),
            streams_catching_up: unsigned(metrics.catching_up.get()),
            connections: unsigned(metrics.connections.get()),
        })
    }
}

async fn status_of(gateway: &Gateway) -> pb::GatewayStatus {
    let report = match gateway.ask(Question::Report(RelayReportQuestion {})).await {
        Some(Answer::Report(report)) => Some(report),
        _ => None,
    };
    let (recipients, entries) = gateway.load.now();
    pb::GatewayStatus {
        relay_id: gateway.relay_id,
        connected_at: Some(gateway.connected_at.into()),
        remote_address: gateway.remote.map(|at| at.to_string()).unwrap_or_default(),
        recipients: recipients as u64,
        entries_waiting: entries as u64,
        report,
    }
}

fn unsigned(gauge: i64) -> u64 {
    gauge.try_into().unwrap_or(0)
}

/// What a core says of itself.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub role: &'static str,
    pub started_at: SystemTime,
    pub log: LogKind,
}
