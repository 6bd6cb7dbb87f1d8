//! The store as the writer has it: batches made safe and visible, and what is done when that fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    entry::{Applied, Sequence},
    metrics::Metrics,
    store::{Batch, Cut, Store, StoreError},
};

use super::WriteError;

/// How long a store that failed is left alone before it is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Commits {
    store: Store,
    metrics: Arc<Metrics>,
    /// Since when the store has failed, and how.
    failed: Option<(Instant, WriteError)>,
}

impl Commits {
    pub fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            metrics,
            failed: None,
        }
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::new(&self.store)
    }

    /// Whether the store has failed, and has not been opened again.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether readers are served: a store that failed may still be read.
    pub fn is_readable(&self) -> bool {
        self.store.is_readable()
    }

    /// Makes a batch safe and visible.
    pub fn commit(&mut self, batch: Batch) -> Result<Vec<Applied>, WriteError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.check_room(&batch)?;
        let started = Instant::now();
        let applied = batch.commit().map_err(|error| self.fail(&error))?;
        self.metrics
            .sync_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(applied)
    }

    pub fn roll(&self, roll: impl FnOnce(&Store) -> Result<(), StoreError>) {
        if self.failed.is_none()
            && let Err(error) = roll(&self.store)
        {
            tracing::error!(%error, "begin a new segment");
        }
    }

    /// How long to leave others the machine after so much work, where much waits to be packed.
    pub fn rest_after(&self, worked: Duration) -> Duration {
        self.store.rest_after(worked)
    }

    pub fn cut(&self) -> Result<Cut, WriteError> {
        if let Some((_, refused)) = &self.failed {
            return Err(refused.clone());
        }
        self.store.cut().map_err(|error| {
            tracing::error!(%error, "begin a new segment for a snapshot");
            WriteError::Failed(error.to_string())
        })
    }

    /// sled takes no more writes after a failed one, so it is never let run into a full disk.
    fn check_room(&self, batch: &Batch) -> Result<(), WriteError> {
        let (free, reserve) = match self.store.disk().room() {
            Ok(disk) => disk,
            Err(error) => return Err(WriteError::Failed(error.to_string())),
        };
        // sled writes a page anew for each change of it, and grows its file by half a MiB.
        let needed = (batch.bytes() as u64)
            .saturating_mul(4)
            .saturating_add(reserve);
        if free < needed {
            return Err(WriteError::DiskFull { free, reserve });
        }
        Ok(())
    }

    fn fail(&mut self, error: &StoreError) -> WriteError {
        tracing::error!(%error, "commit");
        let refused = match (error.is_full(), self.store.disk().room()) {
            (true, Ok((free, reserve))) => WriteError::DiskFull { free, reserve },
            _ => WriteError::Failed(error.to_string()),
        };
        self.failed = Some((Instant::now(), refused.clone()));
        refused
    }

    /// Opens a store that failed again, at most once a second, and gives its last entry if it did.
    /// Whether the failed batch is there is known only then, so readers start over from their cursors.
    pub fn recover(&mut self) -> Result<Option<Sequence>, WriteError> {
        let Some((since, refused)) = &self.failed else {
            return Ok(None);
        };
        if since.elapsed() < REOPEN_AFTER {
            return Err(refused.clone());
        }
        if let Err(error) = self.store.reopen() {
            return Err(self.fail(&error));
        }
        tracing::warn!("the store was opened again after it failed");
        self.failed = None;
        Ok(Some(self.store.last_sequence()))
    }
}
