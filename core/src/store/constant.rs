//! A file of keys and values that is written once and only read from then on: what sealed
//! segments are packed into.
//!
//! After D. J. Bernstein's constant database (cdb.cr.yp.to/cdb.txt), with 64-bit offsets, one
//! table sorted by hash in place of many open ones, and a CRC-32 with each thing read, so that
//! damage is an error and never a wrong or a missing answer. Little of it is in memory: every
//! 16th hash, and a Bloom filter (fastbloom) of all. The rest is the kernel's page cache.
//!
//! ```text
//! extents…                 any bytes, found by who knows their place
//! [keyLength u32][key][value] extents, found by their key
//! table                    (hash u64, offset u64, length u32, crc u32)…, ascending
//! footer                   table offset u64, entries u64, table crc u32, magic
//! ```
//!
//! All numbers are big-endian. The hash is SipHash-1-3 with a zero key.

use std::{
    fs::File,
    hash::Hasher,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use fastbloom::BloomFilter;
use siphasher::sip::SipHasher13;

use super::{StoreError, files::Checksum};

const MAGIC: [u8; 12] = *b"mercurio-c1\n";
const FOOTER: usize = 32;
const ENTRY: usize = 24;
/// Every so many entries' first hash is in memory; so many are read to find one.
const STRIDE: usize = 16;
/// Strides of the table that are read at once when it is opened.
const READ_AHEAD: usize = 64;

/// Where some bytes stand in a file, and their CRC-32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub offset: u64,
    pub length: u32,
    pub crc: u32,
}

/// Writes a constant file.
pub(super) struct ConstantWriter {
    path: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    crc: crc32fast::Hasher,
    table: Vec<(u64, Extent)>,
}

impl ConstantWriter {
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(StoreError::io("create", path))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self {
            path: path.to_owned(),
            file,
            offset: 0,
            crc: crc32fast::Hasher::new(),
            table: Vec::new(),
        })
    }

    /// Adds bytes that are found by their place.
    pub fn append(&mut self, bytes: &[u8]) -> Result<Extent, StoreError> {
        self.write(&[bytes])
    }

    /// Adds a value that is found by its key. A key is added once.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let extent = self.write(&[&(key.len() as u32).to_be_bytes(), key, value])?;
        self.table.push((hash(key), extent));
        Ok(())
    }

    /// Completes the file, safe against a power cut. What is said of it is of what was written, not
    /// of what the disk made of it.
    pub fn finish(mut self) -> Result<Checksum, StoreError> {
        self.table
            .sort_unstable_by_key(|(hash, extent)| (*hash, extent.offset));
        let mut table = Vec::with_capacity(self.table.len() * ENTRY);
        for (hash, extent) in &self.table {
            table.extend(hash.to_be_bytes());
            table.extend(extent.offset.to_be_bytes());
            table.extend(extent.length.to_be_bytes());
            table.extend(extent.crc.to_be_bytes());
        }
        let entries = self.table.len() as u64;
        let placed = self.write(&[&table])?;
        let footer = [
            &placed.offset.to_be_bytes()[..],
            &entries.to_be_bytes(),
            &placed.crc.to_be_bytes(),
            &MAGIC,
        ];
        self.write(&footer)?;
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(StoreError::io("write", &self.path))?;
        Ok(Checksum {
            length: self.offset,
            crc: self.crc.finalize(),
        })
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<Extent, StoreError> {
        let mut crc = crc32fast::Hasher::new();
        let mut extent = Extent {
            offset: self.offset,
            ..Extent::default()
        };
        for part in parts {
            crc.update(part);
            self.crc.update(part);
            self.file
                .write_all(part)
                .map_err(StoreError::io("write", &self.path))?;
            self.offset += part.len() as u64;
        }
        // A table of more than 4 GiB has no length here; the footer has its entries.
        extent.length = u32::try_from(self.offset - extent.offset).unwrap_or(u32::MAX);
        extent.crc = crc.finalize();
        Ok(extent)
    }
}

/// A constant file, open.
pub(super) struct Constant {
    path: PathBuf,
    file: File,
    table: u64,
    entries: usize,
    sparse: Vec<u64>,
    filter: BloomFilter,
    size: u64,
}

