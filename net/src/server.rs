//! A listener's TLS.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};

use crate::{
    Protocols, alpn, pem, provider,
    renewed::{LoadError, Look, Renewed},
};

/// Where a listener's certificate is.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// Its certificate, and those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs clients' certificates; with it, none gets in without one.
    pub client_ca: Option<PathBuf>,
}

/// A listener's certificate and key, the newest ones. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Renewed<Arc<ServerConfig>>>);

impl ServerTls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// A file can't be read or used, or certificate and key don't belong together.
    pub fn load(files: ServerFiles, protocols: Protocols) -> Result<Self, LoadError> {
        let paths = [&files.cert, &files.key].into_iter();
        let paths = paths.chain(&files.client_ca).cloned().collect();
        let make = move |contents: &[Vec<u8>]| config(&files, contents, protocols).map(Arc::new);
        Ok(Self(Arc::new(Renewed::load(
            "a listener's certificate",
            paths,
            make,
        )?)))
    }

    /// Begins a handshake, with the certificate of now.
    #[must_use]
    pub fn accept(&self, tcp: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(self.0.current().as_ref().clone()).accept(tcp)
    }

    /// What takes up new files.
    #[must_use]
    pub fn look(&self) -> Arc<dyn Look> {
        self.0.clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

fn config(
    files: &ServerFiles,
    contents: &[Vec<u8>],
    protocols: Protocols,
) -> Result<ServerConfig, LoadError> {
    let of_cert = |error: rustls::Error| LoadError::of(&files.cert, error);
    // As many contents as files, in their order.
    let chain = pem::chain(&files.cert, &contents[0])?;
    let key = pem::key(&files.key, &contents[1])?;
    let clients: Arc<dyn ClientCertVerifier> = match (&files.client_ca, contents.get(2)) {
        (Some(path), Some(content)) => {
            let roots = Arc::new(pem::roots(path, content)?);
            WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| LoadError::of(path, error))?
        }
        _ => Arc::new(NoClientAuth),
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(of_cert)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(of_cert)?;
    config.alpn_protocols = alpn(protocols);
    // Who comes back is known by a ticket: nothing is kept here for them.
    config.ticketer = Ticketer::new().map_err(of_cert)?;
    Ok(config)
}

/// Whether the client of this connection chose HTTP/2.
#[must_use]
pub fn speaks_h2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// The names in the client's certificate: its DNS names and URIs. None without a certificate.
///
/// The subject's common name is not one of them: what it means was never agreed on (RFC 9525).
pub(crate) fn client_names<S>(stream: &TlsStream<S>) -> Vec<String> {
    let certificates = stream.get_ref().1.peer_certificates();
    let Some(certificate) = certificates.and_then(<[_]>::first) else {
        return Vec::new();
    };
    // The handshake has parsed it already.
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let dns = certificate.valid_dns_names();
    let names = dns.chain(certificate.valid_uri_names());
    names.map(str::to_owned).collect()
}
