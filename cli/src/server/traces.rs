//! Traces, from the settings: to whom they are sent.

use mercurio_trace::{Exporter, ExporterSettings, Traces};
use prometheus_client::registry::Registry;

use crate::{
    error::Failure,
    settings::{Problem, Problems, Settings},
};

/// What sends traces, where they are wanted.
pub struct Tracing(Option<Exporter>);

impl Tracing {
    /// Of the settings; in a runtime.
    ///
    /// # Errors
    /// The certificates can't be used, or one setting needs another.
    pub fn configured(settings: &Settings, registry: &mut Registry) -> Result<Self, Failure> {
        let refused =
            |why: String| Failure::from(Problems(vec![Problem::new(format!("--otlp-{why}"))]));
        let endpoint = settings.text("otlp-endpoint");
        let ca = settings.path("otlp-ca");
        let is_secure = endpoint.is_some_and(|endpoint| endpoint.starts_with("https"));
        if ca.is_some() && !is_secure {
            let why = "ca: there is no --otlp-endpoint that begins with https://";
            return Err(refused(why.into()));
        }
        let Some(endpoint) = endpoint else {
            return Ok(Self(None));
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
        let started = Exporter::start(exporter, registry);
        let started = started.map_err(|error| refused(format!("endpoint: {error}")))?;
        Ok(Self(Some(started)))
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
