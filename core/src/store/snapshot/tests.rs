use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use crate::{
    entry::{Audience, Entry, Millis, Published, ReadStateSet, ReadTarget, RecipientId, Sequence},
    log::LogId,
};

use super::{
    super::{
        Batch, HistoryQuery, Retention, StatusFilter, Store, StoreError, StoreSettings,
        journal::Appender, verify,
    },
    Cut, Import, Snapshot, import, restore,
};

const AT: Millis = 1_700_000_000_000;
const USERS: [&str; 3] = ["a", "b", "c"];

fn settings() -> StoreSettings {
    StoreSettings {
        segment_rows: 40,
        active_cache_bytes: 1 << 20,
        ..StoreSettings::default()
    }
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, settings(), Retention::default())
}

fn user(name: &str) -> RecipientId {
    RecipientId::new(name).unwrap()
}

/// To one user after the other, and to everyone.
fn published(n: u64) -> (Option<&'static str>, Entry) {
    let to = USERS.get(n as usize % 4).copied();
    let audience = match to {
        Some(to) => Audience::Recipients(Arc::new([user(to)])),
        None => Audience::Everyone,
    };
    let published = Published {
        at: AT + n,
        source_id: "s".into(),
        event_id: n.to_string(),
        topic: "".into(),
        data: "d".repeat(n as usize * 37 % 1500),
        expires_at: None,
    };
    (to, Entry::Published(audience, Arc::new(published)))
}

fn marked(name: &str, id: Sequence) -> Entry {
    Entry::ReadStateSet(ReadStateSet {
        at: AT,
        recipient: user(name),
        target: ReadTarget::Ids(vec![id]),
        read: true,
    })
}

fn apply(store: &Store, entry: Entry) -> Sequence {
    let mut batch = Batch::new(store);
    batch.apply(batch.next_sequence(), entry).unwrap();
    batch.commit().unwrap();
    store.last_sequence()
}

pub(in crate::store) fn take(store: &Store) -> Snapshot {
    store.snapshot(|| store.cut()).unwrap()
}

/// Copies what has not come yet. `false`: a file was not what it should be.
fn copy(snapshot: &Snapshot, import: &Import) -> bool {
    let mut whole = true;
    for file in &snapshot.manifest().files {
        let (known, from) = snapshot.open(&file.name).unwrap().unwrap();
        let mut incoming = import.file(&known)().unwrap();
        while !incoming.is_complete() {
            let left = known.length - incoming.offset();
            let mut chunk = vec![0; left.min(1000) as usize];
            from.read_exact_at(&mut chunk, incoming.offset()).unwrap();
            incoming.write(&chunk).unwrap();
        }
        whole &= incoming.finish().unwrap();
    }
    whole
}

pub(in crate::store) fn imported(snapshot: &Snapshot) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut import = Import::open(dir.path()).unwrap();
    import.adopt(snapshot.manifest().clone(), None).unwrap();
    assert!(copy(snapshot, &import));
    assert_eq!(import.finish().unwrap(), snapshot.manifest().through);
    dir
}

