//! `mercurio streams`: who is connected, at each core and at the gateways connected to it.

use clap::{Arg, ArgMatches, Command};
use mercurio_proto::v1::{ConnectedStream, ListStreamsRequest, StreamState};
use serde_json::{Value, json};

use super::{
    client,
    status::{json_flag, since, time},
};
use crate::{error::Failure, settings::Settings};

/// The most streams that one call lists.
const PAGE: usize = 1000;

pub fn arguments(command: Command) -> Command {
    command
        .about("Lists the open streams, of gRPC and of browsers: whose, where, since when, live or behind")
        .arg(
            Arg::new("recipient")
                .long("recipient")
                .value_name("ID")
                .help("Only theirs"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .default_value("1000")
                .value_parser(clap::value_parser!(u32).range(1..))
                .help("At most so many, of each core"),
        )
        .arg(json_flag("one object for each stream"))
}

/// Each core of `--core-url` is asked; those that can't be are said, and make it fail.
pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let is_json = matches.get_flag("json");
    if !is_json && !client::print(&row("RECIPIENT", "USER", "AT", "OPEN", "STATE", "CURSOR"))? {
        return Ok(());
    }
    let mut failed = None;
    for url in settings.texts("core-url") {
        if let Err(failure) = list(settings, matches, &url, is_json).await {
            client::note(&mut failed, failure);
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn list(
    settings: &Settings,
    matches: &ArgMatches,
    url: &str,
    is_json: bool,
) -> Result<(), Failure> {
    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(1000) as usize;
    let recipient_id = matches.get_one::<String>("recipient").cloned();
    let mut core = client::admin_of(settings, url).await?;
    let mut request = ListStreamsRequest {
        recipient_id: recipient_id.unwrap_or_default(),
        ..ListStreamsRequest::default()
    };
    let mut listed = 0;
    loop {
        request.page_size = (limit - listed).min(PAGE) as i32;
        let page = core.list_streams(request.clone()).await?.into_inner();
        for stream in &page.streams {
            let goes_on = match is_json {
                true => client::print(&as_json(url, stream))?,
                false => client::print(&as_row(stream))?,
            };
            if !goes_on {
                return Ok(());
            }
        }
        for relay in page.silent_relays {
            eprintln!(
                "mercurio: {url}: the gateway of relay {relay} did not answer; its streams are left out"
            );
        }
        listed += page.streams.len();
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(());
        }
        if listed >= limit {
            eprintln!("mercurio: {url}: there may be more; --limit is {limit}");
            return Ok(());
        }
    }
}

fn as_json(url: &str, stream: &ConnectedStream) -> Value {
    let gateway = Some(&stream.gateway_id).filter(|id| !id.is_empty());
    json!({
        "core": url,
        "clientID": stream.recipient_id,
        "user": stream.user_id,
        "gatewayID": gateway,
        "streamID": stream.stream_id,
        "openedAt": time(stream.opened_at),
        "state": state(stream),
        "cursor": stream.cursor,
    })
}

fn as_row(stream: &ConnectedStream) -> String {
    let at = match stream.gateway_id.as_str() {
        "" => "core",
        gateway => gateway,
    };
    let cursor = stream.cursor.map(|cursor| cursor.to_string());
    row(
        &stream.recipient_id,
        &stream.user_id,
        at,
        &since(stream.opened_at),
        state(stream),
        cursor.as_deref().unwrap_or("-"),
    )
}

/// Columns as wide as is usual; what is wider pushes the others on.
fn row(recipient: &str, user: &str, at: &str, open: &str, state: &str, cursor: &str) -> String {
    format!("{recipient:<24} {user:<16} {at:<36} {open:<12} {state:<6} {cursor}")
}

fn state(stream: &ConnectedStream) -> &'static str {
    match stream.state() {
        StreamState::Live => "live",
        StreamState::Behind => "behind",
        StreamState::Unspecified => "?",
    }
}
