//! A recipient's read marks as one compact value: runs of notifications read at the same time.

use crate::entry::{Millis, Sequence};

/// Notifications read at the same time and with nothing else of the recipient's between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub first: Sequence,
    pub last: Sequence,
    pub at: Millis,
}

/// All read marks of a recipient: disjoint runs, ascending. It grows with the number of times
/// the recipient marked something, not with the number of notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadSet(Vec<Run>);

impl ReadSet {
    /// When the notification was read.
    pub fn read_at(&self, id: Sequence) -> Option<Millis> {
        let run = self.0.get(self.0.partition_point(|run| run.last < id))?;
        (run.first <= id).then_some(run.at)
    }

    /// The runs, ascending.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// Adds the recipient's next notification, ascending. `follows` says that it stands right
    /// behind the one pushed before, with nothing unread between them.
    pub fn push(&mut self, id: Sequence, at: Millis, follows: bool) {
        match self.0.last_mut() {
            Some(run) if follows && run.at == at => run.last = id,
            _ => self.0.push(Run {
                first: id,
                last: id,
                at,
            }),
        }
    }

    /// From stored runs; `None` unless they are ascending and disjoint.
    pub fn from_runs(runs: Vec<Run>) -> Option<Self> {
        let whole = runs.iter().all(|run| run.first <= run.last);
        let ascending = runs.windows(2).all(|pair| pair[0].last < pair[1].first);
        (whole && ascending).then_some(Self(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_one_moment_share_a_run() {
        let mut reads = ReadSet::default();
        reads.push(3, 10, false);
        reads.push(7, 10, true);
        reads.push(9, 11, true);
        reads.push(20, 11, false);
        assert_eq!(reads.runs().len(), 3);
        assert_eq!(reads.read_at(3), Some(10));
        assert_eq!(reads.read_at(7), Some(10));
        assert_eq!(reads.read_at(8), None);
        assert_eq!(reads.read_at(9), Some(11));
        assert_eq!(reads.read_at(2), None);
        assert_eq!(reads.read_at(21), None);
    }
}
