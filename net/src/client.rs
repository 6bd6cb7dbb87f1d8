//! A client's TLS.

use std::{fmt, io, path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Protocols, alpn, pem, provider,
    renewed::{LoadError, Look, Renewed},
};

/// Whom a client trusts, and who it is.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// Who signs servers' certificates. `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Its own certificate and private key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A client's trust and certificate, the newest ones. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls(Arc<Renewed<Arc<ClientConfig>>>);

impl ClientTls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// A file can't be read or used, certificate and key don't belong together, or the system
    /// trusts nobody.
    pub fn load(files: ClientFiles, protocols: Protocols) -> Result<Self, LoadError> {
        let own = files.own.iter().flat_map(|(cert, key)| [cert, key]);
        let paths = files.ca.iter().chain(own).cloned().collect();
        let make = move |contents: &[Vec<u8>]| config(&files, contents, protocols).map(Arc::new);
        Ok(Self(Arc::new(Renewed::load(
            "a client's certificates",
            paths,
            make,
        )?)))
    }

    /// Speaks TLS with the server of this name, with the certificates of now.
    ///
    /// # Errors
    /// The name is none, or the handshake failed: what it says names the reason.
    pub async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.0.current().as_ref().clone());
        connector.connect(name, tcp).await
    }

    /// What takes up new files.
    #[must_use]
    pub fn look(&self) -> Arc<dyn Look> {
        self.0.clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

fn config(
    files: &ClientFiles,
    contents: &[Vec<u8>],
    protocols: Protocols,
) -> Result<ClientConfig, LoadError> {
    let mut contents = contents.iter();
    // As many contents as files, in their order.
    let mut next = || contents.next().map_or(&[][..], Vec::as_slice);
    let roots = match &files.ca {
        Some(path) => pem::roots(path, next())?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| LoadError::of("TLS".as_ref(), error))?
        .with_root_certificates(roots);
    let mut config = match &files.own {
        Some((cert, key)) => {
            let chain = pem::chain(cert, next())?;
            let own_key = pem::key(key, next())?;
            builder
                .with_client_auth_cert(chain, own_key)
                .map_err(|error| LoadError::of(cert, error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(protocols);
    Ok(config)
}

fn system_roots() -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let what = "none are found; name a file with those to trust, or install ca-certificates";
        return Err(LoadError::of(
            "the system's root certificates".as_ref(),
            what,
        ));
    }
    Ok(roots)
}
