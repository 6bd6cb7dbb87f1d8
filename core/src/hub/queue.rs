//! What waits for one stream.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    entry::{Change, Sequence},
    settings::HubSettings,
};

/// One entry for one recipient. Cheap to clone; it doesn't hold on to the audience, which may be
/// ten thousand ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Its place in the log.
    pub sequence: Sequence,
    /// It went to everyone.
    pub broadcast: bool,
    /// What changed.
    pub change: Change,
}

/// Entries were left out, since the reader was too slow or continuity was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged {
    /// The reader was too slow.
    pub too_slow: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// One reader waits here at most.
    ready: Notify,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Live>,
    bytes: usize,
    lagged: Option<Lagged>,
}

impl Queue {
    pub fn push(&self, live: &Live, settings: &HubSettings) {
        let mut waiting = self.waiting.lock();
        if waiting.lagged.is_some() {
            return;
        }
        let bytes = waiting.bytes + super::weight(&live.change);
        let is_full = waiting.entries.len() >= settings.stream_entries
            // However large, one entry always fits.
            || (bytes > settings.stream_bytes && !waiting.entries.is_empty());
        if is_full {
            *waiting = Waiting { lagged: Some(Lagged { too_slow: true }), ..Waiting::default() };
        } else {
            waiting.bytes = bytes;
            waiting.entries.push_back(live.clone());
        }
        drop(waiting);
        self.ready.notify_one();
    }

    pub fn mark_lagged(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.lagged.is_none() {
            *waiting = Waiting { lagged: Some(Lagged { too_slow: false }), ..Waiting::default() };
        }
        drop(waiting);
        self.ready.notify_one();
    }

    pub fn has_lagged(&self) -> bool {
        self.waiting.lock().lagged.is_some()
    }

    pub fn restart(&self) {
        *self.waiting.lock() = Waiting::default();
    }

    pub async fn next(&self) -> Result<Live, Lagged> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(lagged) = waiting.lagged {
                    return Err(lagged);
                }
                if let Some(live) = waiting.entries.pop_front() {
                    waiting.bytes -= super::weight(&live.change);
                    return Ok(live);
                }
            }
            // A push between the look and this leaves a permit: nothing is slept through.
            self.ready.notified().await;
        }
    }
}
