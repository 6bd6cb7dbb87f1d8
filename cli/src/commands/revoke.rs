//! `mercurio revoke`: tokens that are no longer good, though they have not expired.

use std::time::{Duration, SystemTime};

use clap::{Arg, ArgGroup, ArgMatches, Command};
use mercurio_proto::v1::{RevokeTokensRequest, revoke_tokens_request::Tokens};
use serde_json::json;

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Revokes tokens: their streams end, and they are refused everywhere")
        .arg(
            Arg::new("jti")
                .long("jti")
                .value_name("ID")
                .help("The token with this `jti`"),
        )
        .arg(
            Arg::new("sub").long("sub").value_name("USER").help(
                "All of this user's that were issued until now, and those that don't say when",
            ),
        )
        .group(ArgGroup::new("tokens").args(["jti", "sub"]).required(true))
        .arg(
            Arg::new("issued-before")
                .long("issued-before")
                .value_name("TIME")
                .requires("sub")
                .conflicts_with("jti")
                .value_parser(moment)
                .help("With --sub: those that were issued before then, as in 2026-05-01T12:00:00Z"),
        )
        .arg(
            Arg::new("until")
                .long("until")
                .value_name("TIME")
                .value_parser(moment)
                .help(
                    "When the last of these tokens expires, or in how long, as in 8h: so long the \
                     revocation is kept. Otherwise as the core's --revocation-max-age says",
                ),
        )
}

/// A moment as RFC 3339 writes it, or how long it is until then.
fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(moment) = humantime::parse_rfc3339_weak(text) {
        return Ok(moment);
    }
    let left: Option<Duration> = humantime::parse_duration(text).ok();
    left.and_then(|left| SystemTime::now().checked_add(left))
        .ok_or_else(|| "a time as in 2026-05-01T12:00:00Z, or as in 8h from now".into())
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    let moment = |name: &str| matches.get_one::<SystemTime>(name).copied();
    let tokens = given("jti").map(Tokens::TokenId);
    let request = RevokeTokensRequest {
        tokens: tokens.or_else(|| given("sub").map(Tokens::UserId)),
        issued_before: moment("issued-before").map(Into::into),
        expires_at: moment("until").map(Into::into),
    };
    let mut client = client::admin(settings).await?;
    let revoked = client.revoke_tokens(request).await?.into_inner();
    client::print(&json!({
        "cursor": revoked.cursor,
        "alreadyRevoked": revoked.already_revoked,
        "keptUntil": revoked.kept_until.map(|until| until.to_string()),
    }))?;
    Ok(())
}