#[derive(Clone, Default)]
pub(in crate::store) struct Model {
    published: BTreeMap<Sequence, Option<&'static str>>,
    marks: BTreeMap<Sequence, (&'static str, Sequence)>,
}

impl Model {
    /// Asserts that the store has what was written up to an entry, and nothing else.
    fn check(&self, store: &Store, through: Sequence) {
        assert_eq!(store.last_sequence(), through);
        for name in USERS {
            let of = |to: &Option<&str>| to.is_none_or(|to| to == name);
            let published = self.published.range(..=through);
            let expected: Vec<_> = published
                .filter(|(_, to)| of(to))
                .map(|(id, _)| *id)
                .collect();
            let marks = self.marks.range(..=through);
            let read: BTreeSet<_> = marks
                .filter(|(_, (by, _))| *by == name)
                .map(|(_, (_, id))| *id)
                .collect();
            let query = HistoryQuery {
                status: StatusFilter::All,
                topics: Default::default(),
                before: None,
                limit: 10_000,
            };
            let page = store.history(&user(name), &query, AT).unwrap();
            let found: Vec<_> = page.notifications.iter().rev().map(|one| one.id).collect();
            assert_eq!(found, expected, "{name}");
            let marked = page
                .notifications
                .iter()
                .filter(|one| one.read_at.is_some());
            assert_eq!(marked.map(|one| one.id).collect::<BTreeSet<_>>(), read);
            assert_eq!(page.unread_count, (expected.len() - read.len()) as u64);
        }
    }
}

/// A store with packed segments and one that is not, a shared log's or its own.
pub(in crate::store) fn filled(dir: &Path) -> (Store, Model) {
    let store = open(dir).unwrap();
    let mut model = Model::default();
    for n in 0..150 {
        let (to, entry) = published(n);
        let id = apply(&store, entry);
        model.published.insert(id, to);
        if let (0, Some(to)) = (n % 5, to) {
            model.marks.insert(apply(&store, marked(to, id)), (to, id));
        }
        store.roll_if_full().unwrap();
        if n == 100 {
            while store.pack_one(AT).unwrap() {}
        }
    }
    (store, model)
}

#[test]
fn taken_while_others_write_pack_and_merge_it_has_all_up_to_its_end_and_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, model) = filled(dir.path());
    let (cuts, asked) = mpsc::channel::<mpsc::Sender<Cut>>();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop, mut model) = (store.clone(), stop.clone(), model);
        thread::spawn(move || {
            let mut n = 1000;
            while !stop.load(Ordering::Relaxed) {
                if let Ok(answer) = asked.try_recv() {
                    answer.send(store.cut().unwrap()).unwrap();
                }
                let (to, entry) = published(n);
                let id = apply(&store, entry);
                model.published.insert(id, to);
                if let (0, Some(to)) = (n % 3, to) {
                    model.marks.insert(apply(&store, marked(to, id)), (to, id));
                }
                store.roll_if_full().unwrap();
                n += 1;
            }
            model
        })
    };
    let sweeper = {
        let (store, stop) = (store.clone(), stop.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                store.pack_one(AT).unwrap();
                store.merge_some(AT).unwrap();
            }
        })
    };
    let cut = || {
        let (answer, answered) = mpsc::channel();
        cuts.send(answer).unwrap();
        Ok::<_, StoreError>(answered.recv().unwrap())
    };
    let mut taken = Vec::new();
    for _ in 0..4 {
        let snapshot = store.snapshot(cut).unwrap();
        let through = snapshot.manifest().through;
        let later = taken.last().is_none_or(|(before, _)| through > *before);
        assert!(later, "publishing goes on");
        taken.push((through, imported(&snapshot)));
    }
    stop.store(true, Ordering::Relaxed);
    let model = writer.join().unwrap();
    sweeper.join().unwrap();
    for (through, dir) in taken {
        let copy = open(dir.path()).unwrap();
        model.check(&copy, through);
        // It goes on from there.
        assert_eq!(apply(&copy, published(9999).1), through + 1);
    }
    model.check(&store, store.last_sequence());
}

#[test]
fn its_files_stay_while_what_they_are_of_is_merged_and_buried() {
    let dir = tempfile::tempdir().unwrap();
    let (store, model) = filled(dir.path());
    let snapshot = take(&store);
    let through = snapshot.manifest().through;
    let long_after = AT + Retention::default().max_age.as_millis() as Millis * 2;
    while store.merge_some(AT).unwrap() {}
    while store.bury_past(long_after).unwrap() {}
    assert_eq!(store.segments(), 2, "the remains, and the active one");
    let held = fs::read_dir(dir.path().join("segments")).unwrap().count();
    assert!(held > 2);
    model.check(&open(imported(&snapshot).path()).unwrap(), through);
    drop(snapshot);
    let left = fs::read_dir(dir.path().join("segments")).unwrap().count();
    assert_eq!(left, 2, "space comes back with it");
}

#[test]
fn a_crash_while_it_is_imported_leaves_nothing_or_all() {
    let dir = tempfile::tempdir().unwrap();
    let (store, model) = filled(dir.path());
    let snapshot = take(&store);
    let through = snapshot.manifest().through;
    for at in 1..=6 {
        let dir = tempfile::tempdir().unwrap();
        let mut import = Import::open(dir.path()).unwrap();
        import.adopt(snapshot.manifest().clone(), None).unwrap();
        assert!(copy(&snapshot, &import));
        import::CRASH_AT.set(at);
        import.finish().unwrap_err();
        import::CRASH_AT.set(0);
        match open(dir.path()) {
            Ok(copy) => {
                assert_eq!(at, 6);
                model.check(&copy, through);
                continue;
            }
            Err(StoreError::Unfinished { .. }) => assert!(at < 6),
            Err(other) => panic!("{at}: {other}"),
        }
        // All has come: nothing is asked for again.
        let import = Import::open(dir.path()).unwrap();
        assert_eq!(import.manifest(), Some(snapshot.manifest()));
        for file in &snapshot.manifest().files {
            assert!(import.file(file)().unwrap().is_complete());
        }
        import.finish().unwrap();
        model.check(&open(dir.path()).unwrap(), through);
    }
}

