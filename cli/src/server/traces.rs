//! Traces, from the settings: to whom they are sent.

use mercurio_trace::{Collector, Exporter, ExporterSettings, SetupError, Traces};
use prometheus_client::registry::Registry;

use crate::{
    error::Failure,
    settings::{Problem, Problems, Settings},
};

/// To whom traces are sent; `None`: none are made.
///
/// # Errors
/// The certificates can't be used, or one setting needs another.
pub fn collector(settings: &Settings) -> Result<Option<Collector>, Failure> {
    let endpoint = settings.text("otlp-endpoint");
    let ca = settings.path("otlp-ca");
    let is_secure = endpoint.is_some_and(|endpoint| endpoint.starts_with("https"));
    if ca.is_some() && !is_secure {
        let why = "ca: there is no --otlp-endpoint that begins with https://";
        return Err(refused(why));
    }
    let Some(endpoint) = endpoint else {
        return Ok(None);
    };
    // The table has checked it.
    let ratio = settings.text("otlp-sample-ratio");
    let exporter = ExporterSettings {
        endpoint: endpoint.to_owned(),
        ca: ca.map(Into::into),
        ratio: ratio.and_then(|ratio| ratio.parse().ok()).unwrap_or(0.1),
        service: settings
            .text("otlp-service-name")
            .unwrap_or("mercurio")
            .to_owned(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let loaded = Collector::load(exporter);
    loaded.map(Some).map_err(unfit)
}

fn unfit(error: SetupError) -> Failure {
    let setting = match &error {
        SetupError::Tls(_) => "ca",
        _ => "endpoint",
    };
    refused(&format!("{setting}: {error}"))
}

fn refused(why: &str) -> Failure {
    Problems(vec![Problem::new(format!("--otlp-{why}"))]).into()
}

/// What sends traces, where they are wanted.
pub struct Tracing(Option<Exporter>);

impl Tracing {
    /// Begins to. In a runtime.
    ///
    /// # Errors
    /// The exporter can't be set up.
    pub fn start(to: Option<Collector>, registry: &mut Registry) -> Result<Self, Failure> {
        let started = to.map(|collector| Exporter::start(collector, registry));
        started.transpose().map(Self).map_err(unfit)
    }

    /// Where spans are made.
    pub fn traces(&self) -> Traces {
        self.0.as_ref().map(Exporter::traces).unwrap_or_default()
    }

    /// What takes up new certificates.
    pub fn look(&self) -> Option<std::sync::Arc<dyn mercurio_net::Look>> {
        self.0.as_ref().and_then(Exporter::look)
    }

    /// Sends what is left, for a second at most.
    pub async fn end(self) {
        if let Some(exporter) = self.0 {
            // Lost with it, where that failed.
            let _ = tokio::task::spawn_blocking(move || exporter.end()).await;
        }
    }
}
