//! What a client that others wrote says of its stream, one JSON a line: a program, or a page.

use serde_json::Value;

use crate::{
    process::{Lines, Process},
    wait::{SOON, within},
};

/// What it says, in its order.
pub struct Said {
    lines: Lines,
    /// How its lines begin.
    start: String,
    taken: usize,
}

impl Said {
    /// By a program.
    pub fn by(program: &Process) -> Said {
        Self::beginning(program.stdout.clone(), "{".to_owned())
    }

    /// By whoever's lines begin like this.
    pub(crate) fn beginning(lines: Lines, start: String) -> Said {
        Said {
            lines,
            start,
            taken: 0,
        }
    }

    /// The next thing it says.
    pub async fn next(&mut self) -> Value {
        loop {
            let line = self.lines.nth(self.taken);
            let line = within("it says something", SOON, line).await;
            let line = line.expect("it has not ended");
            self.taken += 1;
            if !line.starts_with(&self.start) {
                continue;
            }
            let mut said: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            return match said.get_mut("said") {
                Some(by_page) => by_page.take(),
                None => said,
            };
        }
    }

    /// The next thing of this type, others passed over.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let said = self.next().await;
            if said["type"] == kind {
                return said;
            }
        }
    }
}
