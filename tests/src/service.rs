//! The service as real processes: `serve`, or `core` and `gateway` apart.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    binary,
    grpc::Api,
    process::Process,
    tokens::Secret,
    wait::{SOON, within},
};

/// Which command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `mercurio serve`: everything in one process.
    Serve,
    /// `mercurio core`.
    Core,
    /// `mercurio gateway`.
    Gateway,
    /// `mercurio dev`: a key of its own and ready-made tokens.
    Dev,
}

impl Role {
    fn command(self) -> &'static str {
        match self {
            Role::Serve => "serve",
            Role::Core => "core",
            Role::Gateway => "gateway",
            Role::Dev => "dev",
        }
    }

    fn has_core(self) -> bool {
        self != Role::Gateway
    }

    fn has_http(self) -> bool {
        self != Role::Core
    }
}

/// What a process is started with. Cheap to clone; clones share data directory and secret.
#[derive(Clone)]
pub struct Setup {
    role: Role,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    secret: Arc<Secret>,
    with_secret: bool,
    /// The directory the process runs in; its data is in `data` below it.
    home: Arc<TempDir>,
    data: Option<PathBuf>,
    addresses: Addresses,
}

/// Where a process listens.
#[derive(Clone, Copy, Debug, Default)]
struct Addresses {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Setup {
    /// A process of this role with a new secret, a temporary data directory and free ports.
    pub fn new(role: Role) -> Setup {
        let addresses = Addresses {
            grpc: role.has_core().then(free_address),
            http: role.has_http().then(free_address),
            admin: Some(free_address()),
        };
        Setup {
            role,
            args: Vec::new(),
            envs: Vec::new(),
            secret: Arc::default(),
            with_secret: role != Role::Dev,
            home: Arc::new(TempDir::new().expect("a temporary directory")),
            data: None,
            addresses,
        }
    }

    /// `mercurio serve`.
    pub fn serve() -> Setup {
        Self::new(Role::Serve)
    }

    /// `mercurio core`.
    pub fn core() -> Setup {
        Self::new(Role::Core)
    }

    /// `mercurio gateway` for this core, with its secret.
    pub fn gateway(core: &Service) -> Setup {
        Self::gateway_to([format!("http://{}", core.grpc())]).secret_of(core)
    }

