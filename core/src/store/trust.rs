//! Whether what sled left behind can be built upon. Nothing waits for sled's writes to be safe, so
//! after a power cut its files may hold anything; after a mere crash of the process they hold what
//! it wrote. A mark beside them, itself safe before sled writes a byte, tells the two apart.

use std::{fs, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{StoreError, engine::Engine, files};

const MARK: &str = "opened";
const CLOSED: &[u8] = b"closed";

/// Whether the files of the live segment in `dir` were closed, or written to under this boot and
/// mount, by a process that merely ended.
pub(super) fn is_trusted(dir: &Path) -> bool {
    match files::read_checked(&dir.join(MARK)) {
        // Made, and not opened before something failed.
        Ok(None) => true,
        Ok(Some(mark)) => mark == CLOSED || this_run(dir).is_some_and(|run| run == mark),
        Err(_) => false,
    }
}

/// Before sled writes.
pub(super) fn mark_opened(dir: &Path) -> Result<(), StoreError> {
    let mark = this_run(dir).unwrap_or_else(|| b"unknown".to_vec());
    files::write_checked(&dir.join(MARK), &mark)
}

/// When all is written and nothing will be: makes it safe, and says so.
pub(super) fn close(dir: &Path, engine: &Engine) -> Result<(), StoreError> {
    engine.sync()?;
    files::write_checked(&dir.join(MARK), CLOSED)
}

/// What changes with a boot, and when the file system is mounted again.
fn this_run(dir: &Path) -> Option<Vec<u8>> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = statx(CWD, dir, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let mount = (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)?;
    Some(format!("{} {mount}", boot.trim()).into_bytes())
}
