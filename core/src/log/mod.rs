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
//! | `remote`, `link` | what those two have in common: reconnecting; order, copies, gaps, one connection |
//! | `bounds`, `clock` | whether a log is the one that was applied; what is stamped |
//! | `outbox` | what was appended and has not come back |
//! | `message`, `identity` | how entries travel; which log it is |
//! | `status` | how it is doing |

mod bounds;
mod broker;
mod clock;
mod embedded;
mod identity;
mod link;
mod message;
mod nats;
mod outbox;
mod rabbitmq;
mod remote;
mod settings;
mod status;

use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;

use crate::entry::Entry;

pub use identity::{ENTRIES_MAX, LogId, Position, SEQUENCE_MAX};
pub use settings::{LogKind, LogSettings};
pub use status::{LogState, LogStatus};

pub(crate) use bounds::check;
#[cfg(test)]
pub(crate) use broker::Origin;
pub(crate) use broker::{Bounds, Broker, connect_once};
pub(crate) use embedded::Embedded;
pub(crate) use message::{Message, OVERHEAD};
pub(crate) use remote::{DOUBTS, Joined, open};

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
    /// It is on its way, and comes back with this ticket.
    Sent(u64),
}

/// What comes from a log elsewhere.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next message.
    Message(Arrived),
    /// The log has this one of ours safely.
    Safe(u64),
    /// The log never takes this one of ours: it is larger than the engine allows.
    TooLarge {
        ticket: u64,
        bytes: usize,
        most: usize,
    },
}

/// A message in its place.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub position: Position,
    pub message: Message,
    /// CRC-32 of it as it stands in the log.
    pub crc: u32,
    /// It is this one of ours, in its turn.
    pub ticket: Option<u64>,
}

/// How far a core's clock may be ahead of the log's: what it wrote would make all cores forget too
/// early.
pub(crate) const CLOCK_AHEAD: Duration = Duration::from_secs(60);

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

/// What a new core is told that can't be filled from the log alone.
pub(crate) fn needs_snapshot(log: &LogId) -> LogError {
    LogError::Refused(format!(
        "the log {} does not reach back to its beginning, so this new core can't be filled from it \
         alone: start it with a `--peer-url`, a core of the same log that it copies from first",
        log.id
    ))
}

impl LogError {
    fn away(error: impl std::fmt::Display) -> Self {
        Self::Away(error.to_string())
    }
}
