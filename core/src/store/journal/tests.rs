//! The log's files: cut anywhere, flipped anywhere, rolled and removed.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::entry::{Entry, ReadStateSet, ReadTarget, RecipientId};

fn entry(up_to: Sequence) -> Entry {
    Entry::ReadStateSet(ReadStateSet {
        at: 7,
        recipient: RecipientId::new("alice").unwrap(),
        target: ReadTarget::UpTo(up_to),
        read: true,
    })
}

fn open(dir: &Path, applied: Sequence) -> Result<Journal, StoreError> {
    Journal::open(dir, applied, Durability::Here)
}

fn one(sequence: Sequence) -> Frame {
    let entries = vec![(sequence, LogEntry::from(&entry(sequence)))];
    Frame::new(sequence, sequence, entries, Vec::new())
}

/// Appends these many entries at once.
fn append(log: &mut Journal, count: u64) {
    let first = log.last() + 1;
    let entries = (first..first + count).map(|n| (n, LogEntry::from(&entry(n))));
    let frame = Frame::new(first, first + count - 1, entries.collect(), Vec::new());
    log.append(&frame).unwrap();
}

fn read(log: &Journal, after: Sequence) -> Result<Vec<Sequence>, StoreError> {
    let mut all = Vec::new();
    for batch in log.tail(after)? {
        for (sequence, found) in batch?.entries {
            assert_eq!(found, entry(sequence));
            all.push(sequence);
        }
    }
    Ok(all)
}

#[test]
fn what_was_appended_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 41).unwrap();
    assert_eq!((log.first(), log.last()), (42, 41));
    for count in [1, 3, 700] {
        append(&mut log, count);
    }
    log.roll(0).unwrap();
    log.roll(0).unwrap();
    append(&mut log, 2);
    for _ in 0..2 {
        assert_eq!(read(&log, 41).unwrap(), (42..748).collect::<Vec<_>>());
        assert_eq!(read(&log, 100).unwrap(), (101..748).collect::<Vec<_>>());
        assert_eq!(read(&log, 746).unwrap(), [747]);
        assert!(read(&log, 747).unwrap().is_empty());
        drop(log);
        log = open(dir.path(), 0).unwrap();
    }
    assert!(read(&log, 748).unwrap_err().is_damage(), "beyond the end");
    assert!(
        read(&log, 40).unwrap_err().is_damage(),
        "before the beginning"
    );
}

#[test]
fn a_file_of_no_entry_is_none_of_the_logs() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    fs::create_dir_all(&log).unwrap();
    fs::write(path(&log, 0), b"x").unwrap();
    let mut log = open(dir.path(), 0).unwrap();
    assert_eq!((log.first(), log.last()), (1, 0));
    append(&mut log, 1);
    assert_eq!(read(&log, 0).unwrap(), [1]);
}

#[test]
fn files_go_when_they_are_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 0).unwrap();
    append(&mut log, 5);
    log.roll(3).unwrap();
    append(&mut log, 5);
    assert_eq!(log.first(), 1);
    log.roll(6).unwrap();
    assert_eq!((log.first(), log.last()), (6, 10));
    log.roll(11).unwrap();
    assert_eq!((log.first(), log.last()), (11, 10));
    drop(log);
    let log = open(dir.path(), 0).unwrap();
    assert_eq!((log.first(), log.last()), (11, 10));
}

#[test]
fn a_failed_log_takes_nothing_until_it_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 0).unwrap();
    append(&mut log, 1);
    log.fail();
    log.append(&one(2)).unwrap_err();
    log.repair().unwrap();
    append(&mut log, 1);
    assert_eq!(read(&log, 0).unwrap(), [1, 2]);
    log.append(&one(4)).unwrap_err();
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 0).unwrap();
    append(&mut log, 3);
    let mut large = one(4);
    large.sequences = vec![4];
    let set = ReadStateSet {
        at: 7,
        recipient: RecipientId::new("alice").unwrap(),
        target: ReadTarget::Ids(vec![u64::MAX; FRAME_MAX / 10]),
        read: true,
    };
    large.entries = vec![LogEntry::from(&Entry::ReadStateSet(set))];
    let refused = log.append(&large).unwrap_err();
    assert!(refused.to_string().contains("too many"), "{refused}");
    log.repair().unwrap();
    append(&mut log, 2);
    drop(log);
    let log = open(dir.path(), 0).unwrap();
    assert_eq!(read(&log, 0).unwrap(), [1, 2, 3, 4, 5]);
}

/// A killed process leaves what no disk has; a power cut may take it as long as it was not synced.
#[test]
fn what_is_found_is_known_to_be_safe_only_once_it_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let shared = || Journal::open(dir.path(), 0, Durability::Elsewhere).unwrap();
    let mut journal = shared();
    append(&mut journal, 3);
    drop(journal);
    let noted = || HighWater::read(dir.path());
    HighWater::open(dir.path(), 3).unwrap();
    assert_eq!(noted(), Some(0), "found, and compared");
    drop(shared());
    assert_eq!(noted(), Some(3), "and synced");
    HighWater::open(dir.path(), 2).err().expect("more was safe");
}

