//! The settings of traces: where they go, and which.

use super::{
    kind::Kind,
    table::{SERVERS, Setting},
};

const TRACES: &str = "Traces";

/// The rows; `table.rs` has the others.
pub const ROWS: &[Setting] = &[
    Setting::new("otlp-endpoint", "URL", Kind::CoreUrl, "Where an OpenTelemetry collector takes traces, OTLP over gRPC, as in http://127.0.0.1:4317; unset: none are made")
        .of(TRACES, SERVERS),
    Setting::new("otlp-ca", "FILE", Kind::Path, "Who signs the collector's certificate, in PEM; unset: whom the system trusts")
        .of(TRACES, SERVERS),
    Setting::new("otlp-sample-ratio", "RATIO", Kind::Ratio, "Of the traces that begin here, the share that is recorded, 0 to 1. What a caller has decided stays so")
        .of(TRACES, SERVERS)
        .default("0.1"),
    Setting::new("otlp-service-name", "NAME", Kind::Name, "What traces call this service")
        .of(TRACES, SERVERS)
        .default("mercurio"),
];
