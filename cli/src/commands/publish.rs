//! `mercurio publish`: publishes one notification and prints its id.

use std::{io::Read, time::Duration};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use mercurio_proto::v1::{Everyone, PublishRequest, Recipients, publish_request::Audience};
use serde_json::json;

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .about("Publishes a notification")
        .arg(text("to", "ID", "A recipient; again for more").action(ArgAction::Append))
        .arg(
            Arg::new("everyone")
                .long("everyone")
                .action(ArgAction::SetTrue)
                .help("To everyone, in place of --to"),
        )
        .group(
            ArgGroup::new("audience")
                .args(["to", "everyone"])
                .required(true),
        )
        .arg(text("topic", "TOPIC", "As in invoice.paid").default_value(""))
        .arg(
            text("data", "TEXT", "The body; - reads it from standard input")
                .required(true)
                // Any text is a body, also one that begins as a flag does.
                .allow_hyphen_values(true),
        )
        .arg(text("source", "ID", "The publishing service").default_value("mercurio-cli"))
        .arg(text(
            "event-id",
            "ID",
            "Published again with the same one, nobody is notified twice",
        ))
        .arg(text("ttl", "TIME", "How long it lives").value_parser(humantime::parse_duration))
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let mut data = text("data");
    if data == "-" {
        data.clear();
        std::io::stdin()
            .read_to_string(&mut data)
            .map_err(|error| Failure::Usage(format!("--data -: standard input: {error}")))?;
    }
    let audience = match matches.get_many::<String>("to") {
        Some(ids) => Audience::Recipients(Recipients {
            ids: ids.cloned().collect(),
        }),
        None => Audience::Everyone(Everyone {}),
    };
    let ttl = matches
        .get_one::<Duration>("ttl")
        .map(|ttl| prost_types::Duration {
            seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: ttl.subsec_nanos() as i32,
        });
    let request = PublishRequest {
        event_id: text("event-id"),
        source_id: text("source"),
        audience: Some(audience),
        topic: text("topic"),
        data,
        ttl,
    };
    let published = client::connect(settings)
        .await?
        .publish(request)
        .await?
        .into_inner();
    client::print(&json!({
        "notificationID": published.id,
        "eventID": published.event_id,
        "duplicate": published.duplicate,
    }))?;
    Ok(())
}
