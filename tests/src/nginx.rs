//! nginx in front of a gateway, with its defaults: what stands in the configuration is what it can't
//! do without, and `proxy_pass`.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    process::{Process, Signal},
    service::{finish, free_address},
    tools::tool,
    wait::{SOON, eventually},
};

/// A running nginx. Stopped on `Drop`.
pub struct Nginx {
    program: PathBuf,
    home: TempDir,
    process: Process,
    /// Where it speaks HTTP/1.1 in the clear.
    pub plain: SocketAddr,
    /// Where it speaks TLS, and HTTP/1.1 or HTTP/2 in it.
    pub tls: SocketAddr,
}

impl Nginx {
    /// Starts it for the gateway at this address. `extra` stands beside `proxy_pass`, `server`
    /// beside its location. `None`, with a notice, where a tool is missing.
    pub async fn start(gateway: SocketAddr, extra: &str, server: &str) -> Option<Nginx> {
        let (program, openssl) = (tool("nginx")?, tool("openssl")?);
        let home = TempDir::new().expect("a temporary directory");
        // As root its workers are another user, who keeps large bodies in here.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        certify(&openssl, home.path()).await;
        let (plain, tls) = (free_address(), free_address());
        let configuration = format!(
            "daemon off;
             pid pid;
             error_log stderr;
             events {{}}
             http {{
               log_format protocol '$server_protocol $request_method $uri $status';
               access_log access.log protocol;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
               uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               server {{
                 listen {plain};
                 listen {tls} ssl http2;
                 ssl_certificate {home}/certificate.pem;
                 ssl_certificate_key {home}/key.pem;
                 location / {{ proxy_pass http://{gateway}; {extra} }}
                 {server}
               }}
             }}
             ",
            home = home.path().display()
        );
        fs::write(home.path().join("nginx.conf"), configuration).expect("write nginx.conf");
        let process = launch(&program, home.path());
        let nginx = Nginx {
            program,
            home,
            process,
            plain,
            tls,
        };
        nginx.listening().await;
        Some(nginx)
    }

    /// The certificate that it shows, which nobody signed.
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join("certificate.pem")
    }

    /// A line for each request that has ended: `HTTP/2.0 PUT /path 200`.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.home.path().join("access.log")).unwrap_or_default()
    }

    /// Has it read its configuration again: new workers for new connections.
    pub fn reload(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Ends it, connections and all, and starts it again.
    pub async fn restart(&mut self) {
        self.process.terminate();
        self.process.wait(SOON).await;
        self.process = launch(&self.program, self.home.path());
        self.listening().await;
    }

    async fn listening(&self) {
        eventually("nginx listens", SOON, async || {
            TcpStream::connect(self.tls).await.ok()
        })
        .await;
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed, it would leave its workers behind.
        self.process.terminate();
        for _ in 0..500 {
            if self.process.ended().is_some() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn launch(program: &Path, home: &Path) -> Process {
    let mut command = Command::new(program);
    command.arg("-p").arg(home).args(["-c", "nginx.conf"]);
    Process::spawn("nginx", command.args(["-e", "stderr"]))
}

async fn certify(openssl: &Path, home: &Path) {
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"]);
    command.args(["ec_paramgen_curve:prime256v1", "-days", "2", "-subj"]);
    command.args(["/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-keyout", "key.pem", "-out", "certificate.pem"]);
    let (status, _, said) = finish("openssl", command.current_dir(home), SOON).await;
    assert!(status.success(), "{said}");
}
