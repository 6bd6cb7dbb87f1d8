//! What HTTP and gRPC run over: TLS whose certificates are renewed while it serves, pipes between
//! core and gateway of one process, and how a client reaches a core. Knows no gRPC, and of HTTP
//! one GET.
//!
//! | module | subject |
//! |---|---|
//! | [`renewed`] | what is made of files, and made again when they change |
//! | `pem` | certificates, keys and roots in PEM files |
//! | [`server`], [`client`] | the two sides' TLS |
//! | [`accepted`] | a connection that was accepted, whatever it runs over |
//! | [`dial`] | a connection to be made |
//! | [`get`] | one small answer |
//! | [`answers`] | answers over HTTP/2, and clients that don't take them |
//! | [`source`] | whose limits by address count |
//! | [`counts`], [`rates`] | how many somebody may have open, and how often they may do something |
//!
//! One provider of cryptography, aws-lc-rs: the one that tokens are verified with. TLS 1.2 and 1.3,
//! rustls' own choice of suites. Nothing here prints a key.

#![warn(missing_docs)]

pub mod accepted;
pub mod answers;
pub mod client;
pub mod counts;
pub mod dial;
mod get;
mod pem;
pub mod rates;
pub mod renewed;
pub mod server;
pub mod source;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use accepted::{Accepted, PeerNames};
pub use answers::{Answer, Answers, Untaken};
pub use client::{ClientFiles, ClientTls};
pub use counts::{Counted, Counts};
pub use dial::{Dial, Incoming, Stream, pipe};
pub use get::get;
pub use rates::Rates;
pub use renewed::{LoadError, Look, Renewed, keep_current};
pub use server::{ServerFiles, ServerTls, speaks_h2};
pub use source::Source;

/// Application protocols, as ALPN names them, the preferred one first.
pub type Protocols = &'static [&'static [u8]];

/// HTTP/2 alone: gRPC.
pub const H2: Protocols = &[b"h2"];
/// HTTP/2 or HTTP/1.1.
pub const H2_OR_HTTP1: Protocols = &[b"h2", b"http/1.1"];
/// HTTP/1.1 alone.
pub const HTTP1: Protocols = &[b"http/1.1"];

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
        .clone()
}

fn alpn(protocols: Protocols) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.to_vec()).collect()
}
