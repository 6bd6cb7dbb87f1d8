//! The wiring: listeners are bound, the store is opened, core and gateway are served, and all is
//! drained at a signal.

mod admin;
pub mod keys;
mod parts;

use std::{net::SocketAddr, time::Duration};

use mercurio_core::Core;
use mercurio_gateway::Gateway;
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    error::Failure,
    settings::{Command, Settings},
};
use keys::Keys;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 8192;
/// Threads for calls that block: reads of the store.
const BLOCKING_THREADS: usize = 32;

/// Where a process listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    pub grpc: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

/// Starts the log on standard error.
pub fn log(settings: &Settings) {
    // The table has checked it.
    let filter = log_filter(settings.text("log-level").unwrap_or("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.text("log-format") {
        Some("json") => builder.json().init(),
        _ => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
    }
}

/// Runs a server until a signal ends it. `started` is called when it serves.
pub fn run(
    command: Command,
    settings: &Settings,
    keys: Keys,
    started: impl FnOnce(&Addresses) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(Failure::other)?;
    let grace = settings
        .duration("shutdown-grace")
        .unwrap_or(Duration::from_secs(10));
    let ran = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut signals = Signals::new()?;
        let served = serve(command, settings, keys, started, shutdown.clone());
        tokio::pin!(served);
        let signal = tokio::select! {
            served = &mut served => return served,
            signal = signals.next() => signal,
        };
        tracing::info!(
            signal,
            ?grace,
            "shutting down; a second signal ends at once"
        );
        shutdown.cancel();
        tokio::select! {
            served = timeout(grace, served) => match served {
                Ok(served) => served,
                Err(_) => Err(Failure::other(format!("the shutdown took longer than {grace:?}"))),
            },
            signal = signals.next() => {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(128 + signal);
            }
        }
    });
    // A step of the store that is under way holds nothing that is not safe.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ran
}

async fn serve(
    command: Command,
    settings: &Settings,
    keys: Keys,
    started: impl FnOnce(&Addresses) -> Result<(), Failure>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let mut addresses = Addresses::default();
    let mut bound = Bound {
        settings,
        addresses: &mut addresses,
    };
    let admin = bound.bind("admin-addr").await?;
    let grpc = if command.has_core() {
        Some(bound.bind("grpc-addr").await?)
    } else {
        None
    };
    let http = if command.has_gateway() {
        Some(bound.bind("http-addr").await?)
    } else {
        None
    };
    let mut registry = Registry::default();
    let core = match command.has_core() {
        true => {
            let settings = parts::core(settings);
            let opened = tokio::task::spawn_blocking(move || {
                let opened = Core::open(settings, &mut registry);
                (opened, registry)
            });
            let (opened, with_core) = opened.await.map_err(Failure::other)?;
            registry = with_core;
            Some(opened.map_err(Failure::other)?)
        }
        false => None,
    };
    let gateway = match (http, addresses.grpc) {
        (Some(listener), local) => {
            let (urls, tokens) = match local {
                Some(grpc) => (
                    vec![format!("http://{}", reachable(grpc))],
                    keys.internal.clone(),
                ),
                None => (settings.texts("core-url"), service_tokens(&keys)?),
            };
            let settings = parts::gateway(settings, urls, keys.demo.clone());
            let gateway = Gateway::new(settings, keys.verifier.clone(), tokens, &mut registry)
                .map_err(|error| Failure::Usage(error.to_string()))?;
            Some((gateway, listener))
        }
        (None, _) => None,
    };
    let shown = |address: Option<SocketAddr>| address.map(tracing::field::display);
    tracing::info!(
        grpc = shown(addresses.grpc),
        http = shown(addresses.http),
        admin = shown(addresses.admin),
        "listening",
    );
    started(&addresses)?;
    let admin_ends = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(
        admin,
        registry,
        core.as_ref().map(Core::log_status),
        shutdown.clone(),
        admin_ends.clone(),
    ));
    // The gateway's calls need the core: it ends first.
    let core_ends = CancellationToken::new();
    let core = async {
        match (core, grpc) {
            (Some(core), Some(listener)) => mercurio_core::serve(
                core,
                listener,
                keys.core_verifier.clone(),
                core_ends.clone(),
            )
            .await
            .map_err(Failure::other),
            _ => {
                core_ends.cancelled().await;
                Ok(())
            }
        }
    };
    let gateway = async {
        match gateway {
            Some((gateway, listener)) => gateway.serve(listener, shutdown.clone()).await,
            None => shutdown.cancelled().await,
        }
        core_ends.cancel();
    };
    let (served, ()) = tokio::join!(core, gateway);
    admin_ends.cancel();
    let _ = admin.await;
    served
}

/// A gateway with nothing to sign with has to be given a token.
fn service_tokens(keys: &Keys) -> Result<mercurio_auth::ServiceTokens, Failure> {
    keys.service.clone().ok_or_else(|| {
        Failure::Usage(
            "--core-token-file is needed: with a public key only, the gateway can't sign the \
             token that it shows the core"
                .into(),
        )
    })
}

/// Where this process reaches a listener of its own: not every address to listen on is one to
/// connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

struct Bound<'a> {
    settings: &'a Settings,
    addresses: &'a mut Addresses,
}

impl Bound<'_> {
    async fn bind(&mut self, setting: &str) -> Result<TcpListener, Failure> {
        let given = self.settings.text(setting).unwrap_or_default();
        let refused =
            |error: std::io::Error| Failure::other(format!("--{setting} {given}: {error}"));
        let listener = bind(given).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "--{setting} listens beyond this machine, without TLS");
        }
        let place = match setting {
            "grpc-addr" => &mut self.addresses.grpc,
            "http-addr" => &mut self.addresses.http,
            _ => &mut self.addresses.admin,
        };
        *place = Some(address);
        Ok(listener)
    }
}

async fn bind(given: &str) -> std::io::Result<TcpListener> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in lookup_host(given).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::other);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// A bare level is meant for this service; libraries say only what is wrong, and at `trace` all.
fn log_filter(text: &str) -> EnvFilter {
    let filter = match text.trim().parse::<LevelFilter>() {
        Ok(level) if level < LevelFilter::TRACE => {
            format!("{},mercurio={level}", level.min(LevelFilter::WARN))
        }
        _ => text.to_owned(),
    };
    EnvFilter::builder().parse_lossy(filter)
}
