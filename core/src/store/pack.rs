//! Packing: a sealed segment is rewritten into a compact file (`packing.rs`) once; once more
//! together with its neighbours, so that a reader of much has few to look into; and again when most
//! of it is no longer wanted.

use std::{fs, path::Path, sync::Arc};

use parking_lot::MutexGuard;

use crate::entry::{Millis, Sequence};

use super::{
    Store, StoreError,
    files::sync_dir,
    segment::{Sample, Segment, SegmentId, remove_dir},
};

/// Held by who rewrites segments, from looking for them on: one at a time.
pub(super) type Turn<'a> = MutexGuard<'a, Turns>;

/// What who rewrites has to know of the one before.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The last entry of the segment that something deleted was taken out of last.
    pub cleared_last: Sequence,
}

/// As many small packed segments as this become one.
const MERGED: usize = if cfg!(test) { 3 } else { 8 };
/// The share of samples that are past, in percent, from which on a segment is rewritten.
const WORTHWHILE_PERCENT: usize = 40;

/// What a rewriting leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trim {
    /// What has expired or is too old: seen from the row alone.
    ByTime,
    /// Also what is beyond a recipient's maximum: needs their whole view.
    ByView,
}

impl Store {
    /// Packs the oldest sealed segment that is not packed. `false`: there was none.
    ///
    /// # Errors
    /// The segment can't be read, or the packed one not written; it stays as it was.
    pub fn pack_one(&self, now: Millis) -> Result<bool, StoreError> {
        let turn = self.0.packing.lock();
        self.pack_next(&turn, now)
    }

    /// [`Store::pack_one`] for who has the turn already.
    pub(super) fn pack_next(&self, turn: &Turn<'_>, now: Millis) -> Result<bool, StoreError> {
        let sealed = self.0.state.read().sealed.clone();
        match sealed.iter().find(|segment| !segment.is_packed()) {
            Some(segment) => self.rewrite(turn, std::slice::from_ref(segment), Trim::ByTime, now),
            None => Ok(false),
        }
    }

    /// Makes one of eight small packed segments that follow each other. `false`: there were none.
    ///
    /// # Errors
    /// As [`Store::pack_one`].
    pub fn merge_some(&self, now: Millis) -> Result<bool, StoreError> {
        let turn = self.0.packing.lock();
        let sealed = self.0.state.read().sealed.clone();
        let is_small = |segment: &Arc<Segment>| {
            segment.is_packed()
                && !segment.meta.remains
                && segment.meta.rows <= self.0.settings.segment_rows.saturating_mul(2)
        };
        let mut windows = sealed.windows(MERGED);
        match windows.find(|window| window.iter().all(is_small)) {
            Some(small) => self.rewrite(&turn, small, Trim::ByTime, now),
            None => Ok(false),
        }
    }

    /// Rewrites the first packed segment of which much is past. `false`: there was none.
    ///
    /// # Errors
    /// As [`Store::pack_one`].
    pub fn repack_one(&self, now: Millis) -> Result<bool, StoreError> {
        let turn = self.0.packing.lock();
        let sealed = self.0.state.read().sealed.clone();
        for segment in sealed.iter().filter(|segment| segment.is_packed()) {
            let samples = &segment.meta.samples;
            let mut past = 0;
            for sample in samples {
                past += usize::from(self.is_past(sample, now)?);
            }
            if past > 0 && past * 100 >= samples.len() * WORTHWHILE_PERCENT {
                let segment = std::slice::from_ref(segment);
                return self.rewrite(&turn, segment, Trim::ByView, now);
            }
        }
        Ok(false)
    }

    fn is_past(&self, sample: &Sample, now: Millis) -> Result<bool, StoreError> {
        if sample.expires_at > 0 && sample.expires_at <= now {
            return Ok(true);
        }
        Ok(sample.sequence <= self.floor(&sample.owner, now)?)
    }

    pub(super) fn floor(&self, owner: &str, now: Millis) -> Result<Sequence, StoreError> {
        let retention = self.0.retention;
        Ok(self
            .view(owner, None, |view, _| view.bounds(now, retention).floor)?
            .0)
    }

    /// Writes segments that follow each other anew, as one.
    pub(super) fn rewrite(
        &self,
        _: &Turn<'_>,
        segments: &[Arc<Segment>],
        trim: Trim,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let Some(last) = segments.last() else {
            return Ok(false);
        };
        let (free, reserve) = self.disk().room()?;
        let size: u64 = segments.iter().map(|segment| segment.size()).sum();
        if free < reserve + size {
            tracing::warn!(
                number = last.id.number,
                free,
                "no room to rewrite a segment"
            );
            return Ok(false);
        }
        let packed = self.add_packed(last.id.rewritten(), |part| {
            self.write_packed(segments, part, trim, now)
        })?;
        self.replace(segments, packed);
        Ok(true)
    }

    /// Writes a packed segment, which has its name only when it is whole and safe, and so is by what it was
    /// written: what it leaves out is past by a time, or hidden by deletions, that only the journal may
    /// have. A core that forgot those in a power cut would be told of them again by a shared log, and decide
    /// by what is no longer there; other cores, by what is.
    pub(super) fn add_packed(
        &self,
        id: SegmentId,
        write: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<Arc<Segment>, StoreError> {
        let dir = self.0.dir.join("segments");
        let part = dir.join(format!("{}.part", id.name()));
        if part.exists() {
            fs::remove_dir_all(&part).map_err(StoreError::io("remove", &part))?;
        }
        fs::create_dir(&part).map_err(StoreError::io("create", &part))?;
        let written = write(&part).and_then(|()| self.0.journal.lock().sync());
        if let Err(error) = written {
            let _ = fs::remove_dir_all(&part);
            return Err(error);
        }
        let path = dir.join(id.name());
        // It got its name once, and was not to be opened then: nobody has it, and it can't be renamed upon.
        if path.exists() {
            remove_dir(&path).map_err(StoreError::io("remove", &path))?;
        }
        fs::rename(&part, &path).map_err(StoreError::io("rename", &path))?;
        sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        Ok(Arc::new(Segment::packed(id, path)?))
    }

    /// Puts another segment in the place of some that follow each other. Their directories go with
    /// their last readers.
    pub(super) fn replace(&self, old: &[Arc<Segment>], new: Arc<Segment>) {
        let mut state = self.0.state.write();
        let mut segments = state.sealed.to_vec();
        let first = old.first().map(|segment| segment.id);
        // Only who packs takes segments away, and new ones come at the end: they are there.
        if let Some(place) = segments
            .iter()
            .position(|segment| Some(segment.id) == first)
        {
            segments.splice(place..place + old.len(), [new]);
        }
        state.sealed = Arc::new(segments);
        drop(state);
        old.iter().for_each(|segment| segment.doom());
    }
}
