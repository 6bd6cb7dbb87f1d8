//! A child process: its output captured line by line, signals, and an end on `Drop`.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::sync::watch;

use crate::{
    binary, leaks,
    wait::{eventually, within},
};

/// A running (or ended) child process.
///
/// Dropping it kills it. Where the test is failing, the end of its log is printed; where it is
/// not, a panic found in its log fails the test, and so does a secret or a body in that of a
/// `mercurio` ([`leaks`]).
pub struct Process {
    name: String,
    child: Child,
    /// Lines of standard output.
    pub stdout: Lines,
    /// Lines of standard error: the log.
    pub stderr: Lines,
    /// False where a test makes the process panic on purpose.
    pub panics_fail: bool,
    /// Whether its log is looked through for what must not be in it.
    pub leaks_fail: bool,
}

impl Process {
    /// Starts it with both outputs captured and no standard input.
    pub fn spawn(name: &str, command: &mut Command) -> Process {
        Self::spawn_with_input(name, command.stdin(Stdio::null()))
    }

    /// Starts it with both outputs captured; standard input is as the command says.
    pub fn spawn_with_input(name: &str, command: &mut Command) -> Process {
        let leaks_fail = command.get_program() == binary::mercurio();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        let stdout = Lines::read(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::read(child.stderr.take().expect("stderr is piped"));
        Process {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            panics_fail: true,
            leaks_fail,
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input, where the command asked for one.
    pub fn stdin(&mut self) -> &mut std::process::ChildStdin {
        self.child.stdin.as_mut().expect("standard input is piped")
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        // Only fails where it has already ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal; nothing happens where the process has ended.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill_process(Pid::from_raw(id).expect("a process id"), signal);
    }

    /// Its exit status, where it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for the child")
    }

    /// Waits for its end; panics when it has not ended within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = Mutex::new(&mut self.child);
        eventually(&what, limit, async || {
            child
                .lock()
                .unwrap()
                .try_wait()
                .expect("wait for the child")
        })
        .await
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("read /proc/PID/status");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .expect("VmRSS");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") * 1024
    }
}

impl Process {
    /// Who reads commands ends with them, and has others to end first: a Firefox outlives who
    /// started it.
    fn ask_to_end(&mut self) {
        if self.child.stdin.take().is_none() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_end();
        self.kill();
        self.stderr.end(Duration::from_secs(2));
        let log = self.stderr.all();
        let leak = self.leaks_fail.then(|| leaks::find(&log)).flatten();
        if thread::panicking() {
            let from = log.len().saturating_sub(40);
            eprintln!(
                "--- {} (process {}), end of its log:",
                self.name,
                self.child.id()
            );
            for line in &log[from..] {
                eprintln!("    {line}");
            }
            if let Some(leak) = leak {
                eprintln!("--- {} had {leak}", self.name);
            }
            return;
        }
        if self.panics_fail {
            let panic = log.iter().find(|line| line.contains("panicked at"));
            assert!(
                panic.is_none(),
                "{} panicked: {}",
                self.name,
                panic.unwrap()
            );
        }
        if let Some(leak) = leak {
            panic!("{} had {leak}", self.name);
        }
    }
}

/// The lines a stream has brought so far, and a way to wait for one.
#[derive(Clone)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Sends how many there are; closed at the stream's end.
    count: watch::Receiver<usize>,
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Lines {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        let shared = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                let mut lines = shared.lock().unwrap();
                lines.push(plain(&String::from_utf8_lossy(&line)));
                sender.send_replace(lines.len());
            }
        });
        Lines { lines, count }
    }

    /// Waits for the stream's end, for so long; whoever else holds it may keep it open.
    fn end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.count.has_changed().is_ok() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// All lines so far as one text.
    pub fn text(&self) -> String {
        self.all().join("\n")
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nth line from 0, waiting for it; `None` where the stream ends before.
    pub async fn nth(&self, n: usize) -> Option<String> {
        let mut count = self.count.clone();
        // Fails at the stream's end.
        let _ = count.wait_for(|count| *count > n).await;
        self.lines.lock().unwrap().get(n).cloned()
    }

    /// The first line that the test accepts, waiting for it; `None` at the stream's end.
    pub async fn find(&self, accepts: impl Fn(&str) -> bool) -> Option<String> {
        let mut count = self.count.clone();
        let mut seen = 0;
        loop {
            let now = *count.borrow_and_update();
            {
                let lines = self.lines.lock().unwrap();
                if let Some(line) = lines[seen..now].iter().find(|line| accepts(line)) {
                    return Some(line.clone());
                }
            }
            seen = now;
            if count.changed().await.is_err() && *count.borrow() == seen {
                return None;
            }
        }
    }

    /// The first line containing `text`; panics when it has not come within `limit`.
    pub async fn wait_for(&self, text: &str, limit: Duration) -> String {
        let found = within(text, limit, self.find(|line| line.contains(text))).await;
        found.unwrap_or_else(|| panic!("ended without {text:?}; said:\n{}", self.text()))
    }

    /// Waits for the stream's end and gives everything as one text.
    pub async fn to_end(&self, limit: Duration) -> String {
        within("the end of the output", limit, self.find(|_| false)).await;
        self.text()
    }
}

/// A line without colour codes and line ends.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.trim_end_matches('\r').chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // ESC [ … letter
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}
