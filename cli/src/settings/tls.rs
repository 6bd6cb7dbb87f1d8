//! The settings of TLS: who each side is, and whom it trusts.

use super::{
    kind::Kind,
    table::{
        Command::{
            self, Backup, Core, Delete, Gateway, History, Publish, Read, Revoke, Serve, Status,
            Streams, Subscribe,
        },
        Setting,
    },
};

const TLS: &str = "TLS";

const CORES: &[Command] = &[Serve, Core];
const GATEWAYS: &[Command] = &[Serve, Gateway];
/// A core calls the peer that it is filled from.
const DIALERS: &[Command] = &[
    Serve, Core, Gateway, Publish, Subscribe, History, Read, Delete, Revoke, Status, Streams,
    Backup,
];

/// The rows; `table.rs` has the others.
pub const ROWS: &[Setting] = &[
    Setting::new("tls-cert", "FILE", Kind::Path, "The gateway's certificate and those between it and its root, in PEM: with it HTTPS is served, HTTP/2 and HTTP/1.1. Certificates and keys that change on disk are taken up within seconds")
        .of(TLS, GATEWAYS),
    Setting::new("tls-key", "FILE", Kind::Path, "Its private key, in PEM")
        .of(TLS, GATEWAYS),
    Setting::new("grpc-tls-cert", "FILE", Kind::Path, "The core's certificate and those between it and its root, in PEM: with it gRPC is served over TLS")
        .of(TLS, CORES),
    Setting::new("grpc-tls-key", "FILE", Kind::Path, "Its private key, in PEM")
        .of(TLS, CORES),
    Setting::new("grpc-client-ca", "FILE", Kind::Path, "Who signs the certificates of gRPC's clients, in PEM: with it nobody gets in without one")
        .of(TLS, CORES),
    Setting::new("grpc-client-scope", "NAME=SCOPE", Kind::Text { max: 256 }, "A scope of a client that shows no token, by a DNS name or URI in its certificate")
        .of(TLS, CORES)
        .repeatable(),
    Setting::new("core-ca", "FILE", Kind::Path, "Who signs the core's certificate, in PEM; unset: whom the system trusts")
        .of(TLS, DIALERS),
    Setting::new("core-tls-cert", "FILE", Kind::Path, "The certificate to show the core, in PEM")
        .of(TLS, DIALERS),
    Setting::new("core-tls-key", "FILE", Kind::Path, "Its private key, in PEM")
        .of(TLS, DIALERS),
];
