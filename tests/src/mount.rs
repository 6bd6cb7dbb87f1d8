//! Small file systems of a test's own: a tmpfs that fills up, an ext4 whose power is cut.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::tools::{notice, run};

/// A mounted file system; unmounted on `Drop`. Declare it before the process that uses it.
pub struct Mount {
    directory: TempDir,
    source: Source,
}

enum Source {
    Tmpfs(String),
    /// An image file, attached to a loop device at each mount.
    Image(PathBuf),
}

impl Mount {
    /// A tmpfs of so many MiB. `None`, with a notice, where mounting is not allowed.
    pub fn tmpfs(mib: u32) -> Option<Mount> {
        Self::first(Source::Tmpfs(format!("size={mib}m")))
    }

    /// An ext4 in a file of so many MiB. `None`, with a notice, where loop mounts are not allowed.
    pub fn ext4(mib: u32) -> Option<Mount> {
        let directory = TempDir::new().expect("a temporary directory");
        let image = directory.path().join("image");
        let file = File::create(&image).expect("create the image");
        file.set_len(u64::from(mib) << 20).expect("size the image");
        let made = run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        if let Err(error) = made {
            notice(&format!("no ext4 image: {error}"));
            return None;
        }
        let mount = Mount {
            directory,
            source: Source::Image(image),
        };
        mount.try_mount()
    }

    fn first(source: Source) -> Option<Mount> {
        let directory = TempDir::new().expect("a temporary directory");
        Mount { directory, source }.try_mount()
    }

    fn try_mount(self) -> Option<Mount> {
        std::fs::create_dir(self.path()).expect("create the mount point");
        if let Err(error) = self.mount_now() {
            notice(&format!("mounting is not allowed here: {error}"));
            return None;
        }
        Some(self)
    }

    fn mount_now(&self) -> Result<(), String> {
        let mut command = Command::new("mount");
        match &self.source {
            Source::Tmpfs(options) => command.args(["-t", "tmpfs", "-o", options, "tmpfs"]),
            Source::Image(image) => command.args(["-t", "ext4", "-o", "loop"]).arg(image),
        };
        run(command.arg(self.path())).map(drop)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// Fills it up to so many free bytes; gives the file to be removed.
    pub fn fill(&self, leave: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).expect("create a file");
        let chunk = vec![1; 64 * 1024];
        while file.write_all(&chunk).is_ok() {}
        let length = file.metadata().expect("ask for its length").len();
        let shorter = file.set_len(length.saturating_sub(leave));
        shorter.expect("make room");
        path
    }

    /// Cuts the power (ext4 only): see `tools/cut_power.py`.
    pub fn cut_power(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cut_power.py");
        run(Command::new("python3").arg(script).arg(self.path())).expect("cut the power");
    }

    /// Unmounts it and mounts it again, as after a restart. No process may use it.
    pub fn remount(&self) {
        run(Command::new("umount").arg(self.path())).expect("unmount");
        self.mount_now().expect("mount again");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may still hold a file.
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}
