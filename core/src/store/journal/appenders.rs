//! Who appends to a log that cores share, and how far each has come.
//!
//! A message that nobody answered for is sent again, and may then stand in the log twice. As with
//! Kafka's idempotent producers, each one is numbered by who appends it, and only the next one in
//! turn is applied: a copy is behind it, and one before which another was lost is ahead of it, and
//! will be sent again. Which is which follows from the log alone, so all cores agree.

use std::collections::BTreeMap;

use super::entry::Appender;

/// More are not remembered: each start of a core is one. The one that was silent for the longest is
/// forgotten first.
const REMEMBERED: usize = 256;

/// How far each appender has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Appenders {
    /// By id: the last number, and when it came, in turns of this.
    known: BTreeMap<u64, (u64, u64)>,
    turn: u64,
}

impl Appenders {
    /// Whether this is the next one in turn.
    pub fn is_next(&self, appender: Appender) -> bool {
        let last = self.known.get(&appender.id).map_or(0, |(last, _)| *last);
        // Behind the last number there is none, whoever said that it came.
        last.checked_add(1) == Some(appender.number)
    }

    /// Whether it is remembered: of one that is not, only the first one would be the next in turn.
    pub fn knows(&self, id: u64) -> bool {
        self.known.contains_key(&id)
    }

    /// These were applied.
    pub fn note(&mut self, appenders: &[Appender]) {
        for appender in appenders {
            self.turn += 1;
            self.known.insert(appender.id, (appender.number, self.turn));
            if self.known.len() > REMEMBERED {
                let oldest = self.known.iter().min_by_key(|(_, (_, turn))| *turn);
                if let Some(id) = oldest.map(|(id, _)| *id) {
                    self.known.remove(&id);
                }
            }
        }
    }

    /// All, in the order in which they were last heard of: noted so, they are the same again.
    pub fn all(&self) -> Vec<Appender> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_unstable_by_key(|(_, (_, turn))| *turn);
        all.into_iter()
            .map(|(id, (number, _))| Appender {
                id: *id,
                number: *number,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appender(id: u64, number: u64) -> Appender {
        Appender { id, number }
    }

    #[test]
    fn only_the_next_one_in_turn_is() {
        let mut appenders = Appenders::default();
        assert!(appenders.is_next(appender(7, 1)));
        assert!(!appenders.is_next(appender(7, 2)), "one is missing");
        appenders.note(&[appender(7, 1), appender(7, 2), appender(8, 1)]);
        assert!(!appenders.is_next(appender(7, 2)), "a copy");
        assert!(appenders.is_next(appender(7, 3)));
        assert!(appenders.is_next(appender(8, 2)));
    }

    #[test]
    fn the_longest_silent_is_forgotten_the_same_way_after_a_restart() {
        let mut appenders = Appenders::default();
        for id in 0..REMEMBERED as u64 {
            appenders.note(&[appender(id, 1)]);
        }
        appenders.note(&[appender(0, 2)]);
        let mut again = Appenders::default();
        again.note(&appenders.all());
        for mut appenders in [appenders, again] {
            appenders.note(&[appender(1000, 1)]);
            assert!(appenders.is_next(appender(1, 1)), "forgotten");
            assert!(appenders.is_next(appender(0, 3)), "remembered");
            assert_eq!(appenders.all().len(), REMEMBERED);
        }
    }
}
