//! What waits for one stream.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    entry::{Change, Sequence},
    metrics::Metrics,
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
pub struct Lagged;

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
    has_lagged: bool,
}

impl Queue {
    pub fn push(&self, live: &Live, settings: &HubSettings, metrics: &Metrics) {
        let mut waiting = self.waiting.lock();
        if waiting.has_lagged {
            return;
        }
        let bytes = waiting.bytes + super::weight(&live.change);
        let is_full = waiting.entries.len() >= settings.stream_entries
            // However large, one entry always fits.
            || (bytes > settings.stream_bytes && !waiting.entries.is_empty());
        if is_full {
            metrics.streams_fell_behind.inc();
            *waiting = Waiting {
                has_lagged: true,
                ..Waiting::default()
            };
        } else {
            waiting.bytes = bytes;
            waiting.entries.push_back(live.clone());
        }
        drop(waiting);
        self.ready.notify_one();
    }

    pub fn mark_lagged(&self) {
        *self.waiting.lock() = Waiting {
            has_lagged: true,
            ..Waiting::default()
        };
        self.ready.notify_one();
    }

    pub fn has_lagged(&self) -> bool {
        self.waiting.lock().has_lagged
    }

    pub fn restart(&self) {
        *self.waiting.lock() = Waiting::default();
    }

    pub async fn next(&self) -> Result<Live, Lagged> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if waiting.has_lagged {
                    return Err(Lagged);
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
