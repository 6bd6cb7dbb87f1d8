//! Small files beside the segments: written whole, checked by a CRC-32 when read, and safe
//! against a power cut once [`write_checked`] returns.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use super::StoreError;

/// A whole file's length and CRC-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    pub length: u64,
    pub crc: u32,
}

impl Checksum {
    /// Reads the file.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let mut crc = crc32fast::Hasher::new();
        let length = hash_rest(&file, &mut crc).map_err(StoreError::io("read", path))?;
        let crc = crc.finalize();
        Ok(Self { length, crc })
    }
}

/// Reads a file from where it stands to its end, and gives how many bytes those were.
pub(super) fn hash_rest(mut file: &File, crc: &mut crc32fast::Hasher) -> io::Result<u64> {
    let mut part = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                crc.update(&part[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a directory, and those it is in, where they are not there; only their owner may look into
/// them, whatever the umask.
pub(super) fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(StoreError::io("create", dir))
}

/// Replaces the file: either the old or the new content is there, also after a power cut.
pub(super) fn write_checked(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    replace(path, content).map_err(StoreError::io("write", path))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&crc32fast::hash(content).to_be_bytes())?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The content of a file that [`write_checked`] wrote; `None` where there is none.
pub(super) fn read_checked(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let content = bytes
        .split_first_chunk::<4>()
        .filter(|(sum, content)| crc32fast::hash(content).to_be_bytes() == **sum);
    match content {
        Some((_, content)) => Ok(Some(content.to_vec())),
        None => Err(StoreError::Corrupt {
            dir: path.to_owned(),
            message: "its checksum does not match its content".into(),
        }),
    }
}

/// Opens a file to read and write it, or makes it.
pub(super) fn open_kept(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(StoreError::io("open", path))
}

/// Makes the directory's entries safe.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
