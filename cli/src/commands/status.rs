//! `mercurio status`: how each core is, and the gateways connected to it.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use clap::{Arg, ArgAction, ArgMatches, Command};
use mercurio_proto::v1::{
    CoreStatus, GatewayStatus, GetStatusRequest, GetStatusResponse, LogStatus, StoreStatus,
};
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Shows how each core is, its log and store, and the gateways connected to it")
        .arg(json_flag("one object for each core"))
}

/// `--json`.
pub fn json_flag(what: &str) -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help(format!("As JSON, {what} on a line"))
}

/// Each core of `--core-url` is asked; those that can't be are said, and make it fail.
pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let mut failed = None;
    for url in settings.texts("core-url") {
        let asked = async {
            let mut core = client::admin_of(settings, &url).await?;
            Ok::<_, Failure>(core.get_status(GetStatusRequest {}).await?.into_inner())
        };
        let status = match asked.await {
            Ok(status) => status,
            Err(failure) => {
                client::note(&mut failed, failure);
                continue;
            }
        };
        let goes_on = match matches.get_flag("json") {
            true => client::print(&as_json(&url, &status))?,
            false => client::print(&as_text(&url, &status))?,
        };
        if !goes_on {
            break;
        }
    }
    failed.map_or(Ok(()), Err)
}

fn as_json(url: &str, status: &GetStatusResponse) -> Value {
    let core = status.core.clone().unwrap_or_default();
    let (store, log) = parts(&core);
    let gateways: Vec<Value> = status.gateways.iter().map(gateway_as_json).collect();
    json!({
        "core": url,
        "version": core.version,
        "role": core.role,
        "startedAt": time(core.started_at),
        "ready": core.ready,
        "unreadyReason": text(&core.unready_reason),
        "lastSequence": core.last_sequence,
        "store": {
            "bytes": store.bytes,
            "segments": store.segments,
            "diskFreeBytes": store.disk_free_bytes,
            "diskReserveBytes": store.disk_reserve_bytes,
        },
        "log": {
            "kind": log.kind,
            "connected": log.connected,
            "haltedReason": text(&log.halted_reason),
            "lastPosition": log.last_position,
            "appliedPosition": log.applied_position,
            "lagMessages": log.lag_messages,
        },
        "streams": core.streams,
        "streamsCatchingUp": core.streams_catching_up,
        "connections": core.connections,
        "gateways": gateways,
    })
}

fn gateway_as_json(gateway: &GatewayStatus) -> Value {
    let report = gateway.report.as_ref().map(|report| {
        json!({
            "gatewayID": report.gateway_id,
            "version": report.version,
            "startedAt": time(report.started_at),
            "httpAddress": report.http_address,
            "streams": report.streams,
            "streamsBehind": report.streams_behind,
            "cursor": report.cursor,
        })
    });
    json!({
        "relayID": gateway.relay_id,
        "connectedAt": time(gateway.connected_at),
        "remoteAddress": text(&gateway.remote_address),
        "recipients": gateway.recipients,
        "entriesWaiting": gateway.entries_waiting,
        "report": report,
    })
}

fn as_text(url: &str, status: &GetStatusResponse) -> String {
    let core = status.core.clone().unwrap_or_default();
    let (store, log) = parts(&core);
    let ready = match core.ready {
        true => "ready".to_owned(),
        false => format!("NOT READY: {}", core.unready_reason),
    };
    let mut out = format!("core {url}: {ready}\n");
    let mut line = |name: &str, value: String| {
        // Writing to a string can't fail.
        let _ = writeln!(out, "  {name:<10}{value}");
    };
    let (version, role) = (&core.version, &core.role);
    line(
        "version",
        format!("{version} ({role}), up {}", since(core.started_at)),
    );
    line("sequence", core.last_sequence.to_string());
    line("log", log_as_text(&log));
    line(
        "store",
        format!(
            "{} in {} segments; the disk has {} free, {} of it kept",
            bytes(store.bytes),
            store.segments,
            bytes(store.disk_free_bytes),
            bytes(store.disk_reserve_bytes),
        ),
    );
    line(
        "streams",
        format!(
            "{} over gRPC, {} of them reading the store; {} connections",
            core.streams, core.streams_catching_up, core.connections
        ),
    );
    match status.gateways.as_slice() {
        [] => out.push_str("no gateway is connected\n"),
        gateways => gateways.iter().for_each(|gateway| {
            out.push_str(&gateway_as_text(gateway));
        }),
    }
    out.pop();
    out
}

fn log_as_text(log: &LogStatus) -> String {
    let LogStatus {
        kind,
        halted_reason,
        applied_position,
        last_position,
        lag_messages,
        ..
    } = log;
    if kind == "embedded" {
        return "its own".to_owned();
    }
    let connected = match log.connected {
        true => "connected",
        false => "AWAY",
    };
    let mut text = format!(
        "{kind}, {connected}; {lag_messages} messages behind ({applied_position} of {last_position})"
    );
    if !halted_reason.is_empty() {
        text.push_str(&format!("; HALTED: {halted_reason}"));
    }
    text
}

fn gateway_as_text(gateway: &GatewayStatus) -> String {
    let from = match gateway.remote_address.as_str() {
        "" => "in the core's process".to_owned(),
        address => format!("connected from {address}"),
    };
    let connected = since(gateway.connected_at);
    let behind = format!(
        "{} recipients joined, {} entries wait to be sent",
        gateway.recipients, gateway.entries_waiting
    );
    match &gateway.report {
        None => format!(
            "gateway (relay {}), {from}, for {connected}: NO ANSWER\n  {:<10}{behind}\n",
            gateway.relay_id, "relay"
        ),
        Some(report) => format!(
            "gateway {} at {}, {from}, for {connected}\n  {:<10}{}, up {}\n  {:<10}{}, {} of them reading the store\n  {:<10}{behind}\n",
            report.gateway_id,
            report.http_address,
            "version",
            report.version,
            since(report.started_at),
            "streams",
            report.streams,
            report.streams_behind,
            "relay",
        ),
    }
}

fn parts(core: &CoreStatus) -> (StoreStatus, LogStatus) {
    let store = core.store.unwrap_or_default();
    (store, core.log.clone().unwrap_or_default())
}

fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// As in `2026-01-31T12:00:00.000Z`.
pub fn time(at: Option<Timestamp>) -> Option<String> {
    let at = SystemTime::try_from(at?).ok()?;
    Some(humantime::format_rfc3339_millis(at).to_string())
}

/// How long ago that was, to the second.
pub fn since(at: Option<Timestamp>) -> String {
    let at = at.and_then(|at| SystemTime::try_from(at).ok());
    let elapsed = at.and_then(|at| at.elapsed().ok()).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(elapsed.as_secs())).to_string()
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        unit => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