    /// `mercurio gateway` for cores at these addresses.
    pub fn gateway_to(urls: impl IntoIterator<Item = String>) -> Setup {
        let urls = urls.into_iter();
        let args = urls.flat_map(|url| ["--core-url".to_owned(), url]);
        Self::new(Role::Gateway).args(args)
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Setup {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this secret.
    pub fn secret(mut self, secret: Arc<Secret>) -> Setup {
        self.secret = secret;
        self
    }

    /// Uses the secret of another process.
    pub fn secret_of(self, other: &Service) -> Setup {
        let secret = other.setup.secret.clone();
        self.secret(secret)
    }

    /// Gives the process no `--jwt-secret-file`: the test says what its key is.
    pub fn without_secret(mut self) -> Setup {
        self.with_secret = false;
        self
    }

    /// Keeps the data here.
    pub fn data(mut self, path: impl Into<PathBuf>) -> Setup {
        self.data = Some(path.into());
        self
    }

    /// Where the data is.
    pub fn data_dir(&self) -> PathBuf {
        self.data
            .clone()
            .unwrap_or_else(|| self.home.path().join("data"))
    }

    /// The directory the process runs in.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Lets the system choose the ports (they are read from the log). For processes that are
    /// not restarted: see [`free_address`].
    pub fn any_port(mut self) -> Setup {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        for address in [
            &mut self.addresses.grpc,
            &mut self.addresses.http,
            &mut self.addresses.admin,
        ] {
            *address = address.map(|_| any);
        }
        self
    }

    /// Has HTTP listen on every address of this host, on any port.
    pub fn everywhere(mut self) -> Setup {
        self.addresses.http = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
        self
    }

    /// The HTTP address it was given.
    pub fn http_address(&self) -> SocketAddr {
        self.addresses.http.expect("this process serves HTTP")
    }

    /// The command as it would be run.
    pub fn command(&self) -> Command {
        let mut command = mercurio();
        command
            .current_dir(self.home.path())
            .arg(self.role.command());
        if self.with_secret {
            command.arg("--jwt-secret-file").arg(self.secret.path());
        }
        if self.role.has_core() {
            command.arg("--data-dir").arg(self.data_dir());
        }
        let addresses = &self.addresses;
        for (flag, address) in [
            ("--grpc-addr", addresses.grpc),
            ("--http-addr", addresses.http),
            ("--admin-addr", addresses.admin),
        ] {
            if let Some(address) = address {
                command.arg(flag).arg(address.to_string());
            }
        }
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts it and waits until it listens; panics when it does not.
    pub async fn start(&self) -> Service {
        let mut service = self.launch();
        service.listening().await;
        service
    }

    /// Starts it without waiting.
    pub fn launch(&self) -> Service {
        let process = Process::spawn(self.role.command(), &mut self.command());
        Service {
            setup: self.clone(),
            process,
            addresses: Addresses::default(),
        }
    }

    /// Starts it, which has to fail, and gives the exit status and all it said.
    pub async fn refused(&self) -> (ExitStatus, String) {
        let mut service = self.launch();
        let status = service.process.wait(SOON).await;
        assert!(
            !status.success(),
            "started: {}",
            service.process.stderr.text()
        );
        let said = service.process.stderr.to_end(SOON).await;
        assert!(!said.contains("panicked"), "{said}");
        (status, said)
    }
}

/// A running process of the service. Killed on `Drop`.
pub struct Service {
    /// What it was started with.
    pub setup: Setup,
    /// The process itself.
    pub process: Process,
    addresses: Addresses,
}

impl Service {
    /// Waits until it listens and remembers where.
    pub async fn listening(&mut self) {
        self.listening_within(SOON).await;
    }

    /// Waits this long at most until it listens and remembers where.
    pub async fn listening_within(&mut self, limit: Duration) {
        let found = self.process.stderr.find(|line| listening(line).is_some());
        let line = within("the process listens", limit, found).await;
        let Some(line) = line else {
            panic!(
                "ended instead of listening; said:\n{}",
                self.process.stderr.text()
            );
        };
        self.addresses = listening(&line).expect("found by it");
    }

    /// Its gRPC address.
    pub fn grpc(&self) -> SocketAddr {
        self.addresses.grpc.expect("this process serves gRPC")
    }

    /// Its HTTP address.
    pub fn http(&self) -> SocketAddr {
        self.addresses.http.expect("this process serves HTTP")
    }

    /// Its admin address.
    pub fn admin(&self) -> SocketAddr {
        self.addresses
            .admin
            .expect("this process has an admin listener")
    }

    /// The secret its tokens are made with.
    pub fn secret(&self) -> &Secret {
        &self.setup.secret
    }

    /// The core's API with this token.
    pub fn api(&self, token: &str) -> Api {
        Api::new(self.grpc(), token)
    }

    /// The core's API as a service that may do everything.
    pub fn service_api(&self) -> Api {
        self.api(&self.secret().service())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// kill -9 where it still runs, then the same again: ports, data directory, secret.
    pub async fn restart(&mut self) {
        self.process.kill();
        let mut next = self.setup.launch();
        next.listening().await;
        *self = next;
    }

    /// SIGTERM, and its exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait(SOON).await
    }

    /// SIGTERM, which has to end with status 0, then the same again.
    pub async fn restart_gracefully(&mut self) {
        let status = self.stop().await;
        assert!(status.success(), "{status}");
        self.restart().await;
    }
}

/// A core and a gateway as two processes. Each can be killed without the other.
pub struct Apart {
    /// The core.
    pub core: Service,
    /// The gateway.
    pub gateway: Service,
}

impl Apart {
    /// Starts both.
    pub async fn start() -> Apart {
        Self::with(|core| core, |gateway| gateway).await
    }

    /// Starts both with changed set-ups.
    pub async fn with(
        core: impl FnOnce(Setup) -> Setup,
        gateway: impl FnOnce(Setup) -> Setup,
    ) -> Apart {
        let core = core(Setup::core()).start().await;
        let gateway = gateway(Setup::gateway(&core)).start().await;
        Apart { core, gateway }
    }
}

/// `mercurio`, free of this environment's settings.
pub fn mercurio() -> Command {
    let mut command = Command::new(binary::mercurio());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MERCURIO_") {
            command.env_remove(name);
        }
    }
    command
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "1")
        .env_remove("RUST_LOG");
    command
}

/// Runs `mercurio` with these arguments to its end; gives status, output and errors.
pub async fn run(args: &[&str]) -> (ExitStatus, String, String) {
    let mut command = mercurio();
    finish("mercurio", command.args(args), SOON).await
}

/// Runs a command to its end; gives status, output and errors.
pub async fn finish(
    name: &str,
    command: &mut Command,
    limit: Duration,
) -> (ExitStatus, String, String) {
    let mut process = Process::spawn(name, command);
    let status = process.wait(limit).await;
    (
        status,
        process.stdout.to_end(limit).await,
        process.stderr.to_end(limit).await,
    )
}

/// The addresses in a line such as `… listening grpc=127.0.0.1:50051 http=… admin=…`, or in the same
/// as JSON.
fn listening(line: &str) -> Option<Addresses> {
    if let Ok(line) = serde_json::from_str::<serde_json::Value>(line) {
        let said = line
            .get("fields")
            .filter(|said| said["message"] == "listening")?;
        let address = |name: &str| said[name].as_str()?.parse().ok();
        return Some(Addresses {
            grpc: address("grpc"),
            http: address("http"),
            admin: address("admin"),
        });
    }
    let (_, rest) = line.split_once("listening")?;
    let mut found = Addresses::default();
    for word in rest.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        let address = value.trim_matches(['"', ',']).parse().ok();
        match key {
            "grpc" => found.grpc = address,
            "http" => found.http = address,
            "admin" => found.admin = address,
            _ => {}
        }
    }
    (found.grpc.is_some() || found.http.is_some()).then_some(found)
}

/// An address of this host that nothing listens on.
///
/// Taken from below the range the system gives to outgoing connections: while a killed service
/// is down, no client of another test can be given its port, nor connect to itself.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 11_000;
    const SPAN: u16 = 20_000;
    let start = u16::try_from(std::process::id() % 499).expect("small") * 40;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % SPAN;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
