//! How far a log that cores share was applied, beside its entries.

use super::{
    appenders::Appenders,
    entry::{Appender, Frame},
};

/// How far a shared log was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Who appends to it, and how far each has come.
    pub appenders: Appenders,
    /// CRC-32 of the last message: a log that has another one in its place is not the one that was
    /// applied. `None`: not known.
    pub last_message: Option<u32>,
}

impl Progress {
    /// With what a stretch of the log adds.
    pub(super) fn note(&mut self, frame: &Frame) {
        self.appenders.note(&frame.appenders);
        self.last_message = frame.last_message.or(self.last_message);
    }

    /// As it is written at the head of a file and into a snapshot.
    pub fn new(appenders: &[Appender], last_message: Option<u32>) -> Self {
        let mut progress = Self {
            appenders: Appenders::default(),
            last_message,
        };
        progress.appenders.note(appenders);
        progress
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
