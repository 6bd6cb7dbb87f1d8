//! A stream as curl receives it: the reader that everybody has at hand.

use std::{collections::VecDeque, path::Path, process::Command};

use crate::{
    process::Process,
    sse::{Event, Item, Parser},
    wait::{SOON, within},
};

/// A running curl, whose output is read as it comes.
pub struct Curl {
    process: Process,
    /// Lines that were taken.
    taken: usize,
    parser: Parser,
    ready: VecDeque<Item>,
}

impl Curl {
    /// Runs `curl --no-buffer --include` with these arguments besides.
    pub fn open(curl: &Path, args: &[&str]) -> Curl {
        let mut command = Command::new(curl);
        command.args(["--silent", "--show-error", "--no-buffer", "--include"]);
        Curl {
            process: Process::spawn("curl", command.args(args)),
            taken: 0,
            parser: Parser::default(),
            ready: VecDeque::new(),
        }
    }

    /// The head's lines; names in lower case as HTTP/2 has them.
    pub async fn head(&mut self) -> Vec<String> {
        let mut head = Vec::new();
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let line = match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
                None => line,
            };
            head.push(line.trim_end().to_owned());
        }
        head
    }

    /// The next item of the stream; `None` at its end.
    pub async fn item(&mut self) -> Option<Item> {
        if self.taken == 0 {
            self.head().await;
        }
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let line = self.line().await? + "\n";
            self.ready.extend(self.parser.push(line.as_bytes()));
        }
    }

    /// The next event, comments passed over; `None` at the stream's end.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Item::Event(event) = self.item().await? {
                return Some(event);
            }
        }
    }

    /// The next event, which has to be of this type.
    pub async fn expect(&mut self, name: &str) -> Event {
        let event = self.event().await;
        let event = event.unwrap_or_else(|| panic!("ended: {}", self.process.stderr.text()));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// Waits for its end; its exit status.
    pub async fn end(mut self) -> Option<i32> {
        self.process.wait(SOON).await.code()
    }

    async fn line(&mut self) -> Option<String> {
        let line = self.process.stdout.nth(self.taken);
        let line = within("curl's next line", SOON, line).await;
        self.taken += usize::from(line.is_some());
        line
    }
}
