//! `mercurio subscribe`: follows a recipient's feed, one JSON a line; it reconnects and resumes.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use mercurio_gateway::json::Notification;
use mercurio_proto::v1::{SubscribeRequest, SubscribeResponse, subscribe_response::Change};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tonic::Code;

use super::client;
use crate::{error::Failure, settings::Settings};

const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

pub fn arguments(command: Command) -> Command {
    command
        .about("Follows a feed, one JSON a line; reconnects and resumes")
        .arg(
            Arg::new("recipient")
                .long("recipient")
                .value_name("ID")
                .required(true)
                .help("Whose"),
        )
        .arg(
            Arg::new("after")
                .long("after")
                .value_name("CURSOR")
                .default_value("now")
                .value_parser(after)
                .help("From where: a cursor, oldest, or now"),
        )
        .arg(
            Arg::new("topic")
                .long("topic")
                .value_name("FILTER")
                .action(ArgAction::Append)
                .help("By topic, as in invoice.* or invoice.>; again for more"),
        )
        .arg(
            Arg::new("until-current")
                .long("until-current")
                .action(ArgAction::SetTrue)
                .help("Ends at the present"),
        )
}

/// A cursor; `None`: from now on.
fn after(text: &str) -> Result<Option<u64>, String> {
    match text {
        "now" => Ok(None),
        "oldest" => Ok(Some(0)),
        cursor => cursor
            .parse()
            .map(Some)
            .map_err(|_| "a cursor, oldest, or now".to_owned()),
    }
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    tokio::select! {
        followed = follow(settings, matches) => followed,
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let mut request = SubscribeRequest {
        recipient_id: matches
            .get_one::<String>("recipient")
            .cloned()
            .unwrap_or_default(),
        after: matches.get_one::<Option<u64>>("after").copied().flatten(),
        topics: matches
            .get_many("topic")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        until_current: matches.get_flag("until-current"),
    };
    let mut backoff = BACKOFF;
    let mut has_opened = false;
    loop {
        let before = request.after;
        let mut is_open = false;
        let ended = once(settings, &mut request, &mut is_open, has_opened).await;
        has_opened |= is_open;
        match ended {
            Ok(()) => return Ok(()),
            // A stream ends with its token; the next one has a new token, where there is one.
            Err(Failure::Refused(status))
                if has_opened && passes(status.code())
                    || is_open && status.code() == Code::Unauthenticated =>
            {
                eprintln!("mercurio: {}; reconnecting", status.message());
            }
            Err(failure) => return Err(failure),
        }
        if request.after != before {
            backoff = BACKOFF;
        }
        tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Whether trying again can help.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::ResourceExhausted
    )
}

/// One connection. `Ok`: the end was reached, or nobody reads any more.
async fn once(
    settings: &Settings,
    request: &mut SubscribeRequest,
    is_open: &mut bool,
    is_resumed: bool,
) -> Result<(), Failure> {
    let mut client = client::connect(settings).await?;
    let mut messages = client.subscribe(request.clone()).await?.into_inner();
    while let Some(message) = messages.message().await? {
        request.after = Some(message.cursor);
        let again = std::mem::replace(is_open, true) || is_resumed;
        let again = again && matches!(&message.change, Some(Change::Opened(o)) if o.complete);
        // A resume without a loss is nobody's concern.
        if !again && !client::print(&change(&message))? {
            return Ok(());
        }
    }
    if request.until_current {
        return Ok(());
    }
    Err(tonic::Status::unavailable("the core ended the stream").into())
}

fn change(message: &SubscribeResponse) -> Value {
    let cursor = message.cursor;
    match &message.change {
        Some(Change::Opened(opened)) => json!({ "cursor": cursor, "opened": {
            "complete": opened.complete,
            "oldest": opened.oldest,
            "latest": opened.latest,
            "unreadCount": opened.unread_count,
        }}),
        Some(Change::Notification(notification)) => {
            json!({ "cursor": cursor, "notification": Notification::new(notification) })
        }
        Some(Change::ReadState(change)) => json!({ "cursor": cursor, "readState": {
            "notificationIDs": change.ids,
            "upTo": (change.up_to > 0).then_some(change.up_to),
            "status": if change.read { "read" } else { "unread" },
            "unreadCount": change.unread_count,
        }}),
        Some(Change::Deleted(change)) => json!({ "cursor": cursor, "deleted": {
            "notificationIDs": change.ids,
            "upTo": (change.up_to > 0).then_some(change.up_to),
            "unreadCount": change.unread_count,
        }}),
        None => json!({ "cursor": cursor }),
    }
}