#[test]
fn a_file_that_was_not_made_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let (part, named) = (dir.path().join("2.part"), dir.path().join("2.log"));
    fs::write(&part, b"").unwrap();
    let not_there = dir.path().join("not there");
    give_name(&part, &named, &not_there).unwrap_err();
    assert!(!named.exists());
    fs::write(&part, b"").unwrap();
    give_name(&part, &named, dir.path()).unwrap();
    assert!(named.exists());
}

#[test]
fn a_copy_of_a_shared_log_has_holes_and_appenders() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), 0, Durability::Elsewhere).unwrap();
    let at = |sequence| (sequence, LogEntry::from(&entry(sequence)));
    let by = |id, number| Appender { id, number };
    let frames = [
        Frame::new(1, 9, vec![at(5), at(7)], vec![by(1, 1)]),
        Frame {
            last_message: Some(5),
            ..Frame::new(10, 19, Vec::new(), vec![by(2, 1), by(1, 2)])
        },
        Frame::new(20, 29, vec![at(29)], Vec::new()),
    ];
    for frame in &frames {
        journal.append(frame).unwrap();
    }
    for round in 0..3 {
        assert_eq!(journal.last(), 29);
        assert_eq!(journal.progress().appenders.all(), [by(2, 1), by(1, 2)]);
        assert_eq!(journal.progress().last_message, Some(5));
        assert_eq!(read(&journal, 0).unwrap(), [5, 7, 29]);
        assert_eq!(read(&journal, 5).unwrap(), [7, 29]);
        assert!(read(&journal, 29).unwrap().is_empty());
        if round == 1 {
            journal.roll(0).unwrap();
        }
        drop(journal);
        journal = Journal::open(dir.path(), 0, Durability::Elsewhere).unwrap();
    }
    journal.roll(30).unwrap();
    assert_eq!((journal.first(), journal.last()), (30, 29));
    // A file that holds nothing yet is not followed by another one.
    journal.roll(30).unwrap();
    for misplaced in [
        Frame::new(29, 30, Vec::new(), Vec::new()),
        Frame::new(31, 32, Vec::new(), Vec::new()),
        Frame::new(30, 31, vec![at(32)], Vec::new()),
        Frame::new(30, 35, vec![at(32), at(31)], Vec::new()),
        Frame {
            through: Sequence::MAX,
            ..Frame::new(30, 31, Vec::new(), Vec::new())
        },
        // It says of itself that it ends before its second entry.
        Frame {
            through: 30,
            ..Frame::new(30, 31, vec![at(30), at(31)], Vec::new())
        },
    ] {
        assert!(journal.append(&misplaced).unwrap_err().is_damage());
    }
    let none = Frame {
        first: Sequence::MAX,
        ..Frame::new(30, 30, vec![at(30)], Vec::new())
    };
    assert!(!none.is_next(Sequence::MAX), "no entry can follow");
    let mut known = Appenders::default();
    known.note(&[by(1, u64::MAX)]);
    assert!(!known.is_next(by(1, 0)));
    drop(journal);
    Journal::begin(
        &dir.path().join("copy"),
        41,
        &Progress::new(&[by(3, 8)], Some(6)),
    )
    .unwrap();
    let copy = Journal::open(&dir.path().join("copy"), 41, Durability::Elsewhere).unwrap();
    assert_eq!((copy.first(), copy.last()), (42, 41));
    assert_eq!(copy.progress().appenders.all(), [by(3, 8)]);
    assert_eq!(copy.progress().last_message, Some(6));
}

proptest! {
    /// Cut anywhere: what is there is a beginning; where it was known to be more, it is refused.
    #[test]
    fn a_cut_log_is_a_beginning_or_refused(counts in prop::collection::vec(1..4_u64, 1..8), cut in any::<prop::sample::Index>(), known in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 0).unwrap();
        for count in &counts {
            append(&mut log, *count);
        }
        let last = log.last();
        drop(log);
        let file = path(&dir.path().join("log"), 1);
        let bytes = fs::read(&file).unwrap();
        let cut = cut.index(bytes.len());
        fs::write(&file, &bytes[..cut]).unwrap();
        if !known {
            fs::remove_file(dir.path().join("high-water")).unwrap();
        }
        match open(dir.path(), 0) {
            Err(error) => prop_assert!(known && error.is_damage()),
            Ok(mut log) => {
                prop_assert!(!known && log.last() < last);
                let there = log.last();
                prop_assert_eq!(read(&log, 0).unwrap(), (1..=there).collect::<Vec<_>>());
                append(&mut log, 2);
                prop_assert_eq!(read(&log, there).unwrap(), vec![there + 1, there + 2]);
            }
        }
    }

    /// A flipped bit is found, wherever it is.
    #[test]
    fn a_flipped_bit_is_found(place in any::<prop::sample::Index>(), bit in 0..8_u8, rolled in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 0).unwrap();
        for count in [1, 2, 3] {
            append(&mut log, count);
        }
        if rolled {
            log.roll(0).unwrap();
            append(&mut log, 1);
        }
        drop(log);
        let file = path(&dir.path().join("log"), 1);
        let mut bytes = fs::read(&file).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        fs::write(&file, bytes).unwrap();
        let read = open(dir.path(), 0).and_then(|log| read(&log, 0));
        prop_assert!(read.unwrap_err().is_damage());
    }
}
