//! `mercurio history`: lists a recipient's notifications, newest first, one JSON a line.

use clap::{Arg, ArgAction, ArgMatches, Command};
use mercurio_gateway::json::Notification;
use mercurio_proto::v1::{ListHistoryRequest, ReadStatus};
use serde_json::json;

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Lists notifications, one JSON a line, and last the page's cursor and counts")
        .arg(
            Arg::new("recipient")
                .long("recipient")
                .value_name("ID")
                .required(true)
                .help("Whose"),
        )
        .arg(
            Arg::new("status")
                .long("status")
                .value_name("STATUS")
                .value_parser(["all", "unread", "read"])
                .default_value("all")
                .help("By read state"),
        )
        .arg(
            Arg::new("topic")
                .long("topic")
                .value_name("FILTER")
                .action(ArgAction::Append)
                .help("By topic, as in invoice.* or invoice.>; again for more"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .default_value("50")
                .value_parser(clap::value_parser!(i32).range(1..=500))
                .help("Notifications in a page"),
        )
        .arg(
            Arg::new("page-token")
                .long("page-token")
                .value_name("TOKEN")
                .help("From the page before"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Every page"),
        )
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let status = match text("status").as_str() {
        "unread" => ReadStatus::Unread,
        "read" => ReadStatus::Read,
        _ => ReadStatus::Unspecified,
    };
    let mut request = ListHistoryRequest {
        recipient_id: text("recipient"),
        status: status.into(),
        topics: matches
            .get_many("topic")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        page_size: matches.get_one("limit").copied().unwrap_or(50),
        page_token: text("page-token"),
    };
    let mut client = client::connect(settings).await?;
    loop {
        let page = client.list_history(request.clone()).await?.into_inner();
        for notification in &page.notifications {
            if !client::print(&json!(Notification::new(notification)))? {
                return Ok(());
            }
        }
        if !matches.get_flag("all") || page.next_page_token.is_empty() {
            client::print(&json!({
                "cursor": page.cursor,
                "unreadCount": page.unread_count,
                "nextPageToken": page.next_page_token,
            }))?;
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}
