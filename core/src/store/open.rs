//! Opening the store, opening it again after something failed, and the end of a segment.

use std::{fs, path::Path, sync::Arc};

use parking_lot::{Mutex, RwLock};

use crate::{entry::Sequence, log::LogId};

use super::{
    Active, Inner, Retention, Store, StoreError, StoreSettings,
    cache::SegmentCache,
    data_dir::{self, DirLock},
    disk::Disk,
    files,
    journal::{Durability, Journal},
    live::open_live,
    recover::{create_active, list_segments, open_segments},
    segment::{self, Rows},
    snapshot, trust,
};

impl Store {
    /// Opens the data directory, or makes a new one.
    ///
    /// # Errors
    /// It is in use, of a later version, damaged, or can't be read or written.
    pub fn open(
        dir: &Path,
        settings: StoreSettings,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        Self::open_for(dir, settings, retention, None)
    }

    /// Opens a data directory that is the view of a shared log.
    ///
    /// # Errors
    /// As [`Store::open`], or its data is of another log.
    pub fn open_shared(
        dir: &Path,
        settings: StoreSettings,
        retention: Retention,
        log: &LogId,
    ) -> Result<Self, StoreError> {
        Self::open_for(dir, settings, retention, Some(log))
    }

    /// The shared log that a data directory's data is of. `None`: of none, or there is no data.
    ///
    /// # Errors
    /// It can't be read.
    pub fn bound_to(dir: &Path) -> Result<Option<LogId>, StoreError> {
        data_dir::bound_to(dir)
    }

    /// A data directory without a shared log must have nothing that is not of one.
    ///
    /// # Errors
    /// It has entries of its own, or can't be opened.
    pub(crate) fn refuse_own_data(
        dir: &Path,
        settings: StoreSettings,
        retention: Retention,
    ) -> Result<(), StoreError> {
        let is_new = !dir.join("segments").exists();
        if is_new || Self::open(dir, settings, retention)?.last_sequence() == 0 {
            return Ok(());
        }
        Err(data_dir::other_log(dir, None, None))
    }

    /// Of what is stored a new shared log is to be made, which goes on behind it: this one, and the
    /// same when asked again. The data is what it was until [`Store::hand_over`].
    ///
    /// # Errors
    /// The directory can't be opened.
    pub(crate) fn next_log(
        dir: &Path,
        settings: StoreSettings,
        retention: Retention,
    ) -> Result<LogId, StoreError> {
        let base = {
            let bound_to = data_dir::bound_to(dir)?;
            let by = data_dir::bound_retention(dir)?.unwrap_or(retention);
            Self::open_for(dir, settings, by, bound_to.as_ref())?.last_sequence()
        };
        if let Some(next) = data_dir::next_log(dir)?.filter(|next| next.base == base) {
            return Ok(next);
        }
        let next = LogId::new(base);
        data_dir::set_next_log(dir, &next)?;
        Ok(next)
    }

