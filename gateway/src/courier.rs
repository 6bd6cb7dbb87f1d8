//! Who brings an entry writes it to the streams that have nothing else to do, so that a delivery wakes
//! nobody: a write(2) costs less than a task and its wake-up. What a socket doesn't take is left to the
//! stream's task.

use std::sync::Arc;

use crate::{line::Line, sse::Event};

/// Streams that are written to in one go, before others have their turn.
const ROUND: usize = 64;

/// A line on loan from its mailbox. It goes back when this is dropped.
pub(crate) struct Loan(Option<Box<Line>>);

impl Loan {
    pub fn new(line: Box<Line>) -> Self {
        Self(Some(line))
    }

    fn deliver(&mut self, event: &Event) {
        if let Some(line) = &mut self.0 {
            line.deliver(event, true);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            let mailbox = line.feed.mailbox().clone();
            mailbox.give_back(line);
        }
    }
}

/// Brings an entry to these streams: to a few at once; to many by tasks that share the workers.
pub(crate) fn bring(event: &Arc<Event>, mut loans: Vec<Loan>) {
    while loans.len() > ROUND {
        let event = event.clone();
        let some = loans.split_off(loans.len() - ROUND);
        tokio::spawn(async move { write(&event, some) });
    }
    write(event, loans);
}

fn write(event: &Event, loans: Vec<Loan>) {
    for mut loan in loans {
        loan.deliver(event);
    }
}
