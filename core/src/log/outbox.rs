//! What this core appended and has not seen come back, in order. After any trouble all of it is
//! sent again, from the first on: whoever applies it takes each number once, in turn.

use std::collections::VecDeque;

use bytes::Bytes;

/// Messages under way, numbered one after the other.
#[derive(Default)]
pub(super) struct Outbox {
    messages: VecDeque<Sent>,
    /// Came back, but the engine has not said that it is safe.
    unconfirmed: Vec<u64>,
}

pub(super) struct Sent {
    pub number: u64,
    pub payload: Bytes,
    is_confirmed: bool,
}

impl Outbox {
    pub fn push(&mut self, number: u64, payload: Bytes) {
        self.messages.push_back(Sent {
            number,
            payload,
            is_confirmed: false,
        });
    }

    /// One of ours came back. One ahead of its turn is passed over, as by all who apply it.
    pub fn seen(&mut self, number: u64) {
        let seen = self.messages.pop_front_if(|first| first.number == number);
        if seen.is_some_and(|seen| !seen.is_confirmed) {
            self.unconfirmed.push(number);
        }
    }

    /// The engine says that it has this one safely.
    pub fn confirmed(&mut self, number: u64) {
        self.unconfirmed.retain(|waiting| *waiting != number);
        let under_way = self.messages.iter_mut();
        for sent in under_way.filter(|sent| sent.number == number) {
            sent.is_confirmed = true;
        }
    }

    /// Those that came back and were not confirmed: a log that was found whole afterwards has them.
    pub fn take_unconfirmed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unconfirmed)
    }

    /// All that is to be sent again.
    pub fn all(&self) -> impl Iterator<Item = &Sent> {
        self.messages.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(outbox: &Outbox) -> Vec<u64> {
        outbox.all().map(|sent| sent.number).collect()
    }

    #[test]
    fn what_comes_back_in_turn_is_done_with() {
        let mut outbox = Outbox::default();
        for number in 1..=4 {
            outbox.push(number, Bytes::new());
        }
        outbox.confirmed(1);
        outbox.seen(2);
        assert_eq!(numbers(&outbox), [1, 2, 3, 4], "ahead of its turn");
        outbox.seen(1);
        outbox.seen(1);
        outbox.seen(2);
        assert_eq!(numbers(&outbox), [3, 4]);
        outbox.seen(3);
        outbox.confirmed(3);
        assert_eq!(outbox.take_unconfirmed(), [2]);
        assert!(outbox.take_unconfirmed().is_empty());
        assert_eq!(numbers(&outbox), [4]);
    }
}
