//! What a PEM file holds, told by its labels: so that the wrong file gets an error that says which
//! file it is. The content is jsonwebtoken's to read.

use crate::error::KeyError;

/// Whether a secret is really something public.
pub(crate) fn is_public(secret: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(secret) else {
        return false;
    };
    labels(text).any(|label| ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"].contains(&label))
}

/// Refuses whatever is not one public key.
pub(crate) fn expect_public(pem: &[u8]) -> Result<(), KeyError> {
    match only_label(pem)? {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Ok(()),
        "CERTIFICATE" => Err(KeyError::Certificate),
        label if label.ends_with("PRIVATE KEY") => Err(KeyError::PrivateKey),
        _ => Err(KeyError::Unsupported),
    }
}

/// Refuses whatever is not one private key that is readable as it is.
pub(crate) fn expect_private(pem: &[u8]) -> Result<(), KeyError> {
    match only_label(pem)? {
        // The old form says in a header line that it is encrypted.
        "RSA PRIVATE KEY" if contains(pem, b"ENCRYPTED") => Err(KeyError::Encrypted),
        "PRIVATE KEY" | "RSA PRIVATE KEY" => Ok(()),
        "EC PRIVATE KEY" => Err(KeyError::Sec1),
        "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => Err(KeyError::PublicKey),
        _ => Err(KeyError::Unsupported),
    }
}

/// The label of the file's one block.
fn only_label(pem: &[u8]) -> Result<&str, KeyError> {
    let text = std::str::from_utf8(pem).map_err(|_| KeyError::NotPem)?;
    // `openssl ecparam -genkey` puts the curve's name in a block before the key.
    let labels: Vec<&str> = labels(text).filter(|l| *l != "EC PARAMETERS").collect();
    match labels[..] {
        [] => Err(KeyError::NotPem),
        [label] => Ok(label),
        _ => Err(KeyError::SeveralBlocks(labels.len())),
    }
}

fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        line.trim()
            .strip_prefix("-----BEGIN ")?
            .strip_suffix("-----")
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
