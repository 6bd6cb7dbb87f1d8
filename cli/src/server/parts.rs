//! From the settings to those of core and gateway. What is not set is theirs to say.

use mercurio_auth::Issuer;
use mercurio_core::{CoreSettings, LogKind, LogSettings, Retention};
use mercurio_gateway::GatewaySettings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Settings;

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// So many a second; 0: no limit.
fn rate(settings: &Settings, name: &str) -> Option<u32> {
    let rate = settings.number(name)?;
    Some(u32::try_from(rate).unwrap_or(u32::MAX))
}

pub fn core(settings: &Settings) -> CoreSettings {
    let mut core = CoreSettings::default();
    put(
        &mut core.data_dir,
        settings.path("data-dir").map(Into::into),
    );
    let mut retention = Retention::default();
    put(&mut retention.max_age, settings.duration("max-age"));
    put(
        &mut retention.max_per_recipient,
        settings.number("max-per-recipient"),
    );
    core.retention = retention;
    let store = &mut core.store;
    put(&mut store.segment_rows, settings.number("segment-rows"));
    put(&mut store.segment_bytes, settings.number("segment-bytes"));
    put(
        &mut store.active_cache_bytes,
        settings.number("cache-bytes"),
    );
    put(
        &mut store.record_cache_bytes,
        settings.number("record-cache-bytes"),
    );
    store.disk_reserve_bytes = settings.number("disk-reserve-bytes");
    put(
        &mut store.sweep_interval,
        settings.duration("sweep-interval"),
    );
    let limits = &mut core.limits;
    put(&mut limits.data_bytes, settings.size("data-max-bytes"));
    put(&mut limits.recipients, settings.size("recipients-max"));
    put(
        &mut limits.streams_per_user,
        settings.size("streams-per-user"),
    );
    put(&mut limits.streams, settings.size("streams-max"));
    put(
        &mut limits.publishes_per_publisher,
        rate(settings, "publishes-per-publisher"),
    );
    put(
        &mut limits.calls_per_user,
        rate(settings, "requests-per-user"),
    );
    put(
        &mut limits.calls_per_address,
        rate(settings, "grpc-calls-per-address"),
    );
    put(
        &mut limits.revocation_age,
        settings.duration("revocation-max-age"),
    );
    core.log = log(settings);
    put(&mut core.writer.queue, settings.size("writer-queue"));
    put(
        &mut core.transport.connections,
        settings.size("grpc-connections-max"),
    );
    put(
        &mut core.transport.connections_per_address,
        unlimited(settings.size("grpc-connections-per-address")),
    );
    put(
        &mut core.transport.snapshot_idle,
        settings.duration("snapshot-idle"),
    );
    if let Some(interval) = settings.duration("grpc-keepalive") {
        core.transport.keepalive_interval = interval;
        core.transport.keepalive_timeout = interval / 2;
    }
    // The gateway ends first, in its part of the time.
    put(
        &mut core.shutdown_grace,
        settings.duration("shutdown-grace").map(|grace| grace / 2),
    );
    core
}

fn log(settings: &Settings) -> LogSettings {
    let mut log = LogSettings {
        kind: match settings.text("log") {
            Some("nats") => LogKind::Nats,
            Some("rabbitmq") => LogKind::RabbitMq,
            _ => LogKind::Embedded,
        },
        urls: settings.texts("log-url"),
        user: settings.text("log-user").map(str::to_owned),
        password: settings.text("log-password").map(str::to_owned),
        credentials: settings.path("log-credentials-file").map(Into::into),
        ca: settings.path("log-ca-file").map(Into::into),
        identity: settings
            .path("log-cert-file")
            .zip(settings.path("log-key-file"))
            .map(|(certificate, key)| (certificate.into(), key.into())),
        monitors: settings.texts("log-monitor-url"),
        max_age: settings.duration("log-max-age"),
        ..LogSettings::default()
    };
    put(&mut log.name, settings.text("log-name").map(str::to_owned));
    put(&mut log.replicas, settings.size("log-replicas"));
    put(&mut log.wait, settings.duration("log-wait"));
    put(&mut log.lag, settings.duration("log-lag"));
    log
}

pub fn gateway(
    settings: &Settings,
    core_urls: Vec<String>,
    demo: Option<Issuer>,
) -> GatewaySettings {
    let mut gateway = GatewaySettings {
        core_urls,
        demo,
        ..GatewaySettings::default()
    };
    gateway.cors_origins = settings.texts("cors-origin");
    put(
        &mut gateway.cookie_name,
        settings.text("jwt-cookie").map(str::to_owned),
    );
    put(&mut gateway.streams_max, settings.size("streams-max"));
    gateway.connections_max = connections();
    put(
        &mut gateway.streams_per_user,
        settings.size("streams-per-user"),
    );
    put(
        &mut gateway.streams_per_address,
        unlimited(settings.size("streams-per-address")),
    );
    put(
        &mut gateway.requests_per_address,
        rate(settings, "requests-per-address"),
    );
    put(
        &mut gateway.requests_per_user,
        rate(settings, "requests-per-user"),
    );
    gateway.trusted_proxies = settings.networks("trusted-proxy");
    put(&mut gateway.read_timeout, settings.duration("read-timeout"));
    put(&mut gateway.heartbeat, settings.duration("heartbeat"));
    put(&mut gateway.retry, settings.duration("retry"));
    put(&mut gateway.data_max_bytes, settings.size("data-max-bytes"));
    put(&mut gateway.recipients_max, settings.size("recipients-max"));
    let grace = settings.duration("shutdown-grace");
    put(
        &mut gateway.shutdown_grace,
        grace.map(|grace| grace.mul_f64(0.3)),
    );
    gateway
}

/// 0: no limit.
fn unlimited(most: Option<usize>) -> Option<usize> {
    most.map(|most| if most == 0 { usize::MAX } else { most })
}

/// Connections that open files allow, once the process has taken as many as it may have. Some are
/// left for the store, for gRPC and for the admin listener.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it can't be raised, it stays as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current;
    let files = usize::try_from(files.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    files - (files / 4).min(1024)
}
