//! Which log: a number of its own from its creation on, and how its places become sequences.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::entry::Sequence;

/// A message's place in a shared log: from 1, without holes.
pub type Position = u64;

/// The most entries in one message of a shared log.
pub const ENTRIES_MAX: usize = 1 << INDEX_BITS;

/// Sequences are JSON numbers: below 2^53 they are exact in every language.
pub const SEQUENCE_MAX: Sequence = (1 << 53) - 1;

const INDEX_BITS: u32 = 12;

/// A shared log's identity. It never changes, and a core's data belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId {
    /// Made at random when the log was created.
    pub id: Uuid,
    /// Its sequences are above this one: what a store had before it was moved here.
    pub base: Sequence,
}

impl LogId {
    /// That of a new log.
    #[must_use]
    pub fn new(base: Sequence) -> Self {
        Self {
            id: Uuid::new_v4(),
            base,
        }
    }

    /// The sequence of an entry: from its message's place, and its own in the message. `None`:
    /// beyond [`SEQUENCE_MAX`].
    #[must_use]
    pub fn sequence(&self, position: Position, index: usize) -> Option<Sequence> {
        let sequence = position
            .checked_mul(1 << INDEX_BITS)?
            .checked_add(u64::try_from(index).ok()?)?
            .checked_add(self.base)?;
        (sequence <= SEQUENCE_MAX && index < ENTRIES_MAX).then_some(sequence)
    }

    /// The last sequence that an entry of this message can have.
    #[must_use]
    pub fn through(&self, position: Position) -> Option<Sequence> {
        self.sequence(position, ENTRIES_MAX - 1)
    }

    /// The message that a sequence is of; 0: it is from before this log.
    #[must_use]
    pub fn position(&self, sequence: Sequence) -> Position {
        sequence.saturating_sub(self.base) >> INDEX_BITS
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.base)
    }
}

impl FromStr for LogId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, base) = text.trim().split_once(' ').ok_or(())?;
        Ok(Self {
            id: id.parse().map_err(|_| ())?,
            base: base.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_sequences_and_back() {
        for base in [0, 1, 4095, 4096, 123_456] {
            let log = LogId::new(base);
            let mut last = base;
            for position in 1..5 {
                for index in [0, 1, ENTRIES_MAX - 1] {
                    let sequence = log.sequence(position, index).unwrap();
                    assert!(sequence > last);
                    assert_eq!(log.position(sequence), position);
                    last = sequence;
                }
                assert_eq!(log.through(position), Some(last));
            }
            assert_eq!(log.position(base), 0);
            assert_eq!(log.to_string().parse(), Ok(log));
        }
    }

    #[test]
    fn no_sequence_is_beyond_what_json_can_say() {
        let log = LogId::new(0);
        let most = SEQUENCE_MAX >> INDEX_BITS;
        assert_eq!(log.through(most), Some(SEQUENCE_MAX));
        assert_eq!(log.sequence(most + 1, 0), None);
        assert_eq!(log.sequence(u64::MAX, 0), None);
        assert_eq!(log.sequence(1, ENTRIES_MAX), None);
        assert_eq!(LogId::new(SEQUENCE_MAX).sequence(1, 0), None);
    }
}
