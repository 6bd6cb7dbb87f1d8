//! What this core appended and has not seen come back, in order. After any trouble all of it is
//! sent again, from the first on: whoever applies it takes each number once, in turn.
//!
//! Whom it is of is known here by a ticket. As what it stands in the log, an appender's id and a
//! number, may change until it is applied: when the log has forgotten this core, or takes one of them
//! never, the others go on under a new id. One that was on its way under the old id may then come
//! twice, which its event id makes up for.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::store::Appender;

/// Messages under way, numbered one after the other.
pub(super) struct Outbox {
    /// As whom this core appends, and as what the last one of `messages`.
    last: Appender,
    /// One came back in its turn under this id: the log knows it, or has forgotten it.
    has_landed: bool,
    messages: VecDeque<Sent>,
    /// Came back, but the engine has not said that it is safe.
    unconfirmed: Vec<u64>,
}

struct Sent {
    ticket: u64,
    number: u64,
    body: Bytes,
    is_confirmed: bool,
}

/// One to be sent.
pub(super) struct Send {
    pub ticket: u64,
    pub appender: Appender,
    /// See [`super::Message::body`].
    pub body: Bytes,
}

impl Outbox {
    pub fn new() -> Self {
        Self {
            last: new_appender(),
            has_landed: false,
            messages: VecDeque::new(),
            unconfirmed: Vec::new(),
        }
    }

    /// As whom this core appends.
    pub fn id(&self) -> u64 {
        self.last.id
    }

    /// Whether the log has taken something of this core under its id.
    pub fn has_landed(&self) -> bool {
        self.has_landed
    }

    pub fn push(&mut self, ticket: u64, body: Bytes) -> Send {
        self.last.number += 1;
        self.messages.push_back(Sent {
            ticket,
            number: self.last.number,
            body: body.clone(),
            is_confirmed: false,
        });
        Send {
            ticket,
            appender: self.last,
            body,
        }
    }

    /// One of ours came back in its turn. `None`: it did before.
    pub fn seen(&mut self, number: u64) -> Option<u64> {
        self.has_landed = true;
        let seen = self.messages.pop_front_if(|first| first.number == number)?;
        if !seen.is_confirmed {
            self.unconfirmed.push(seen.ticket);
        }
        Some(seen.ticket)
    }

    /// The engine says that it has this one safely.
    pub fn confirmed(&mut self, ticket: u64) {
        self.unconfirmed.retain(|waiting| *waiting != ticket);
        let under_way = self.messages.iter_mut();
        for sent in under_way.filter(|sent| sent.ticket == ticket) {
            sent.is_confirmed = true;
        }
    }

    /// Those that came back and were not confirmed: a log that was found whole afterwards has them.
    pub fn take_unconfirmed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unconfirmed)
    }

    /// All that is to be sent again.
    pub fn all(&self) -> Vec<Send> {
        let send = |sent: &Sent| Send {
            ticket: sent.ticket,
            appender: Appender {
                number: sent.number,
                ..self.last
            },
            body: sent.body.clone(),
        };
        self.messages.iter().map(send).collect()
    }

    /// From now on this core appends under a new id: what is under way is numbered anew.
    pub fn rename(&mut self) {
        self.last = new_appender();
        self.has_landed = false;
        for sent in &mut self.messages {
            self.last.number += 1;
            sent.number = self.last.number;
            sent.is_confirmed = false;
        }
    }

    /// Takes out what the engine never takes: gives the tickets, and how large each is.
    pub fn take_larger(&mut self, most: usize) -> Vec<(u64, usize)> {
        let mut larger = Vec::new();
        self.messages.retain(|sent| {
            let is_larger = sent.body.len() > most;
            if is_larger {
                larger.push((sent.ticket, sent.body.len()));
            }
            !is_larger
        });
        if !larger.is_empty() {
            // Those behind it would wait for their turn for ever.
            self.rename();
        }
        larger
    }
}

fn new_appender() -> Appender {
    Appender {
        id: fastrand::u64(1..),
        number: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(outbox: &Outbox) -> Vec<(u64, u64)> {
        let all = outbox.all().into_iter();
        all.map(|sent| (sent.ticket, sent.appender.number))
            .collect()
    }

    fn filled(sizes: &[usize]) -> Outbox {
        let mut outbox = Outbox::new();
        for (place, size) in sizes.iter().enumerate() {
            outbox.push(place as u64 + 11, vec![0; *size].into());
        }
        outbox
    }

    #[test]
    fn what_comes_back_in_turn_is_done_with() {
        let mut outbox = filled(&[0; 4]);
        outbox.confirmed(11);
        assert_eq!(outbox.seen(2), None, "ahead of its turn");
        assert_eq!(numbers(&outbox), [(11, 1), (12, 2), (13, 3), (14, 4)]);
        assert_eq!(outbox.seen(1), Some(11));
        assert_eq!(outbox.seen(1), None);
        assert_eq!(outbox.seen(2), Some(12));
        assert_eq!(numbers(&outbox), [(13, 3), (14, 4)]);
        outbox.seen(3);
        outbox.confirmed(13);
        assert_eq!(outbox.take_unconfirmed(), [12]);
        assert!(outbox.take_unconfirmed().is_empty());
        assert_eq!(numbers(&outbox), [(14, 4)]);
    }

    #[test]
    fn under_a_new_id_all_begin_anew() {
        let mut outbox = filled(&[0; 3]);
        outbox.confirmed(12);
        outbox.seen(1);
        let before = outbox.id();
        outbox.rename();
        assert_ne!(outbox.id(), before);
        assert_eq!(numbers(&outbox), [(12, 1), (13, 2)]);
        assert_eq!(outbox.push(14, Bytes::new()).appender.number, 3);
        assert_eq!(outbox.seen(1), Some(12));
        assert_eq!(outbox.take_unconfirmed(), [11, 12], "it is another message");
    }

    #[test]
    fn what_is_too_large_is_taken_out_and_holds_up_no_other() {
        let mut outbox = filled(&[5, 6, 7, 3]);
        let before = outbox.id();
        assert_eq!(outbox.take_larger(7), []);
        assert_eq!(outbox.id(), before);
        assert_eq!(outbox.take_larger(5), [(12, 6), (13, 7)]);
        assert_ne!(outbox.id(), before);
        assert_eq!(numbers(&outbox), [(11, 1), (14, 2)]);
    }
}
