//! What is measured: Mercurio as one process or apart, nchan, and the floor.

use std::{
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use mercurio_auth::{ClaimRules, Issuer, SCOPE_ANY, SCOPE_PUBLISH, SigningKey};
use tempfile::TempDir;

use crate::process::{Cpu, Server, wait_for_port};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `mercurio serve`: one process.
    Serve,
    /// `mercurio core` and `mercurio gateway`.
    Apart,
    Nchan,
    Floor,
    /// The floor, each event made safe before it is delivered.
    SafeFloor,
    /// The same, published to over the contract's gRPC.
    GrpcFloor,
    /// A gRPC server with nothing behind it; it has no streams.
    BareGrpc,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "mercurio serve",
            Self::Apart => "mercurio core + gateway",
            Self::Nchan => "nchan",
            Self::Floor => "floor (bare writes)",
            Self::SafeFloor => "floor + a synced write",
            Self::GrpcFloor => "floor + a synced write + gRPC",
            Self::BareGrpc => "bare gRPC",
        }
    }

    pub fn is_mercurio(self) -> bool {
        matches!(self, Self::Serve | Self::Apart)
    }

    /// Whether the contract's gRPC is spoken to it.
    pub fn has_grpc(self) -> bool {
        self.is_mercurio() || matches!(self, Self::GrpcFloor | Self::BareGrpc)
    }
}

/// What a stream is there for. Mercurio's streams have all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    Everyone,
    Own,
    Both,
}

/// A running one.
pub struct Target {
    pub kind: Kind,
    pub servers: Vec<Server>,
    /// Where streams are.
    pub http: SocketAddr,
    /// Mercurio's core.
    pub grpc: Option<SocketAddr>,
    issuer: Issuer,
    /// Data, configuration; removed at the end.
    home: TempDir,
}

impl Target {
    /// Starts it with an empty store.
    pub fn start(kind: Kind) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let data = home.path().join("data");
        Self::on::<&str>(kind, home, &data, &[])
    }

    /// Starts it with this data directory.
    pub fn start_on<S: AsRef<OsStr>>(kind: Kind, data: &Path, arguments: &[S]) -> Self {
        Self::on(
            kind,
            TempDir::new().expect("a temporary directory"),
            data,
            arguments,
        )
    }

    fn on<S: AsRef<OsStr>>(kind: Kind, home: TempDir, data: &Path, arguments: &[S]) -> Self {
        let secret = "a secret of the benchmark, 32 bytes and more";
        fs::write(home.path().join(KEY), secret).expect("write the key");
        let issuer = Issuer::new(
            SigningKey::from_secret(secret.as_bytes()).expect("a key"),
            &ClaimRules::default(),
        );
        let (http, grpc) = (free_address(), free_address());
        let mut servers = Vec::new();
        let mercurio = |command: &str| {
            let mut mercurio = mercurio(home.path(), command);
            if command != "gateway" {
                mercurio
                    .args(["--grpc-addr", &grpc.to_string()])
                    .arg("--data-dir")
                    .arg(data);
                mercurio.args(arguments);
            }
            if command != "core" {
                mercurio.args(["--http-addr", &http.to_string()]);
            }
            mercurio
        };
        match kind {
            Kind::Serve => {
                servers.push(Server::start("serve", &mut mercurio("serve"), "relay is open").0)
            }
            Kind::Apart => {
                servers.push(Server::start("core", &mut mercurio("core"), "listening").0);
                let mut gateway = mercurio("gateway");
                gateway.args(["--core-url", &format!("http://{grpc}")]);
                servers.push(Server::start("gateway", &mut gateway, "relay is open").0);
            }
            Kind::Nchan => servers.push(nchan(home.path(), http)),
            Kind::Floor => servers.push(of_this_program("floor", http, None, None)),
            Kind::SafeFloor => servers.push(of_this_program("floor", http, Some(data), None)),
            Kind::GrpcFloor => {
                servers.push(of_this_program("floor", http, Some(data), Some(grpc)));
                wait_for_port(grpc);
            }
            Kind::BareGrpc => servers.push(of_this_program("bare-grpc", grpc, None, None)),
        }
        Self {
            kind,
            servers,
            http,
            grpc: kind.has_grpc().then_some(grpc),
            issuer,
            home,
        }
    }

    /// Starts one more gateway on the same core; where its streams are.
    pub fn add_gateway(&mut self) -> SocketAddr {
        let (http, grpc) = (free_address(), self.grpc.expect("a core"));
        let mut gateway = mercurio(self.home.path(), "gateway");
        gateway.args(["--http-addr", &http.to_string()]);
        gateway.args(["--core-url", &format!("http://{grpc}")]);
        let (server, _) = Server::start("gateway", &mut gateway, "relay is open");
        self.servers.push(server);
        http
    }

    /// Starts one more core, on the log that these arguments name.
    pub fn add_core(&mut self, arguments: &[String]) {
        let data = self
            .home
            .path()
            .join(format!("data-{}", self.servers.len()));
        let mut core = mercurio(self.home.path(), "core");
        core.args(["--grpc-addr", "127.0.0.1:0"]).args(arguments);
        let (server, _) = Server::start("core", core.arg("--data-dir").arg(data), READY);
        self.servers.push(server);
    }

    /// The request that opens a user's stream. Where there are channels, it is of these.
    pub fn stream_request(&self, user: u32, hears: Hears, cursor: Option<u64>) -> String {
        if !self.kind.is_mercurio() {
            let channel = match hears {
                Hears::Everyone => "sub?id=all".to_owned(),
                Hears::Own => format!("sub?id={}", user_name(user)),
                Hears::Both => format!("both?id={}", user_name(user)),
            };
            return format!(
                "GET /{channel} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
            );
        }
        let token = self.token(&user_name(user), &[]);
        let resume =
            cursor.map_or_else(String::new, |cursor| format!("Last-Event-ID: {cursor}\r\n"));
        format!(
            "GET /api/clients/me/notifications/stream HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\
             Authorization: Bearer {token}\r\n{resume}\r\n"
        )
    }

    /// A token of a publisher.
    pub fn publisher_token(&self) -> String {
        self.token("bench", &[SCOPE_PUBLISH, SCOPE_ANY])
    }

    fn token(&self, user: &str, scopes: &[&str]) -> String {
        self.issuer
            .issue(user, scopes, Duration::from_secs(24 * 3600))
            .expect("a token")
    }

    /// Memory of all its processes.
    pub fn pss(&self) -> u64 {
        self.servers.iter().map(Server::pss).sum()
    }

    /// Time on the CPU of each of its processes, to measure from.
    pub fn cpu(&self) -> Vec<Cpu> {
        self.servers.iter().map(Server::cpu).collect()
    }

    /// Time on the CPU of each of its processes since then.
    pub fn cpu_since(&self, before: &[Cpu]) -> Vec<(&'static str, Duration)> {
        let servers = self.servers.iter().zip(before);
        servers
            .map(|(server, before)| (server.name, server.cpu().since(before)))
            .collect()
    }

    /// The same of all of them.
    pub fn cpu_of_all_since(&self, before: &[Cpu]) -> Duration {
        self.cpu_since(before).iter().map(|(_, time)| *time).sum()
    }

    /// Processes that ended by themselves.
    pub fn dead(&mut self) -> u64 {
        let alive = self.servers.iter_mut().map(Server::is_alive);
        alive.filter(|alive| !alive).count() as u64
    }
}

