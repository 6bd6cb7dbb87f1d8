//! What is made of files, and made again when they change: certificates, keys, sets of keys.
//!
//! The files are looked at every few seconds, by content: also where they are links that are turned
//! elsewhere, as secrets mounted into containers are. What can't be used is logged once, and the
//! last that could be stays.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;

/// The most bytes of one file.
const FILE_MAX: u64 = 1 << 20;

/// Why files can't be used: names the file, never quotes it.
#[derive(Clone, Debug, Error, PartialEq, Eq, Hash)]
#[error("{0}")]
pub struct LoadError(String);

impl LoadError {
    /// Of a file.
    #[must_use]
    pub fn of(path: &Path, what: impl fmt::Display) -> Self {
        Self(format!("{}: {what}", path.display()))
    }
}

type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, LoadError> + Send + Sync;

/// A value made of files.
pub struct Renewed<T> {
    /// What the log calls it.
    what: &'static str,
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    current: RwLock<Arc<T>>,
    /// Of what was tried last.
    tried: Mutex<u64>,
}

impl<T> Renewed<T> {
    /// Reads the files and makes the value of their contents, in their order. Blocks.
    ///
    /// # Errors
    /// A file can't be read, has more than 1 MiB, or its content can't be used.
    pub fn load(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, LoadError> + Send + Sync + 'static,
    ) -> Result<Self, LoadError> {
        let contents = read(&files);
        let tried = fingerprint(&contents);
        let current = make(&contents?)?;
        Ok(Self {
            what,
            files,
            make: Box::new(make),
            current: RwLock::new(Arc::new(current)),
            tried: Mutex::new(tried),
        })
    }

    /// The value of the last files that could be used.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.current.read().clone()
    }
}

/// Something that is made of files.
pub trait Look: Send + Sync {
    /// Takes the files' new content up where it has changed. Blocks.
    fn look(&self);
}

impl<T: Send + Sync> Look for Renewed<T> {
    fn look(&self) {
        let contents = read(&self.files);
        let fingerprint = fingerprint(&contents);
        // One at a time: of two that look, the later one's content counts.
        let mut tried = self.tried.lock();
        if *tried == fingerprint {
            return;
        }
        *tried = fingerprint;
        match contents.and_then(|contents| (self.make)(&contents)) {
            Ok(value) => {
                *self.current.write() = Arc::new(value);
                tracing::info!(what = self.what, "renewed from its files");
            }
            Err(error) => tracing::error!(
                what = self.what, %error, "its files changed and can't be used; the last stays"
            ),
        }
    }
}

/// Looks at all of them, again and again, for as long as it is polled.
pub async fn keep_current(all: Vec<Arc<dyn Look>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let all = all.clone();
        let looked = tokio::task::spawn_blocking(move || all.iter().for_each(|one| one.look()));
        // A panic in it has been printed; the next look may do better.
        let _ = looked.await;
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, LoadError> {
    let read = |path: &PathBuf| {
        let length = fs::metadata(path)?.len();
        if length > FILE_MAX {
            let message = format!("{length} bytes; at most {FILE_MAX} are allowed");
            return Err(std::io::Error::other(message));
        }
        fs::read(path)
    };
    let named = |path: &PathBuf| read(path).map_err(|error| LoadError::of(path, error));
    files.iter().map(named).collect()
}

fn fingerprint(contents: &Result<Vec<Vec<u8>>, LoadError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_taken_up_and_what_is_broken_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let number = |contents: &[Vec<u8>]| {
            let text = String::from_utf8_lossy(&contents[0]).into_owned();
            text.parse::<u32>()
                .map_err(|error| LoadError::of(Path::new("number"), error))
        };
        fs::write(file.path(), "1").unwrap();
        let renewed = Renewed::load("a number", vec![file.path().into()], number).unwrap();
        assert_eq!(*renewed.current(), 1);
        for (content, wanted) in [("2", 2), ("two", 2), ("2", 2), ("3", 3)] {
            fs::write(file.path(), content).unwrap();
            renewed.look();
            assert_eq!(*renewed.current(), wanted, "{content}");
        }
        fs::remove_file(file.path()).unwrap();
        renewed.look();
        assert_eq!(*renewed.current(), 3);
        assert!(Renewed::load("a number", vec![file.path().into()], number).is_err());
    }
}