#[test]
fn what_has_come_is_gone_on_with_also_where_the_snapshot_is_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut model) = filled(dir.path());
    let first = take(&store);
    let into = tempfile::tempdir().unwrap();
    let mut import = Import::open(into.path()).unwrap();
    import.adopt(first.manifest().clone(), None).unwrap();
    let data = |file: &&super::ManifestFile| file.name.ends_with("/data");
    let file = first.manifest().files.iter().find(data).unwrap();
    let (_, from) = first.open(&file.name).unwrap().unwrap();
    let mut chunk = vec![0; 100];
    from.read_exact_at(&mut chunk, 0).unwrap();
    import.file(file)().unwrap().write(&chunk).unwrap();
    import.finish().unwrap_err();

    let (to, entry) = published(500);
    model.published.insert(apply(&store, entry), to);
    let second = take(&store);
    let mut import = Import::open(into.path()).unwrap();
    assert_eq!(import.file(file)().unwrap().offset(), 100);
    import.adopt(second.manifest().clone(), None).unwrap();
    assert_eq!(import.file(file)().unwrap().offset(), 100);
    assert!(copy(&second, &import));
    let through = import.finish().unwrap();
    model.check(&open(into.path()).unwrap(), through);

    // Of one that has nothing in common, nothing is kept.
    let into = tempfile::tempdir().unwrap();
    let mut import = Import::open(into.path()).unwrap();
    import.adopt(first.manifest().clone(), None).unwrap();
    assert!(copy(&first, &import));
    while store.merge_some(AT).unwrap() {}
    let merged = take(&store);
    import.adopt(merged.manifest().clone(), None).unwrap();
    assert!(copy(&merged, &import));
    import.finish().unwrap();
    model.check(&open(into.path()).unwrap(), through);
}

#[test]
fn a_flipped_bit_in_any_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path());
    let snapshot = take(&store);
    for file in &snapshot.manifest().files {
        let path = dir.path().join("segments").join(&file.name);
        let whole = fs::read(&path).unwrap();
        for place in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[place] ^= 4;
            fs::write(&path, damaged).unwrap();
            let into = tempfile::tempdir().unwrap();
            let mut import = Import::open(into.path()).unwrap();
            import.adopt(snapshot.manifest().clone(), None).unwrap();
            assert!(!copy(&snapshot, &import), "{} at {place}", file.name);
            import.finish().unwrap_err();
            open(into.path()).err().expect("nothing to open");
            // Healed, it is fetched again, and only that one.
            fs::write(&path, &whole).unwrap();
            let mut import = Import::open(into.path()).unwrap();
            let mut missing = snapshot.manifest().files.iter();
            missing.clone().for_each(|other| {
                let is_there = import.file(other)().unwrap().is_complete();
                assert_eq!(is_there, other != file);
            });
            assert!(missing.any(|other| other == file));
            import.adopt(snapshot.manifest().clone(), None).unwrap();
            assert!(copy(&snapshot, &import));
            import.finish().unwrap();
        }
    }
}

#[test]
fn what_is_no_snapshot_for_here_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path());
    let snapshot = take(&store);
    let refused = Import::open(dir.path()).err().expect("in use");
    assert!(matches!(refused, StoreError::Held { .. }), "{refused}");
    let copied = imported(&snapshot);
    let refused = Import::open(copied.path()).err().expect("it has data");
    assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");

    let into = tempfile::tempdir().unwrap();
    let mut import = Import::open(into.path()).unwrap();
    let log = LogId::new(0);
    let refused = import.adopt(snapshot.manifest().clone(), Some(&log));
    assert!(matches!(refused, Err(StoreError::OtherLog { .. })));
    let mut later = snapshot.manifest().clone();
    later.format += 1;
    let refused = import.adopt(later, None);
    assert!(matches!(refused, Err(StoreError::OtherFormat { .. })));
    for name in [
        "../x/data",
        "00000001.1/../../x",
        "/etc/passwd",
        "00000001/data",
        "1.1/meta",
        "",
    ] {
        let mut wrong = snapshot.manifest().clone();
        wrong.files[0].name = name.into();
        let refused = import.adopt(wrong, None);
        assert!(
            matches!(refused, Err(StoreError::BadSnapshot { .. })),
            "{name}"
        );
    }
    let mut short = snapshot.manifest().clone();
    short.files.truncate(2);
    import.adopt(short, None).unwrap();
    for file in &snapshot.manifest().files[..2] {
        let (_, from) = snapshot.open(&file.name).unwrap().unwrap();
        let mut all = vec![0; file.length as usize];
        from.read_exact_at(&mut all, 0).unwrap();
        let mut incoming = import.file(file)().unwrap();
        incoming.write(&all).unwrap();
        incoming.write(b"more").unwrap_err();
        assert!(incoming.finish().unwrap());
    }
    import.finish().unwrap_err();
}

