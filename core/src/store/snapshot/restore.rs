//! A data directory made of a backup on this machine.

use std::{fs::File, io::Read, io::Seek, io::SeekFrom, path::Path};

use super::{
    super::StoreError,
    import::{Import, corrupt},
    manifest::{self, Manifest, ManifestFile},
};

/// Copies a backup into a data directory, which must have no data, and checks every byte of it. What
/// was cut short is gone on with. Blocks.
///
/// # Errors
/// It is no backup, is damaged, or can't be written.
pub fn restore(backup: &Path, dir: &Path) -> Result<Manifest, StoreError> {
    let manifest = manifest::read(backup)?.ok_or_else(|| {
        let message = "it has no file `MANIFEST`: it is no backup, or a service has used it since";
        corrupt(backup, message)
    })?;
    let mut import = Import::open(dir)?;
    import.adopt(manifest.clone(), None)?;
    for file in &manifest.files {
        let path = backup.join("segments").join(&file.name);
        // Where what had come before was not what it should be, all of it is copied again.
        if !copy(&path, &import, file)? && !copy(&path, &import, file)? {
            return Err(StoreError::Corrupt {
                dir: path,
                message: "it is not what was backed up".into(),
            });
        }
    }
    import.finish()?;
    Ok(manifest)
}

fn copy(path: &Path, import: &Import, file: &ManifestFile) -> Result<bool, StoreError> {
    let failed = || StoreError::io("read", path);
    let mut incoming = import.file(file)()?;
    let mut from = File::open(path).map_err(failed())?;
    let start = SeekFrom::Start(incoming.offset());
    from.seek(start).map_err(failed())?;
    let mut part = vec![0; 256 << 10];
    while !incoming.is_complete() {
        let read = from.read(&mut part).map_err(failed())?;
        if read == 0 {
            break;
        }
        incoming.write(&part[..read])?;
    }
    incoming.finish()
}
