//! The wiring: listeners are bound, the store is opened, core and gateway are served, and all is
//! drained at a signal.

mod admin;
pub mod configured;
mod jwks;
pub mod keys;
mod listen;
pub mod parts;
mod process;
pub mod tls;
pub mod traces;

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use mercurio_core::{Core, CoreSettings, Door, bootstrap::Peers};
use mercurio_gateway::{Gateway, GatewaySettings};
use mercurio_net::{ClientTls, Dial, keep_current};
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    error::Failure,
    settings::{Command, Settings},
};
use configured::Configured;
use keys::Keys;
use listen::{Bound, reachable};
use traces::Tracing;

/// How often certificates on disk are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
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
    let level = settings.text("log-level").unwrap_or("info");
    let filter = log_filter(level, settings.switch("access-log"));
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
    configured: Configured,
    started: impl FnOnce(&Addresses) -> Result<(), Failure>,
) -> Result<(), Failure> {
    use_small_pages();
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
        let served = serve(command, settings, configured, started, shutdown.clone());
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

/// The allocator asks for pages of 2 MiB, of which most is never used (ARCHITECTURE.md, "Choices that the
/// benchmark made"). Where the kernel has none, there is nothing to be done.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

async fn serve(
    command: Command,
    settings: &Settings,
    configured: Configured,
    started: impl FnOnce(&Addresses) -> Result<(), Failure>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let Configured {
        keys,
        doors,
        collector,
    } = configured;
    let mut addresses = Addresses::default();
    let mut bound = Bound {
        settings,
        addresses: &mut addresses,
    };
    let admin = bound.bind("admin-addr", false).await?;
    let grpc = if command.has_core() {
        Some(bound.bind("grpc-addr", doors.grpc.is_some()).await?)
    } else {
        None
    };
    let http = if command.has_gateway() {
        Some(bound.bind("http-addr", doors.http.is_some()).await?)
    } else {
        None
    };
    for set in &keys.sets {
        tokio::select! {
            started = set.start() => started?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    let mut registry = Registry::default();
    process::register(&mut registry);
    let traced = Tracing::start(collector, &mut registry)?;
    let core = match command.has_core() {
        true => {
            let peers = peers(settings, &keys, doors.to_core.clone())?;
            let settings = CoreSettings {
                role: command.name(),
                traces: traced.traces(),
                ..parts::core(settings)
            };
            let opened = tokio::task::spawn_blocking(move || {
                let opened = Core::open(settings, peers.as_ref(), &mut registry);
                (opened, registry)
            });
            let (opened, with_core) = opened.await.map_err(Failure::other)?;
            registry = with_core;
            Some(opened.map_err(Failure::other)?)
        }
        false => None,
    };
    let mut looks = doors.looks();
    looks.extend(traced.look());
    looks.extend(keys.sets.iter().filter_map(|set| set.look()));
    // A gateway beside its core needs no listener to reach it by.
    let (pipe, pipes) = mercurio_net::pipe();
    let gateway = match (http, addresses.grpc) {
        (Some(listener), local) => {
            let (urls, dial, tokens) = match local {
                Some(grpc) => (
                    vec![format!("http://{}", reachable(grpc))],
                    pipe,
                    keys.internal.clone(),
                ),
                None => {
                    let dial = Dial::Tcp(doors.to_core);
                    (settings.texts("core-url"), dial, service_tokens(&keys)?)
                }
            };
            let settings = GatewaySettings {
                dial,
                tls: doors.http,
                traces: traced.traces(),
                ..parts::gateway(settings, urls, keys.demo.clone())
            };
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
                Door {
                    listener,
                    tls: doors.grpc,
                    clients: doors.clients,
                    pipes: Some(pipes),
                },
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
    let served = async { tokio::join!(core, gateway).0 };
    let served = tokio::select! {
        served = served => served,
        () = keep_current(looks, LOOK_EVERY) => Ok(()),
        _ = join_all(keys.sets.iter().map(|set| set.keep_current())), if !keys.sets.is_empty() => {
            Ok(())
        }
    };
    traced.end().await;
    admin_ends.cancel();
    let _ = admin.await;
    served
}

/// Whom a new core is filled from; `None`: from nobody.
fn peers(
    settings: &Settings,
    keys: &Keys,
    tls: Option<ClientTls>,
) -> Result<Option<Peers>, Failure> {
    let urls = settings.texts("peer-url");
    if urls.is_empty() {
        return Ok(None);
    }
    let tokens = keys.peers.clone().ok_or_else(|| {
        Failure::Usage(
            "--peer-token-file is needed with --peer-url: with a public key only, the core can't \
             sign the token that it shows its peers"
                .into(),
        )
    })?;
    Ok(Some(Peers {
        urls,
        dial: Dial::Tcp(tls),
        tokens,
    }))
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
fn log_filter(text: &str, has_access: bool) -> EnvFilter {
    let mut filter = match text.trim().parse::<LevelFilter>() {
        Ok(level) if level < LevelFilter::TRACE => {
            format!("{},mercurio={level}", level.min(LevelFilter::WARN))
        }
        _ => text.to_owned(),
    };
    if !has_access {
        filter.push_str(",mercurio::access=off");
    }
    EnvFilter::builder().parse_lossy(filter)
}