#[test]
fn of_a_shared_log_it_has_where_each_appender_was_and_stretches_without_entries() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogId::new(0);
    let open =
        |dir: &Path| Store::open_shared(dir, settings(), Retention::default(), &log).unwrap();
    let store = open(dir.path());
    let mut batch = Batch::new(&store);
    for number in 1..=3 {
        assert!(batch.takes(Appender { id: 7, number }));
        batch.apply(number * 4096, published(number).1).unwrap();
    }
    batch.cover(4 * 4096 - 1);
    batch.note_message(0xc4c4);
    batch.commit().unwrap();
    take(&store);
    // A copy of what was appended before: nothing of it is applied, and it is passed all the same.
    let mut batch = Batch::new(&store);
    assert!(!batch.takes(Appender { id: 7, number: 3 }));
    assert!(batch.takes(Appender { id: 8, number: 1 }));
    batch.cover(5 * 4096 - 1);
    batch.note_message(0xc5c5);
    batch.advance(store.log_time() + 7);
    batch.commit().unwrap();
    let snapshot = take(&store);
    assert_eq!(snapshot.manifest().through, 5 * 4096 - 1);
    let into = imported(&snapshot);
    assert!(super::super::Store::open(into.path(), settings(), Retention::default()).is_err());
    let copy = open(into.path());
    assert_eq!(copy.last_sequence(), 5 * 4096 - 1);
    assert_eq!(
        copy.progress().appenders.all(),
        store.progress().appenders.all()
    );
    assert_eq!(copy.progress().last_message, Some(0xc5c5));
    assert_eq!(copy.log_time(), store.log_time());
    let mut batch = Batch::new(&copy);
    assert!(!batch.takes(Appender { id: 8, number: 1 }));
    assert!(batch.takes(Appender { id: 7, number: 4 }));
}

#[test]
fn one_of_nothing_is_a_new_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let snapshot = take(&store);
    assert_eq!(snapshot.manifest().files, []);
    let copy = open(imported(&snapshot).path()).unwrap();
    assert_eq!(apply(&copy, published(1).1), 1);
}

#[test]
fn none_is_taken_while_it_is_not_known_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, model) = filled(dir.path());
    // Safe in the journal, and not taken by sled.
    store.0.state.write().active.engine = None;
    let mut batch = Batch::new(&store);
    let (to, entry) = published(600);
    batch.apply(batch.next_sequence(), entry).unwrap();
    batch.commit().unwrap_err();
    assert!(store.snapshot(|| store.cut()).is_err());
    store.reopen().unwrap();
    let snapshot = take(&store);
    let mut model = model;
    model.published.insert(store.last_sequence(), to);
    model.check(
        &open(imported(&snapshot).path()).unwrap(),
        store.last_sequence(),
    );
}

#[test]
fn a_backup_is_restored_as_it_was_and_a_damaged_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (store, model) = filled(dir.path());
    let snapshot = take(&store);
    let through = snapshot.manifest().through;
    let backup = imported(&snapshot);
    assert!(verify(backup.path()).unwrap().is_backup);
    let into = tempfile::tempdir().unwrap();
    restore(backup.path(), into.path()).unwrap();
    model.check(&open(into.path()).unwrap(), through);
    let refused = restore(backup.path(), into.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");
    // In use since, it is what was backed up no more.
    let refused = restore(into.path(), &backup.path().join("x")).unwrap_err();
    assert!(refused.to_string().contains("MANIFEST"), "{refused}");

    let names = snapshot.manifest().files.iter();
    for name in names
        .map(|file| format!("segments/{}", file.name))
        .chain(["MANIFEST".into()])
    {
        let path = backup.path().join(&name);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let into = tempfile::tempdir().unwrap();
        let refused = restore(backup.path(), into.path()).unwrap_err();
        assert!(refused.is_damage(), "{refused}");
        if name != "MANIFEST" {
            let opened = open(into.path()).err().expect("not all is there");
            assert!(matches!(opened, StoreError::Unfinished { .. }), "{opened}");
        }
        assert!(
            !verify(backup.path()).unwrap().problems.is_empty(),
            "{name}"
        );
        // It is gone on with when it has been healed.
        fs::write(&path, &whole).unwrap();
        restore(backup.path(), into.path()).unwrap();
    }
    assert_eq!(verify(backup.path()).unwrap().problems, [""; 0]);
}
