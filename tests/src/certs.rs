//! Certificates, made by openssl: an authority, and what it signs.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Runs openssl in this directory; panics where it fails. Gives its output.
pub fn openssl(directory: &Path, args: &str) -> String {
    let output = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(directory)
        .output()
        .expect("run openssl");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Who signs certificates, in a directory of its own.
pub struct Authority(TempDir);

/// A certificate and its key.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        openssl(
            directory.path(),
            &format!("req -x509 -days 2 -subj /CN=tests {KEY} -keyout ca.key -out ca.pem"),
        );
        Self(directory)
    }
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

impl Authority {
    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// A certificate for this machine under the name `name`, in files of that name; another one
    /// each time.
    pub fn server(&self, name: &str) -> Certificate {
        self.issue(name, &format!("DNS:{name},DNS:localhost,IP:127.0.0.1"))
    }

    /// A client's certificate with these names, as in `DNS:billing,URI:spiffe://x/y`.
    pub fn client(&self, file: &str, names: &str) -> Certificate {
        self.issue(file, names)
    }

    fn issue(&self, file: &str, names: &str) -> Certificate {
        let at = self.0.path();
        let extensions =
            format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n");
        fs::write(at.join("extensions"), extensions).expect("write");
        let request = format!("req -new -subj /CN={file} {KEY} -keyout {file}.key -out {file}.csr");
        openssl(at, &request);
        let sign = "-req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions";
        openssl(at, &format!("x509 {sign} -in {file}.csr -out {file}.pem"));
        Certificate {
            cert: at.join(format!("{file}.pem")),
            key: at.join(format!("{file}.key")),
        }
    }
}

impl Certificate {
    /// The arguments `--{prefix}cert` and `--{prefix}key`.
    pub fn args(&self, prefix: &str) -> [String; 4] {
        [
            format!("--{prefix}cert"),
            text(&self.cert),
            format!("--{prefix}key"),
            text(&self.key),
        ]
    }

    /// Its serial number.
    pub fn serial(&self) -> String {
        let at = self.cert.parent().expect("a file is in a directory");
        openssl(at, &format!("x509 -noout -serial -in {}", text(&self.cert)))
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a path of text").to_owned()
}

/// The serial number of the certificate that is shown there now, as [`Certificate::serial`] has it.
pub fn shown(by: SocketAddr) -> Option<String> {
    let script = format!(
        "openssl s_client -connect {by} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let output = Command::new("sh").args(["-c", &script]).output();
    let serial = String::from_utf8(output.expect("run openssl").stdout).expect("text");
    (!serial.is_empty()).then_some(serial)
}
