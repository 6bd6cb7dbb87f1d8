//! What is looked up when somebody asks for the metrics. It holds on to nothing: neither the store's directory nor
//! the writer.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
    registry::Unit,
};

use crate::{store::Disk, writer::Waiting};

/// The writer's queue and the disk.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub disk: Disk,
    pub waiting: Waiting,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let name = format!("{}_{name}", crate::metrics::PREFIX);
            let metric = encoder.encode_descriptor(&name, help, unit, gauge.metric_type())?;
            gauge.encode(metric)
        };
        let waiting = self.waiting.count() as u64;
        gauge(
            "writer_queue_requests",
            "Requests that wait for the writer",
            None,
            waiting,
        )?;
        // A disk that can't be asked is logged by who needs to know; no number is better than a wrong one.
        let Ok((free, reserve)) = self.disk.room() else {
            return Ok(());
        };
        let bytes = Some(&Unit::Bytes);
        gauge(
            "disk_free",
            "Space left on the file system of the data",
            bytes,
            free,
        )?;
        gauge(
            "disk_reserve",
            "Space that publishing leaves free",
            bytes,
            reserve,
        )
    }
}
