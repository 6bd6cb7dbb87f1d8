//! A server process: its time on the CPU and its memory, by the kernel's accounting.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A process that is killed when this is dropped.
pub struct Server {
    pub name: &'static str,
    child: Child,
}

impl Server {
    /// Starts it; its log is thrown away but for the first line that has `ready` in it, which is
    /// returned.
    pub fn start(name: &'static str, command: &mut Command, ready: &str) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        let log = child.stderr.take().expect("piped");
        let server = Self { name, child };
        if ready.is_empty() {
            return (server, String::new());
        }
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut said = String::new();
        for line in lines.by_ref() {
            if line.contains(ready) {
                std::thread::spawn(move || lines.for_each(drop));
                return (server, line);
            }
            said.push_str(&line);
            said.push('\n');
        }
        panic!("{name} ended before it was ready:\n{said}");
    }

    /// Time on the CPU of each of its threads, and of its children's (nginx' workers).
    pub fn cpu(&self) -> Cpu {
        Cpu(pids(self.child.id())
            .into_iter()
            .flat_map(threads)
            .collect())
    }

    /// Proportional set size: its memory, what is shared with others in part.
    pub fn pss(&self) -> u64 {
        pids(self.child.id()).iter().map(|pid| pss(*pid)).sum()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits.
    fn terminate(&mut self) {
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.is_alive() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// The process and its children.
fn pids(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

/// Nanoseconds on the CPU, by thread.
pub struct Cpu(HashMap<u32, u64>);

impl Cpu {
    /// What was used since. A thread that ended meanwhile takes its figure with it: tokio's blocking
    /// threads do after ten idle seconds, and what they did before must not be taken off the others'.
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, after)| {
            let before = before.0.get(thread).copied().unwrap_or(0);
            after.saturating_sub(before)
        });
        Duration::from_nanos(used.sum())
    }
}

/// Nanoseconds on the CPU of every thread of a process.
fn threads(pid: u32) -> Vec<(u32, u64)> {
    let of_thread = |thread: fs::DirEntry| -> Option<(u32, u64)> {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let time = stat.split_whitespace().next()?.parse().ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, time))
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads.filter_map(of_thread).collect()
}

/// Bytes.
fn pss(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Waits until something listens there.
pub fn wait_for_port(address: std::net::SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nothing listens at {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
