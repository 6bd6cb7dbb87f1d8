//! Within which traces recent notifications were published, for those who deliver them. It is not stored, and only
//! the core that published something knows it.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use crate::entry::Sequence;

/// Notifications that it is known of, the newest: more than any relay that is not behind has yet to send.
const KEPT: usize = 1024;

/// By sequence, the `traceparent` of traces that are recorded.
#[derive(Default)]
pub struct Traced {
    /// There has been any: as long as nobody traces, nothing is looked up.
    any: AtomicBool,
    recent: Mutex<VecDeque<(Sequence, Box<str>)>>,
}

impl Traced {
    /// Notes it; to be called in sequence order, before readers get the notification.
    pub fn note(&self, sequence: Sequence, traceparent: Box<str>) {
        let mut recent = self.recent.lock();
        if recent.back().is_some_and(|(last, _)| *last >= sequence) {
            return;
        }
        if recent.len() >= KEPT {
            recent.pop_front();
        }
        recent.push_back((sequence, traceparent));
        self.any.store(true, Ordering::Release);
    }

    /// Within which trace this was published.
    pub fn of(&self, sequence: Sequence) -> Option<Box<str>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let recent = self.recent.lock();
        let place = recent.binary_search_by_key(&sequence, |(of, _)| *of).ok()?;
        recent
            .get(place)
            .map(|(_, traceparent)| traceparent.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known() {
        let traced = Traced::default();
        assert_eq!(traced.of(1), None);
        for sequence in 0..KEPT as u64 + 2 {
            traced.note(2 * sequence, sequence.to_string().into());
        }
        traced.note(6, "late".into());
        assert_eq!(traced.of(2), None, "forgotten");
        assert_eq!(traced.of(5), None, "not traced");
        assert_eq!(traced.of(6).as_deref(), Some("3"));
        assert_eq!(traced.recent.lock().len(), KEPT);
    }
}
