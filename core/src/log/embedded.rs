//! The store's own log: its journal, which a commit appends to together with the view.

use tokio::sync::mpsc;

use crate::{entry::Entry, store::Store};

use super::{Appended, Event, Log, LogState};

/// The log of a core that shares it with nobody.
pub(crate) struct Embedded(Store);

impl Embedded {
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

impl Log for Embedded {
    fn append(&mut self, entries: Vec<Entry>) -> Appended {
        Appended::Here(entries)
    }

    /// What it has was applied when the store was opened.
    fn tail(&mut self) -> Option<mpsc::Receiver<Event>> {
        None
    }

    fn state(&self) -> LogState {
        LogState::caught_up(self.0.last_sequence())
    }
}
