//! How spans get to a collector: gathered by a thread of their own, sent over OTLP (gRPC), and given up where
//! the collector does not take them. What is waiting is bounded, and so is the wait at the end.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use mercurio_net::{ClientFiles, ClientTls, Dial, H2, LoadError, Look};
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
    },
};
use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use thiserror::Error;
use tonic::transport::Endpoint;

use crate::Traces;

/// Spans that may wait to be sent; what comes on top is lost.
const WAITING: usize = 4096;
/// Spans sent at once.
const BATCH: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of the process waits for what is left to be sent.
const FLUSH: Duration = Duration::from_secs(1);
/// How often it is said that the collector takes nothing.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Where spans go, and which.
#[derive(Clone, Debug)]
pub struct ExporterSettings {
    /// `http(s)://HOST:PORT` of a collector that speaks OTLP over gRPC.
    pub endpoint: String,
    /// Who signs its certificate, where the address says `https`. `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Of the traces that begin here, the share that is recorded: 0 to 1. What a caller has decided stays so.
    pub ratio: f64,
    /// What this service is called.
    pub service: String,
    /// Its version.
    pub version: &'static str,
}

/// Why there can be no exporter.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The address is none.
    #[error("{0:?} is no address: {1}")]
    Endpoint(String, tonic::transport::Error),
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] LoadError),
    /// Something else: what the variables that OpenTelemetry defines (OTEL_…) say wrong is passed over.
    #[error("set up the exporter: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// A collector to send to: what is said of it is fit for use.
#[derive(Debug)]
pub struct Collector {
    settings: ExporterSettings,
    endpoint: Endpoint,
    tls: Option<ClientTls>,
}

impl Collector {
    /// Reads its certificates; calls nothing.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn load(settings: ExporterSettings) -> Result<Self, SetupError> {
        let is_secure = settings.endpoint.starts_with("https");
        let files = ClientFiles {
            ca: settings.ca.clone(),
            own: None,
        };
        let tls = is_secure.then(|| ClientTls::load(files, H2)).transpose()?;
        let endpoint = Endpoint::from_shared(settings.endpoint.clone())
            .map_err(|error| SetupError::Endpoint(settings.endpoint.clone(), error))?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        Ok(Self {
            settings,
            endpoint,
            tls,
        })
    }

    /// In a runtime; connects later, and again when it has to.
    fn otlp(&self) -> Result<opentelemetry_otlp::SpanExporter, ExporterBuildError> {
        let dial = Dial::Tcp(self.tls.clone());
        opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(self.endpoint.connect_with_connector_lazy(dial))
            .with_timeout(PATIENCE)
            .build()
    }
}

/// What sends spans. Whoever holds it ends it.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    tls: Option<ClientTls>,
}

impl Exporter {
    /// Begins to send, when there is something. In a runtime.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn start(collector: Collector, registry: &mut Registry) -> Result<Self, SetupError> {
        let otlp = collector.otlp()?;
        let Collector { settings, tls, .. } = collector;
        let watched = Watched {
            otlp,
            counts: Counts::registered(registry),
            said: Mutex::new(None),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(GATHER)
            .build();
        let resource = Resource::builder()
            .with_service_name(settings.service)
            .with_attribute(KeyValue::new("service.version", settings.version))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(watched)
                    .with_batch_config(batches)
                    .build(),
            )
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                settings.ratio,
            ))))
            .with_resource(resource)
            .build();
        Ok(Self { provider, tls })
    }

    /// Where spans are made that it sends.
    #[must_use]
    pub fn traces(&self) -> Traces {
        Traces(Some(self.provider.tracer("mercurio")))
    }

    /// What takes up new certificates.
    #[must_use]
    pub fn look(&self) -> Option<Arc<dyn Look>> {
        self.tls.as_ref().map(ClientTls::look)
    }

    /// Sends what is left, for a second at most. Blocks.
    pub fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::debug!(%error, "the last spans may not have been sent");
        }
    }
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    sent: Counter,
    lost: Counter,
}

impl Counts {
    fn registered(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let registry = registry.sub_registry_with_prefix("mercurio_traces");
        registry.register(
            "spans_sent",
            "Spans that the collector took",
            counts.sent.clone(),
        );
        registry.register(
            "spans_lost",
            "Spans that the collector did not take",
            counts.lost.clone(),
        );
        counts
    }
}

/// An exporter that counts, and says now and then that the collector takes nothing.
struct Watched<E> {
    otlp: E,
    counts: Counts,
    said: Mutex<Option<Instant>>,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let exported = self.otlp.export(batch).await;
        match &exported {
            Ok(()) => {
                self.counts.sent.inc_by(count);
                // Should it fail again, that is news.
                *self.said.lock() = None;
            }
            Err(error) => {
                self.counts.lost.inc_by(count);
                let mut said = self.said.lock();
                if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    *said = Some(Instant::now());
                    tracing::warn!(%error, lost = self.counts.lost.get(), "the collector takes no traces");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}
