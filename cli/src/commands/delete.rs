//! `mercurio delete`: notifications that are to be gone.

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use mercurio_proto::v1::{
    DeleteFromView, DeleteNotificationsRequest, delete_notifications_request::Target,
};
use serde_json::json;

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Deletes notifications: one user's, one for all who have it, or all of a user")
        .arg(
            Arg::new("recipient")
                .long("recipient")
                .value_name("ID")
                .help("From this user's view; without: from the views of all"),
        )
        .arg(
            Arg::new("id")
                .long("id")
                .value_name("NOTIFICATION")
                .num_args(1..)
                .value_parser(value_parser!(u64).range(1..))
                .help("Which; without --recipient only one"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .requires("recipient")
                .help("All of --recipient: notifications, marks, counts. They are forgotten"),
        )
        .group(ArgGroup::new("target").args(["id", "all"]).required(true))
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let recipient = matches.get_one::<String>("recipient").cloned();
    let ids: Vec<u64> = matches
        .get_many("id")
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let target = match (recipient, ids.as_slice()) {
        (Some(of), []) => Target::EverythingOf(of),
        (Some(recipient_id), _) => Target::FromView(DeleteFromView { recipient_id, ids }),
        (None, [id]) => Target::Id(*id),
        (None, _) => {
            let several = "--id: several need --recipient; for all who have them, one at a time";
            return Err(Failure::Usage(several.into()));
        }
    };
    let mut client = client::admin(settings).await?;
    let target = Some(target);
    let answer = client.delete_notifications(DeleteNotificationsRequest { target });
    let answer = answer.await?.into_inner();
    client::print(&json!({ "cursor": answer.cursor, "deleted": answer.deleted }))?;
    Ok(())
}