    /// From now on what is stored is the beginning of the log that was made: the one of
    /// [`Store::next_log`], or it is that log's data already. `false`: it is another one's.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn hand_over(
        dir: &Path,
        made: &LogId,
        retention: Retention,
    ) -> Result<bool, StoreError> {
        let _lock = DirLock::take(dir)?;
        let is_next = data_dir::next_log(dir)?.as_ref() == Some(made);
        if is_next {
            data_dir::bind(dir, made, Some(retention))?;
        }
        data_dir::forget_next_log(dir)?;
        Ok(is_next || data_dir::bound_to(dir)?.as_ref() == Some(made))
    }

    fn open_for(
        dir: &Path,
        settings: StoreSettings,
        retention: Retention,
        log: Option<&LogId>,
    ) -> Result<Self, StoreError> {
        files::create_private_dir(dir)?;
        let lock = DirLock::take(dir)?;
        snapshot::before_opening(dir)?;
        data_dir::check_format(dir)?;
        let bound_to = data_dir::bound_to(dir)?;
        if bound_to.is_some() && bound_to.as_ref() != log {
            return Err(data_dir::other_log(dir, bound_to.as_ref(), log));
        }
        let bound_by = data_dir::bound_retention(dir)?;
        if let Some(found) = bound_by.filter(|found| *found != retention) {
            return Err(StoreError::OtherRetention {
                dir: dir.to_owned(),
                found,
                wanted: retention,
            });
        }
        let durability = match log {
            Some(_) => Durability::Elsewhere,
            None => Durability::Here,
        };
        let segments = dir.join("segments");
        fs::create_dir_all(&segments).map_err(StoreError::io("create", &segments))?;
        let (packed, live) = list_segments(&segments)?;
        let applied = packed.last().map_or(0, |segment| segment.meta.last);
        let journal = Journal::open(dir, applied, durability)?;
        let state = open_segments(&segments, packed, &live, &journal, &settings)?;
        let cache = SegmentCache::new(settings.record_cache_bytes);
        let store = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            disk: Disk::of(dir, settings.disk_reserve_bytes),
            settings,
            retention,
            cache,
            state: RwLock::new(state),
            journal: Mutex::new(journal),
            packing: Mutex::default(),
            revoked: Arc::default(),
            _lock: lock,
        }));
        store.load_revocations()?;
        store.load_deletions()?;
        store.replay()?;
        if let Some(log) = log {
            if bound_to.is_none() && store.last_sequence() > 0 {
                return Err(data_dir::other_log(dir, None, Some(log)));
            }
            if bound_to.is_none() || bound_by.is_none() {
                data_dir::bind(dir, log, Some(retention))?;
            }
        }
        Ok(store)
    }

    /// Goes on after sled or the disk failed: with all that is safe in the log, a commit that
    /// failed whole or not at all.
    ///
    /// # Errors
    /// It can't yet; reading may fail until it can.
    pub fn reopen(&self) -> Result<(), StoreError> {
        self.0.journal.lock().repair()?;
        {
            let mut state = self.0.state.write();
            state.recovering = true;
            let active = &mut state.active;
            if active.engine.is_none() {
                *active = self.open_again(active)?;
            }
        }
        // What is replayed is judged by what is there now: a deletion that only the log has would
        // find nothing to delete where it was known before. Revocations are replayed as they stand.
        self.load_deletions()?;
        self.replay()
    }

    fn open_again(&self, active: &Active) -> Result<Active, StoreError> {
        let settings = &self.0.settings;
        let base = segment::read_meta(&active.dir)?;
        match open_live(active.number, active.dir.clone(), &base, settings) {
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    reason = error.reason(),
                    "the newest segment is made again from the log"
                );
                let segments = self.0.dir.join("segments");
                create_active(&segments, active.number, &base, settings)
            }
            opened => opened,
        }
    }

    /// Seals the active segment and begins a new one. Does nothing while there is no entry in it.
    ///
    /// # Errors
    /// The journal can't be synced, or the new one can't be made; the active one stays.
    pub fn roll(&self) -> Result<(), StoreError> {
        let (number, meta) = {
            let active = &self.0.state.read().active;
            // It could not be sealed: it has to be opened again first.
            if active.engine.is_none() {
                return Err(Active::failed());
            }
            // Of a shared log it may be a stretch without any row.
            if active.tally.last == active.base {
                return Ok(());
            }
            (active.number, active.meta())
        };
        // Once the segment can be seen to be sealed it may be packed, which makes it safe: the journal
        // must not end before it then. Nothing is appended meanwhile: who rolls is who appends.
        self.0.journal.lock().sync()?;
        let next = create_active(
            &self.0.dir.join("segments"),
            number + 1,
            &meta.next(),
            &self.0.settings,
        )?;
        let mut state = self.0.state.write();
        let full = std::mem::replace(&mut state.active, next);
        let mut segments = state.sealed.to_vec();
        segments.push(Arc::new(full.sealed(meta)?));
        state.sealed = Arc::new(segments);
        drop(state);
        let needed = self.needed_from();
        self.0.journal.lock().roll(needed)
    }

    /// The first entry that is not in a packed segment: from there on the log is needed.
    pub(super) fn needed_from(&self) -> Sequence {
        let state = self.0.state.read();
        let live = state.sealed.iter().find(|segment| !segment.is_packed());
        live.map_or(state.active.base, |segment| segment.meta.base) + 1
    }

    /// Rolls if the active segment is full.
    ///
    /// # Errors
    /// As [`Store::roll`].
    pub fn roll_if_full(&self) -> Result<(), StoreError> {
        let is_full = self.0.state.read().active.is_full(&self.0.settings);
        if is_full {
            return self.roll();
        }
        Ok(())
    }

    /// The disk that it is on.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }
}

impl Drop for Inner {
    /// What sled has is made safe, so that the next start need not make it again from the journal.
    fn drop(&mut self) {
        if let Err(error) = self.journal.get_mut().sync() {
            tracing::warn!(%error, "sync the journal; the next start fetches what is missing");
            return;
        }
        let state = self.state.get_mut();
        let sealed = state
            .sealed
            .iter()
            .filter_map(|segment| match &segment.rows {
                Rows::Live(engine, _) => Some((segment.dir(), engine)),
                Rows::Packed(_) => None,
            });
        let active = state.active.engine.as_ref();
        let active = active.map(|engine| (state.active.dir.as_path(), engine));
        for (dir, engine) in sealed.chain(active) {
            if let Err(error) = trust::close(dir, engine) {
                tracing::warn!(%error, "close a segment; the next start makes it again");
            }
        }
    }
}
