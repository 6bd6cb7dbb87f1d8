//! The harness of the whole-system tests: real processes, real sockets, nothing mocked.
//!
//! ```text
//! tests/run                  installs the tools, builds, runs every test of the workspace
//! cargo test -p mercurio-tests crash::      one module, with the tools that are there
//! ```
//!
//! # A test in five lines
//!
//! ```no_run
//! # async fn test() {
//! use mercurio_tests::prelude::*;
//!
//! let service = Setup::serve().start().await; // a process on free ports, data in a temporary directory
//! let alice = Subscriber::sse(service.http(), &service.secret().user("alice"), "alice", Manner::default())
//!     .opened()
//!     .await;
//! let answer = service.service_api().publish(to(&["alice"], "greeting", "hello")).await;
//! alice.record.wait_for_cursor(answer.id, SOON).await;
//! assert_eq!(alice.record.notifications()[0].data, "hello");
//! # }
//! ```
//!
//! # What is where
//!
//! | module | what it gives |
//! |---|---|
//! | [`service`] | [`Setup`](service::Setup): arguments of a process to be; [`Service`](service::Service): the process, its addresses, kill, stop, restart; [`Apart`](service::Apart): core and gateway as two |
//! | [`process`] | any child process: its lines, signals, memory; killed on `Drop`, its log printed where the test fails, a panic in its log fails the test |
//! | [`leaks`] | tokens, secrets and bodies that tests made; one in the log of a `mercurio` fails the test |
//! | [`grpc`] | [`Api`](grpc::Api): the calls with a token; requests to be published; error details |
//! | [`http`] | requests over a raw socket, read as slowly as the test likes |
//! | [`frames`] | HTTP/2 frame by frame, as no library would send it |
//! | [`sse`] | the EventSource parser and one open stream |
//! | [`subscriber`] | readers over SSE and gRPC that reconnect, resume and write down what they see |
//! | [`record`] | what was seen, and the comparison entry by entry |
//! | [`ledger`] | what was acknowledged, and publishers that try again until it is |
//! | [`verify`] | history, feed, counts and idempotency of a store against the ledger |
//! | [`said`], [`curl`] | what others wrote: client libraries, in pages and programs; curl |
//! | [`clock`] | a process whose clock is wrong |
//! | [`nginx`] | nginx in front of a gateway |
//! | [`engine`] | a log that cores share, and cores on it |
//! | [`nats`], [`rabbitmq`] | its servers, one or a cluster |
//! | [`link`], [`front`] | addresses in front of a core: cut, frozen and mended; unwell when told to be |
//! | [`network`] | machines of their own for those servers, each cut off when a test likes |
//! | [`mount`] | file systems to fill up, or to cut the power of |
//! | [`browser`] | pages of a real Chromium or Firefox |
//! | [`tokens`] | tokens made from claims, good and bad |
//! | [`certs`] | certificates, made by openssl |
//! | [`jwks`] | sets of keys, and who publishes them |
//! | [`otlp`], [`metrics`] | a collector of traces; what is shown under /metrics, and asked of it |
//! | [`tools`] | grpcurl, node, chromium; the lock of heavy tests |
//! | [`wait`] | [`within`](wait::within) and [`eventually`](wait::eventually) |
//! | [`binary`] | where the binary under test is: `MERCURIO_BIN`, or built |
//!
//! # Rules
//!
//! - No test sleeps for a while and hopes. It waits for the event, with a deadline.
//! - What has to hold for every record (order, nothing twice) is checked by
//!   [`Record::check`](record::Record::check), not again in each test.
//! - A test that keeps both cores busy takes [`tools::heavy`] first.
//! - A test that needs a tool or a right that is missing says so and ends
//!   ([`tools::notice`]); under `tests/run` a missing tool fails it.

pub mod binary;
pub mod browser;
pub mod certs;
pub mod clock;
pub mod curl;
pub mod engine;
pub mod frames;
pub mod front;
pub mod grpc;
pub mod http;
pub mod jwks;
pub mod leaks;
pub mod ledger;
pub mod link;
pub mod metrics;
pub mod mount;
pub mod nats;
pub mod network;
pub mod nginx;
pub mod otlp;
pub mod process;
pub mod rabbitmq;
pub mod record;
pub mod said;
pub mod service;
pub mod sse;
pub mod subscriber;
pub mod tokens;
pub mod tools;
pub mod verify;
pub mod wait;

/// What nearly every test uses.
pub mod prelude {
    pub use crate::{
        grpc::{
            Api, expect_field, expect_reason, feed, only, page, reason, to, to_everyone, with_id,
            with_ttl,
        },
        http::{Request, escape},
        ledger::{Ledger, Publisher, publish_surely},
        record::{Change, Entry, Record, Seen, compare},
        service::{Apart, Service, Setup},
        sse::Stream,
        subscriber::{Manner, Subscriber},
        wait::{LATER, SOON, eventually, within},
    };
    pub use std::time::Duration;
}
