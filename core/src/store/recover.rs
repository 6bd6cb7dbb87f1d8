//! The segments as they were left, and what the log has more.
//!
//! Packed segments are whole: they were safe before they had their names. Live ones are sled's, for
//! which nobody waits: one that is not as it should be goes, with those behind it, and comes back
//! from the log.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::entry::Sequence;

use super::{
    Active, Batch, State, Store, StoreError, StoreSettings,
    files::sync_dir,
    journal::Journal,
    live::open_live,
    segment::{self, Meta, Segment, SegmentId},
};

/// Entries that are applied at once.
const AT_ONCE: usize = 256;

impl Store {
    /// Applies what the log has behind the view.
    ///
    /// # Errors
    /// The log can't be read, or an entry not applied. Until it is, nothing is shown.
    pub(super) fn replay(&self) -> Result<(), StoreError> {
        let tail = {
            let after = self.0.state.read().active.tally.last;
            self.0.journal.lock().tail(after)?
        };
        let mut batch = Batch::new(self);
        let mut count = 0;
        for stretch in tail {
            let stretch = stretch?;
            for (sequence, entry) in stretch.entries {
                batch.apply_again(sequence, entry)?;
                count += 1;
                if count % AT_ONCE == 0 {
                    batch.show()?;
                    self.roll_if_full()?;
                    batch = Batch::new(self);
                }
            }
            batch.cover(stretch.through);
            batch.advance(stretch.at);
        }
        batch.show()?;
        if count > 0 {
            tracing::info!(entries = count, "applied what the log had more");
        }
        self.0.state.write().recovering = false;
        Ok(())
    }
}

/// Opens the segments; what is missing in the last ones stands in the log.
///
/// # Errors
/// A packed segment can't be read, or the log doesn't reach back to what has to be applied again.
pub(super) fn open_segments(
    dir: &Path,
    packed: Vec<Arc<Segment>>,
    live: &[SegmentId],
    journal: &Journal,
    settings: &StoreSettings,
) -> Result<State, StoreError> {
    let packed_end = packed.last().map_or(0, |segment| segment.meta.last);
    let mut opened: Vec<Active> = Vec::new();
    for (place, id) in live.iter().enumerate() {
        let before = opened.last().map_or(packed_end, |live| live.tally.last);
        let path = dir.join(id.name());
        let found = segment::read_meta(&path)
            .and_then(|base| open_live(id.number, path.clone(), &base, settings));
        let unfit = match found {
            Ok(live) if before == live.base => {
                opened.push(live);
                continue;
            }
            Ok(live) => not_behind(&path, before, live.base),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error),
        };
        if journal.first() > before + 1 {
            return Err(unfit);
        }
        tracing::warn!(
            number = id.number,
            reason = unfit.reason(),
            "a segment is made again from the log"
        );
        for id in &live[place..] {
            remove(&dir.join(id.name()))?;
        }
        break;
    }
    let mut sealed = packed;
    let active = match opened.pop() {
        Some(active) => {
            for full in opened {
                let meta = full.meta();
                sealed.push(Arc::new(full.sealed(meta)?));
            }
            active
        }
        None => {
            let number = sealed.last().map_or(1, |segment| segment.id.number + 1);
            let end = sealed
                .last()
                .map(|segment| segment.meta.next())
                .unwrap_or_default();
            create_active(dir, number, &end, settings)?
        }
    };
    Ok(State {
        sealed: Arc::new(sealed),
        active,
        deletions: Arc::default(),
        recovering: true,
    })
}

/// The packed segments, which are checked to follow each other, and which live ones there are.
pub(super) fn list_segments(dir: &Path) -> Result<(Vec<Arc<Segment>>, Vec<SegmentId>), StoreError> {
    let mut found = list(dir)?;
    found.sort();
    // Of one segment the last generation is whole: it was renamed to its name when it was safe.
    let mut newest: Vec<SegmentId> = Vec::new();
    for id in found {
        match newest.last_mut() {
            Some(last) if last.number == id.number => {
                remove(&dir.join(last.name()))?;
                *last = id;
            }
            _ => newest.push(id),
        }
    }
    let live = newest
        .iter()
        .position(|id| id.generation == 0)
        .map_or_else(Vec::new, |place| newest.split_off(place));
    let packed = newest
        .into_iter()
        .map(|id| Segment::packed(id, dir.join(id.name())).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let packed = without_replaced(packed);
    let mut before = None;
    for segment in &packed {
        follows(dir, before, &segment.meta)?;
        before = Some(segment);
    }
    if let Some(misplaced) = live.iter().find(|id| id.generation > 0) {
        return Err(StoreError::Corrupt {
            dir: dir.join(misplaced.name()),
            message: "a segment before it is missing".into(),
        });
    }
    Ok((packed, live))
}

/// Those that no later one was made of. Of what a segment replaced, any part may still be there: the
/// directories go one after the other, in no order. So it is looked at from the newest one back,
/// and before it is asked whether they follow each other.
fn without_replaced(packed: Vec<Arc<Segment>>) -> Vec<Arc<Segment>> {
    let mut kept: Vec<Arc<Segment>> = Vec::new();
    for segment in packed.into_iter().rev() {
        match kept.last() {
            Some(later) if segment.meta.base >= later.meta.base => segment.doom(),
            _ => kept.push(segment),
        }
    }
    kept.reverse();
    kept
}

/// The segments' directories. What a stopped process left half made or half removed goes.
fn list(dir: &Path) -> Result<Vec<SegmentId>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.ends_with(".trash") || name.ends_with(".part") {
            fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
        } else if let Some(id) = SegmentId::parse(name) {
            found.push(id);
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    segment::remove_dir(path).map_err(StoreError::io("remove", path))
}

/// Begins a segment behind `base`.
pub(super) fn create_active(
    dir: &Path,
    number: u64,
    base: &Meta,
    settings: &StoreSettings,
) -> Result<Active, StoreError> {
    let id = SegmentId {
        number,
        generation: 0,
    };
    let part = dir.join(format!("{}.part", id.name()));
    let path = dir.join(id.name());
    // An attempt that failed may have left these; nothing was written to them.
    for leftover in [&part, &path] {
        if leftover.exists() {
            fs::remove_dir_all(leftover).map_err(StoreError::io("remove", leftover))?;
        }
    }
    fs::create_dir(&part).map_err(StoreError::io("create", &part))?;
    segment::write_meta(&part, base)?;
    fs::rename(&part, &path).map_err(StoreError::io("create", &path))?;
    let synced = sync_dir(dir).map_err(StoreError::io("sync", dir));
    let opened = synced.and_then(|()| open_live(number, path.clone(), base, settings));
    if opened.is_err() {
        // The segment before it goes on. If even this fails, the next start finds it empty.
        let _ = segment::remove_dir(&path);
    }
    opened
}

/// A segment begins where the one before it ended, the first one with the log. Without this, one
/// that is missing would not be noticed.
fn follows(dir: &Path, before: Option<&Arc<Segment>>, meta: &Meta) -> Result<(), StoreError> {
    let end = before.map_or(0, |before| before.meta.last);
    if meta.base == end {
        return Ok(());
    }
    Err(not_behind(dir, end, meta.base))
}

fn not_behind(dir: &Path, end: Sequence, base: Sequence) -> StoreError {
    StoreError::Corrupt {
        dir: PathBuf::from(dir),
        message: format!("a segment ends at entry {end}, and the next begins behind {base}"),
    }
}
