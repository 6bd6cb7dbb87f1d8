//! The core's services over a real socket, with tonic's clients. See `harness.rs`.

mod admin;
mod answers;
mod auth;
mod harness;
mod history;
mod incoming;
mod publish;
mod rates;
mod relay;
mod server;
mod shutdown;
mod slow;
mod snapshot;
mod subscribe;