impl Constant {
    /// Opens a file and reads its table once, to check it and to build the filter: about a
    /// millisecond for 50,000 keys.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |error| StoreError::io("read", path)(error);
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let damaged = |what: &str| corrupt(path, what);
        let end = size
            .checked_sub(FOOTER as u64)
            .ok_or_else(|| damaged("it is cut short"))?;
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, end).map_err(io)?;
        if footer[20..] != MAGIC {
            return Err(damaged("its end is not what was written"));
        }
        let (table, entries) = (number(&footer[..8]), number(&footer[8..16]));
        let length = entries.checked_mul(ENTRY as u64);
        if length.and_then(|length| table.checked_add(length)) != Some(end) {
            return Err(damaged("its end is not what was written"));
        }
        let entries = entries as usize;
        let mut filter = BloomFilter::with_false_pos(0.01).expected_items(entries.max(1));
        let mut sparse = Vec::with_capacity(entries.div_ceil(STRIDE));
        let mut crc = crc32fast::Hasher::new();
        let at_once = READ_AHEAD * STRIDE;
        let mut part = vec![0; at_once * ENTRY];
        for first in (0..entries).step_by(at_once) {
            let part = &mut part[..at_once.min(entries - first) * ENTRY];
            file.read_exact_at(part, table + (first * ENTRY) as u64)
                .map_err(io)?;
            crc.update(part);
            let strides = part.chunks(STRIDE * ENTRY);
            sparse.extend(strides.map(|stride| number(&stride[..8])));
            part.chunks_exact(ENTRY).for_each(|entry| {
                filter.insert_hash(number(&entry[..8]));
            });
        }
        if crc.finalize().to_be_bytes() != footer[16..20] {
            return Err(damaged("its table is not what was written"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            table,
            entries,
            sparse,
            filter,
            size,
        })
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let hash = hash(key);
        if !self.filter.contains_hash(hash) {
            return Ok(None);
        }
        // Entries of equal hashes may begin in the stride before.
        let stride = self
            .sparse
            .partition_point(|first| *first < hash)
            .saturating_sub(1);
        let mut part = [0; STRIDE * ENTRY];
        for first in (stride * STRIDE..self.entries).step_by(STRIDE) {
            let part = &mut part[..STRIDE.min(self.entries - first) * ENTRY];
            self.read(part, self.table + (first * ENTRY) as u64)?;
            for entry in part.chunks_exact(ENTRY) {
                let found = number(&entry[..8]);
                if found > hash {
                    return Ok(None);
                }
                if found == hash
                    && let Some(value) = self.value(key, entry)?
                {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// The bytes of an extent.
    pub fn extent(&self, extent: Extent) -> Result<Vec<u8>, StoreError> {
        if extent.offset.saturating_add(u64::from(extent.length)) > self.size {
            return Err(corrupt(&self.path, "it points beyond its end"));
        }
        let mut bytes = vec![0; extent.length as usize];
        self.read(&mut bytes, extent.offset)?;
        if crc32fast::hash(&bytes) != extent.crc {
            let at = extent.offset;
            return Err(corrupt(
                &self.path,
                &format!("the bytes at {at} are not what was written"),
            ));
        }
        Ok(bytes)
    }

    /// All keys and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> {
        (0..self.entries).map(|index| {
            let mut entry = [0; ENTRY];
            self.read(&mut entry, self.table + (index * ENTRY) as u64)?;
            self.pair(&entry)
        })
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn value(&self, key: &[u8], entry: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (mut bytes, end) = self.joined(entry)?;
        if bytes[4..end] != *key {
            return Ok(None);
        }
        bytes.drain(..end);
        Ok(Some(bytes))
    }

    fn pair(&self, entry: &[u8]) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let (mut key, end) = self.joined(entry)?;
        let value = key.split_off(end);
        key.drain(..4);
        Ok((key, value))
    }

    /// The key's length in four bytes, the key, which ends here, and the value.
    fn joined(&self, entry: &[u8]) -> Result<(Vec<u8>, usize), StoreError> {
        let extent = Extent {
            offset: number(&entry[8..16]),
            length: number(&entry[16..20]) as u32,
            crc: number(&entry[20..]) as u32,
        };
        let bytes = self.extent(extent)?;
        let end = bytes
            .get(..4)
            .map_or(u64::MAX, |length| number(length).saturating_add(4));
        if end > bytes.len() as u64 {
            return Err(corrupt(&self.path, "a key is longer than its place"));
        }
        Ok((bytes, end as usize))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => corrupt(&self.path, "it is cut short"),
                _ => StoreError::io("read", &self.path)(error),
            })
    }
}

/// A file whose last so many entries' worth of bytes are its table, with the sums that belong there.
#[cfg(feature = "fuzzing")]
pub(super) fn with_sums(data: &[u8], entries: usize) -> Vec<u8> {
    let entries = entries.min(data.len() / ENTRY);
    let table = data.len() - entries * ENTRY;
    let mut bytes = data.to_vec();
    for entry in bytes[table..].chunks_exact_mut(ENTRY) {
        let (offset, length) = (number(&entry[8..16]), number(&entry[16..20]));
        let extent = usize::try_from(offset).ok().and_then(|offset| {
            let end = offset.checked_add(usize::try_from(length).ok()?)?;
            data.get(offset..end)
        });
        let crc = crc32fast::hash(extent.unwrap_or_default());
        entry[20..].copy_from_slice(&crc.to_be_bytes());
    }
    let crc = crc32fast::hash(&bytes[table..]);
    bytes.extend((table as u64).to_be_bytes());
    bytes.extend((entries as u64).to_be_bytes());
    bytes.extend(crc.to_be_bytes());
    bytes.extend(MAGIC);
    bytes
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(key);
    hasher.finish()
}

/// At most eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn corrupt(path: &Path, message: &str) -> StoreError {
    StoreError::Corrupt {
        dir: path.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, keys: u32) -> PathBuf {
        let path = dir.join("data");
        let mut writer = ConstantWriter::create(&path).unwrap();
        for key in 0..keys {
            writer
                .insert(
                    format!("key-{key}").as_bytes(),
                    format!("value {key}").as_bytes(),
                )
                .unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for keys in [0, 1, 63, 64, 65, 5000] {
            let constant = Constant::open(&written(dir.path(), keys)).unwrap();
            for key in 0..keys {
                let value = constant
                    .get(format!("key-{key}").as_bytes())
                    .unwrap()
                    .unwrap();
                assert_eq!(value, format!("value {key}").as_bytes());
            }
            for key in keys..keys + 500 {
                assert_eq!(constant.get(format!("key-{key}").as_bytes()).unwrap(), None);
            }
        }
    }

    #[test]
    fn any_flipped_byte_is_an_error_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), 100);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            let Ok(constant) = Constant::open(&path) else {
                continue;
            };
            for key in 0..100 {
                if let Ok(value) = constant.get(format!("key-{key}").as_bytes()) {
                    assert_eq!(
                        value.unwrap(),
                        format!("value {key}").as_bytes(),
                        "byte {place}"
                    );
                }
            }
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Constant::open(&path).is_err(), "cut to {length}");
        }
    }
}
