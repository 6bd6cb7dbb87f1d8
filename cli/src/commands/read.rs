//! `mercurio read`: marks a recipient's notifications read or unread.

use std::collections::BTreeSet;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use mercurio_proto::v1::{
    GetNotificationRequest, Ids, ListHistoryRequest, SetReadStateRequest,
    set_read_state_request::Target,
};
use serde_json::json;
use tonic::{Code, Status};

use super::client::{self, Client};
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Marks notifications read")
        .arg(
            Arg::new("recipient")
                .long("recipient")
                .value_name("ID")
                .required(true)
                .help("Whose"),
        )
        .arg(
            Arg::new("ids")
                .value_name("NOTIFICATION")
                .num_args(1..)
                .value_parser(value_parser!(u64))
                .help("Ids"),
        )
        .arg(
            Arg::new("up-to")
                .long("up-to")
                .value_name("NOTIFICATION")
                .value_parser(value_parser!(u64))
                .help("All up to this id"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("All there are now"),
        )
        .group(
            ArgGroup::new("target")
                .args(["ids", "up-to", "all"])
                .required(true),
        )
        .arg(
            Arg::new("unread")
                .long("unread")
                .action(ArgAction::SetTrue)
                .help("Marks them unread"),
        )
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let recipient_id = matches
        .get_one::<String>("recipient")
        .cloned()
        .unwrap_or_default();
    let mut client = client::connect(settings).await?;
    let ids: BTreeSet<u64> = matches
        .get_many("ids")
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let target = if !ids.is_empty() {
        Target::Ids(Ids {
            ids: ids.iter().copied().collect(),
        })
    } else if let Some(up_to) = matches.get_one::<u64>("up-to") {
        Target::UpTo(*up_to)
    } else {
        let request = ListHistoryRequest {
            recipient_id: recipient_id.clone(),
            page_size: 1,
            ..ListHistoryRequest::default()
        };
        let now = client.list_history(request).await?.into_inner();
        // An empty log has nothing to mark; 1 says so without being refused.
        Target::UpTo(now.cursor.max(1))
    };
    let read = !matches.get_flag("unread");
    let request = SetReadStateRequest {
        recipient_id: recipient_id.clone(),
        target: Some(target),
        read,
    };
    let marked = client.set_read_state(request).await?.into_inner();
    client::print(&json!({
        "cursor": marked.cursor,
        "changed": marked.changed,
        "unreadCount": marked.unread_count,
    }))?;
    if marked.changed < ids.len() as u64 {
        all_are_there(&mut client, &recipient_id, &ids).await?;
    }
    Ok(())
}

/// The core passes over ids that aren't the recipient's; who types one wants to hear of it.
async fn all_are_there(
    client: &mut Client,
    recipient_id: &str,
    ids: &BTreeSet<u64>,
) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for id in ids {
        let request = GetNotificationRequest {
            recipient_id: recipient_id.to_owned(),
            id: *id,
        };
        match client.get_notification(request).await {
            Err(status) if status.code() == Code::NotFound => missing.push(id.to_string()),
            answer => drop(answer?),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(Status::not_found(format!("{recipient_id} has no notification {missing}")).into())
}
