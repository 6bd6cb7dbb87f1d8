//! Who brings an entry writes it to the streams that have nothing else to do, so that a delivery wakes
//! nobody: a write(2) costs less than a task and its wake-up. What a socket doesn't take is left to the
//! stream's task.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{line::Line, mailbox::End, sse::Event};

/// Streams that are written to in one go, before others have their turn.
const ROUND: usize = 64;
/// Streams or users whose memory is asked for together, before they are gone through one after the other.
pub(crate) const TOUCHED: usize = 16;

/// A line on loan from its mailbox, for one entry. It goes back when this is dropped; without the entry, its
/// stream is cut, and who reads it resumes: no other entry may take its place.
#[must_use]
pub(crate) struct Loan {
    line: Option<Box<Line>>,
    is_delivered: bool,
}

impl Loan {
    pub fn new(line: Box<Line>) -> Self {
        Self {
            line: Some(line),
            is_delivered: false,
        }
    }

    fn touch(&self) {
        if let Some(line) = &self.line {
            line.touch();
        }
    }

    fn deliver(mut self, event: &Event, now: Instant) {
        if let Some(line) = &mut self.line {
            line.deliver(event, true, now);
            self.is_delivered = true;
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let mailbox = line.feed.mailbox().clone();
            if !self.is_delivered {
                mailbox.end(End::Cut);
            }
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

fn write(event: &Event, mut loans: Vec<Loan>) {
    let now = Instant::now();
    while !loans.is_empty() {
        let some = loans.drain(..loans.len().min(TOUCHED));
        some.as_slice().iter().for_each(Loan::touch);
        for loan in some {
            loan.deliver(event, now);
        }
    }
}
