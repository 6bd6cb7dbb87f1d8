//! `mercurio dev`: everything in one process, with a key of its own, and what to try next.

use std::time::Duration;

use mercurio_auth::{Issuer, SCOPE_PUBLISH};

use super::client;
use crate::{
    error::Failure,
    server::{self, Addresses, keys, tls::Doors},
    settings::{Command, Settings},
};

const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

pub fn run(settings: &Settings) -> Result<(), Failure> {
    server::log(settings);
    let mut keys = keys::Keys::dev(settings)?;
    let issuer = Issuer::new(keys::signing_or_dev(settings)?, &keys::rules(settings)?);
    let issue = |user: &str, scopes: &[&str]| {
        issuer
            .issue(user, scopes, TOKEN_TTL)
            .map_err(Failure::other)
    };
    let publisher = issue("publisher", &[SCOPE_PUBLISH])?;
    let (alice, bob) = (issue("alice", &[])?, issue("bob", &[])?);
    keys.demo = Some(issuer.clone());
    let doors = Doors::default();
    server::run(Command::Dev, settings, keys, doors, |addresses| {
        client::print(&banner(addresses, &publisher, &alice, &bob))?;
        Ok(())
    })
}

fn banner(addresses: &Addresses, publisher: &str, alice: &str, bob: &str) -> String {
    let shown = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(String::new, |address| address.to_string())
    };
    let (grpc, http, admin) = (
        shown(addresses.grpc),
        shown(addresses.http),
        shown(addresses.admin),
    );
    // The demo gets its tokens by itself only on this machine; elsewhere they are in its address.
    let page = match addresses.http {
        Some(address) if !address.ip().is_loopback() => {
            format!("http://{address}/#alice={alice}&bob={bob}&publisher={publisher}")
        }
        _ => format!("http://{http}/"),
    };
    format!(
        r#"
Mercurio is running, for trying out.

  gRPC     {grpc}
  HTTP     http://{http}
  metrics  http://{admin}/metrics

  publisher's token  {publisher}
  alice's token      {alice}
  bob's token        {bob}

See it at work, in a browser:

  {page}

or what arrives for alice, in a terminal:

  curl -sN -H 'Authorization: Bearer {alice}' http://{http}/api/clients/me/notifications/stream

Publish to her:

  grpcurl -plaintext -H 'authorization: Bearer {publisher}' -d '{{"source_id": "dev", "recipients": {{"ids": ["alice"]}}, "topic": "greeting", "data": "Hello, Alice!"}}' {grpc} mercurio.v1.NotificationService/Publish
"#
    )
}
