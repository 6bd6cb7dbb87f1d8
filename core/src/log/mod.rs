//! The log that a core appends to and applies: its own, or one that several cores share.
//!
//! [`Log`] is the seam; nothing above it knows which one runs. What is appended gets its place
//! from the log, and is applied in that order by whoever reads it: at once where the log is the
//! store's own journal, else when it comes back through the tail.
//!
//! | file | subject |
//! |---|---|
//! | `embedded` | the store's own journal |
//! | `nats`, `rabbitmq` | a log elsewhere: connecting, appending, tailing, bounds |
//! | `remote` | what those two have in common: order, copies, gaps, reconnecting |
//! | `outbox` | what was appended and has not come back |
//! | `message`, `identity` | how entries travel; which log it is |
//! | `status` | how it is doing |

mod broker;
mod embedded;
mod identity;
mod message;
mod nats;
mod outbox;
mod rabbitmq;
mod remote;
mod settings;
mod status;

use thiserror::Error;
use tokio::sync::mpsc;

use crate::{entry::Entry, store::Appender};

pub use identity::{ENTRIES_MAX, LogId, Position, SEQUENCE_MAX};
pub use settings::{LogKind, LogSettings};
pub use status::{LogState, LogStatus};

pub(crate) use broker::{Broker, connect_once};
pub(crate) use embedded::Embedded;
pub(crate) use message::Message;
pub(crate) use remote::{check, open};

/// A log: entries in one order for all who apply them.
pub(crate) trait Log: Send {
    /// Appends a batch of at most [`ENTRIES_MAX`] entries, which stay together. Never waits.
    fn append(&mut self, entries: Vec<Entry>) -> Appended;

    /// What others, and this core, appended behind what the store has. `None`: nothing comes from
    /// elsewhere.
    fn tail(&mut self) -> Option<mpsc::Receiver<Event>>;

    /// How it is doing: its first and last position, and whether it can be reached.
    fn state(&self) -> LogState;
}

/// What became of a batch.
pub(crate) enum Appended {
    /// Its place is the next one, and committing it makes it safe.
    Here(Vec<Entry>),
    /// It is on its way, and comes back with this number.
    Sent(Appender),
}

/// What comes from a log elsewhere.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next message.
    Message(Position, Message),
    /// The log has this one of ours safely.
    Safe(u64),
}

/// Why a log elsewhere can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LogError {
    /// It may be there again soon.
    #[error("the log can't be reached: {0}")]
    Away(String),
    /// It is not what was asked for, or not what it was: somebody has to look.
    #[error("{0}")]
    Refused(String),
}

/// What a core is told that has nothing of what the log's sequences begin behind.
pub(crate) fn needs_snapshot(log: &LogId) -> LogError {
    LogError::Refused(format!(
        "the log was moved here from a store with entries up to {}, which this core has not: start \
         with a `--peer-url`, from which it is filled",
        log.base
    ))
}

impl LogError {
    fn away(error: impl std::fmt::Display) -> Self {
        Self::Away(error.to_string())
    }
}
