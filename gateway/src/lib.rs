//! Mercurio's gateway: browsers' SSE streams and HTTP calls on one side, the core's gRPC on the
//! other. It keeps nothing: every stream's truth is its cursor and the core's store.
//!
//! | module | subject |
//! |---|---|
//! | [`settings`] | what can be set |
//! | `server`, `connection`, `h2`, `patience` | the routes; connections, and how they end |
//! | `abuse`, `source` | how much one address or user may ask for; which address that is |
//! | `auth`, `query`, `error` | what comes in: tokens, parameters; what is refused |
//! | `api`, `events` | the HTTP API: reading and marking; publishing |
//! | `assets` | the browser's side: what pages load |
//! | `stream`, `feed`, `catch_up`, `delivery`, `closing` | a browser's stream: opened; what is next; read from the store; written; why it ends |
//! | `line`, `courier` | what is next on its connection; who writes there while it has nothing else to do |
//! | `socket`, `sse` | what it is written to; its bytes |
//! | `registry`, `mailbox`, `lease` | which streams are open, what waits for each, until when |
//! | `relay` | the one upstream stream |
//! | `about` | what the core is told of this gateway, when it asks |
//! | `revocations` | which tokens are revoked |
//! | `cores`, `choice`, `core` | calls, to the current core; which one that is; the connections to one |
//! | `access`, `observe`, `metrics`, `health` | the access log; spans and counts of requests; what is counted; whether it serves |
//! | `json`, `clock` | what a notification looks like; times |
//! | `demo` | the tokens of `mercurio dev`'s page |

#![warn(missing_docs)]

mod about;
mod abuse;
mod access;
mod api;
mod assets;
mod auth;
mod catch_up;
mod choice;
mod clock;
mod closing;
mod connection;
mod core;
mod cores;
mod courier;
mod delivery;
#[cfg(test)]
mod delivery_tests;
mod demo;
mod error;
mod events;
mod feed;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod h2;
#[cfg(test)]
mod h2_tests;
mod health;
#[cfg(test)]
mod idle_tests;
pub mod json;
mod lease;
mod line;
mod mailbox;
mod metrics;
mod observe;
mod patience;
mod query;
mod registry;
mod relay;
mod revocations;
mod server;
pub mod settings;
mod socket;
mod source;
mod sse;
mod stream;

use std::sync::Arc;

use mercurio_auth::Verifier;
use tokio_util::sync::CancellationToken;

pub use server::{Gateway, ServeError};
pub use settings::GatewaySettings;

use crate::{
    about::About, abuse::Abuse, cores::Cores, metrics::Metrics, registry::Registry,
    revocations::Revocations,
};

/// What every handler has at hand.
struct Context {
    settings: GatewaySettings,
    verifier: Verifier,
    revocations: Revocations,
    cores: Cores,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    abuse: Abuse,
    /// At most so many streams catch up at once.
    catch_ups: Arc<tokio::sync::Semaphore>,
    shutdown: CancellationToken,
    about: About,
}
