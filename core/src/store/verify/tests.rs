use std::{fs, path::Path};

use super::{
    super::{
        Store, StoreError,
        codec::{self, Owners},
        constant::ConstantWriter,
        files, keys,
        segment::{self, DATA},
        snapshot::tests::{filled, imported, take},
    },
    Report, verify,
};

/// A data directory of which most is packed.
fn closed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path());
    drop(store);
    dir
}

fn check(dir: &Path) -> Report {
    verify(dir).unwrap()
}

#[track_caller]
fn finds(dir: &Path, what: &str) {
    let problems = check(dir).problems.join("\n");
    assert!(problems.contains(what), "{problems:?}");
}

#[test]
fn what_is_whole_is_found_whole_and_left_as_it_is() {
    let dir = closed();
    let files = |dir: &Path| {
        let mut all = Vec::new();
        let mut open = vec![dir.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false if path.ends_with("LOCK") => {}
                    false => all.push((path.clone(), fs::read(path).unwrap())),
                }
            }
        }
        all.sort();
        all
    };
    let before = files(dir.path());
    let report = check(dir.path());
    assert_eq!(report.problems, [""; 0]);
    assert!(report.segments > 0 && report.live > 0);
    assert!(report.rows > 0 && report.bodies > 0 && report.keys > 0);
    assert!(report.journal_entries > 0);
    assert!(before == files(dir.path()));
}

#[test]
fn any_flipped_byte_of_what_is_packed_or_in_the_journal_is_found() {
    let dir = closed();
    let journal = fs::read_dir(dir.path().join("log")).unwrap();
    let mut paths: Vec<_> = journal.map(|file| file.unwrap().path()).collect();
    for name in ["00000001.1/data", "00000001.1/meta", "00000002.1/data"] {
        paths.push(dir.path().join("segments").join(name));
    }
    for path in paths {
        let whole = fs::read(&path).unwrap();
        // The newest file of the journal ends with what may have been under way: high-water knows.
        for place in (0..whole.len()).step_by(whole.len() / 40 + 1) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x20;
            fs::write(&path, damaged).unwrap();
            let problems = check(dir.path()).problems;
            assert!(!problems.is_empty(), "{} at {place}", path.display());
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(check(dir.path()).problems, [""; 0]);
}

#[test]
fn what_is_missing_is_found() {
    let dir = closed();
    let log = dir.path().join("log");
    let away = dir.path().join("away");
    fs::rename(&log, &away).unwrap();
    finds(dir.path(), "log");
    fs::create_dir(&log).unwrap();
    finds(dir.path(), "it has no file");
    let mut files: Vec<_> = fs::read_dir(&away)
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    files.sort();
    let newest = files.last().unwrap();
    fs::copy(away.join(newest), log.join(newest)).unwrap();
    finds(dir.path(), "is missing");
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&away, &log).unwrap();
    fs::remove_file(log.join(newest)).unwrap();
    finds(dir.path(), "was safely stored");
    let first = dir.path().join("segments/00000001.1");
    fs::remove_dir_all(first).unwrap();
    finds(dir.path(), "the next begins behind");

    let empty = tempfile::tempdir().unwrap();
    let refused = verify(empty.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NoData { .. }), "{refused}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    let dir = tempfile::tempdir().unwrap();
    let _store: Store = filled(dir.path()).0;
    let refused = verify(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Held { .. }), "{refused}");
}

/// Writes the file of a packed segment anew, with checksums that are right, and something in it that
/// is not.
fn rewritten(dir: &Path, change: impl Fn(&mut Vec<u8>, &mut Vec<u8>) -> bool) {
    let segment = dir.join("segments/00000001.1");
    let old = segment::Segment::packed(
        segment::SegmentId::parse("00000001.1").unwrap(),
        segment.clone(),
    );
    let old = old.unwrap();
    let segment::Rows::Packed(constant) = &old.rows else {
        panic!()
    };
    let new = segment.join("new");
    let mut writer = ConstantWriter::create(&new).unwrap();
    let mut blocks = Vec::new();
    for pair in constant.iter() {
        let (mut key, mut value) = pair.unwrap();
        if key[0] == keys::RECORDS {
            let mut record = codec::decode_record(&value).unwrap();
            for block in &mut record.blocks {
                let rows = constant.extent(block.extent).unwrap();
                block.extent = writer.append(&rows).unwrap();
            }
            value = codec::encode_record(&record);
            blocks.push((key, value));
            continue;
        }
        if change(&mut key, &mut value) {
            writer.insert(&key, &value).unwrap();
        }
    }
    for (mut key, mut value) in blocks {
        if change(&mut key, &mut value) {
            writer.insert(&key, &value).unwrap();
        }
    }
    let sum = writer.finish().unwrap();
    let mut meta = old.meta.clone();
    meta.data = Some(sum.into());
    drop(old);
    fs::rename(new, segment.join(DATA)).unwrap();
    segment::write_meta(&segment, &meta).unwrap();
}

#[test]
fn what_contradicts_itself_is_found_also_where_each_checksum_is_right() {
    let dir = closed();
    rewritten(dir.path(), |_, _| true);
    assert_eq!(
        check(dir.path()).problems,
        [""; 0],
        "written anew as it was"
    );

    let dir = closed();
    rewritten(dir.path(), |key, _| key[0] != keys::BODIES);
    finds(dir.path(), "the body of");

    let dir = closed();
    rewritten(dir.path(), |key, _| key[0] != keys::IDEMPOTENCY);
    finds(dir.path(), "the idempotency key of");

    let dir = closed();
    rewritten(dir.path(), |key, value| {
        if key[0] == keys::RECORDS {
            let mut record = codec::decode_record(value).unwrap();
            record.items.pop();
            *value = codec::encode_record(&record);
        }
        true
    });
    finds(dir.path(), "is not in the index of");

    let dir = closed();
    rewritten(dir.path(), |key, value| {
        if key[0] == keys::RECORDS {
            let mut record = codec::decode_record(value).unwrap();
            record.blocks.pop();
            *value = codec::encode_record(&record);
        }
        true
    });
    finds(dir.path(), "names rows that are not there");
    finds(dir.path(), "rows, and");

    let dir = closed();
    rewritten(dir.path(), |key, value| {
        if key[0] == keys::OWNERS {
            let mut owners = Owners::decode_stored(value).unwrap();
            owners.names.swap(0, 1);
            owners.names.pop();
            *value = prost::Message::encode_to_vec(&owners);
        }
        true
    });
    finds(dir.path(), "are not in order");
    finds(dir.path(), "recipients, and has");
}

#[test]
fn a_backup_is_compared_with_what_was_backed_up() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path());
    let snapshot = take(&store);
    let backup = imported(&snapshot);
    let report = check(backup.path());
    assert!(report.is_backup && report.problems.is_empty(), "{report:?}");
    assert_eq!(report.through, snapshot.manifest().through);
    // Another one's file, whole in itself.
    let mut other = snapshot.manifest().clone();
    other.files[1].crc32 ^= 1;
    let bytes = prost::Message::encode_to_vec(&other);
    files::write_checked(&backup.path().join("MANIFEST"), &bytes).unwrap();
    finds(backup.path(), "it is not what was backed up");
}
