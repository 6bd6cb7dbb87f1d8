//! Certificates, private keys and roots, from PEM files. Errors say what a file holds instead.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::renewed::LoadError;

/// A server's or client's certificate, and those between it and its root.
pub(crate) fn chain(
    path: &Path,
    content: &[u8],
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let chain = chain.map_err(|error| LoadError::of(path, error))?;
    if chain.is_empty() {
        let what = "there is no certificate in it (PEM: -----BEGIN CERTIFICATE-----)";
        return Err(LoadError::of(path, what));
    }
    Ok(chain)
}

/// The first private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
pub(crate) fn key(path: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    // What rustls says of it could quote it.
    PrivateKeyDer::from_pem_slice(content).map_err(|_| {
        let what =
            "there is no private key in it that can be used (PEM, not encrypted: -----BEGIN PRIVATE KEY-----)";
        LoadError::of(path, what)
    })
}

/// The certificates of who signs those that are trusted.
pub(crate) fn roots(path: &Path, content: &[u8]) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path, content)? {
        roots
            .add(certificate)
            .map_err(|error| LoadError::of(path, error))?;
    }
    Ok(roots)
}