const KEY: &str = "key";

/// What a core on a shared log says once it has caught up.
const READY: &str = "readiness changed";

/// This program, also where it was built anew meanwhile.
fn of_this_program(
    what: &'static str,
    address: SocketAddr,
    file: Option<&Path>,
    grpc: Option<SocketAddr>,
) -> Server {
    let mut command = Command::new("/proc/self/exe");
    command.arg(what).arg(address.to_string()).args(file);
    command.args(grpc.map(|grpc| grpc.to_string()));
    let (server, _) = Server::start(what, &mut command, "");
    wait_for_port(address);
    server
}

/// The service, with its own settings alone: none of the environment, no `.env`.
fn mercurio(home: &Path, command: &str) -> Command {
    let mut mercurio = Command::new(binary());
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("MERCURIO_")) {
        mercurio.env_remove(name);
    }
    mercurio.current_dir(home);
    // All load comes from one address, and of one publisher.
    for limit in [
        "REQUESTS_PER_ADDRESS",
        "STREAMS_PER_ADDRESS",
        "PUBLISHES_PER_PUBLISHER",
        "GRPC_CALLS_PER_ADDRESS",
        "GRPC_CONNECTIONS_PER_ADDRESS",
    ] {
        mercurio.env(format!("MERCURIO_{limit}"), "0");
    }
    mercurio
        .arg(command)
        .arg("--jwt-secret-file")
        .arg(home.join(KEY));
    mercurio.args(["--admin-addr", "127.0.0.1:0", "--log-level", "info"]);
    // As nginx's is off.
    mercurio.arg("--access-log=false");
    mercurio
}

/// How users are called.
pub fn user_name(user: u32) -> String {
    format!("user-{user}")
}

/// The service, built beside this program.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("MERCURIO_BIN").map_or_else(
        || {
            let this = std::env::current_exe().expect("this program");
            this.with_file_name("mercurio")
        },
        PathBuf::from,
    );
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// Whether nchan is there; installed as root on Debian where it is not.
pub fn nchan_is_there() -> bool {
    let module = Path::new(NCHAN);
    if !module.exists() {
        eprintln!("installing nginx-light and libnginx-mod-nchan");
        let _ = Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(["nginx-light", "libnginx-mod-nchan"])
            .stdout(std::process::Stdio::null())
            .status();
    }
    module.exists()
}

const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// One worker: deliveries cost nchan least so.
fn nchan(home: &Path, http: SocketAddr) -> Server {
    let ndk = "/usr/lib/nginx/modules/ndk_http_module.so";
    let modules = [ndk, NCHAN]
        .into_iter()
        .filter(|module| Path::new(module).exists());
    let modules: String = modules
        .map(|module| format!("load_module {module};\n"))
        .collect();
    let configuration = format!(
        "{modules}
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {home}/pid;
error_log /dev/null;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  keepalive_requests 1000000000; keepalive_time 24h; keepalive_timeout 24h;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  nchan_shared_memory_size 256m;
  server {{
    listen {http} backlog=4096;
    location = /pub {{ nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 100; }}
    location = /sub {{ nchan_subscriber eventsource; nchan_channel_id $arg_id; nchan_subscriber_first_message newest; }}
    location = /both {{ nchan_subscriber eventsource; nchan_channel_id $arg_id all; nchan_subscriber_first_message newest; }}
  }}
}}
",
        home = home.display()
    );
    let path = home.join("nginx.conf");
    fs::write(&path, configuration).expect("write nginx.conf");
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(&path).arg("-p").arg(home);
    let (server, _) = Server::start("nginx", &mut nginx, "");
    wait_for_port(http);
    server
}
