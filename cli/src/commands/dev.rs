//! `mercurio dev`: everything in one process, with a key of its own, and what to try next.

use std::time::Duration;

use mercurio_auth::{Issuer, SCOPE_PUBLISH};

use super::client;
use crate::{
    error::Failure,
    server::{self, Addresses, configured::Configured, keys, tls::Doors, traces},
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
    // The page gets its tokens over HTTP: with a key that is used elsewhere too, they would be good
    // there. Whoever reads the terminal has that key anyway.
    let has_page = has_own_key(settings);
    keys.demo = has_page.then(|| issuer.clone());
    let configured = Configured {
        keys,
        doors: Doors::default(),
        collector: traces::collector(settings)?,
    };
    server::run(Command::Dev, settings, configured, |addresses| {
        client::print(&banner(addresses, has_page, [&publisher, &alice, &bob]))?;
        Ok(())
    })
}

/// Whether the key is the one that `dev` has made for itself.
fn has_own_key(settings: &Settings) -> bool {
    settings.text("jwt-secret").is_none()
        && settings.path("jwt-secret-file").is_none()
        && settings.path("jwt-public-key-file").is_none()
}

fn banner(addresses: &Addresses, has_page: bool, [publisher, alice, bob]: [&str; 3]) -> String {
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
        _ if !has_page => {
            "(no page: it is there with dev's own key, without --jwt-secret and the like)"
                .to_owned()
        }
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
