//! How many of something each has open at once, in memory that is bounded by what is open.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// How many of something each has open. Holds nothing of who has none.
pub struct Counts<K> {
    open: Mutex<HashMap<K, usize>>,
    most: usize,
}

impl<K: Hash + Eq + Copy> Counts<K> {
    /// At most so many for each.
    pub fn new(most: usize) -> Self {
        Self {
            open: Mutex::default(),
            most,
        }
    }

    /// Counts one in until what is returned is dropped; `None`: there are as many as may be.
    pub fn open(self: &Arc<Self>, key: K) -> Option<Counted<K>> {
        let mut open = self.open.lock();
        let count = open.get(&key).copied().unwrap_or_default();
        if count >= self.most {
            return None;
        }
        open.insert(key, count + 1);
        drop(open);
        Some(Counted {
            counts: self.clone(),
            key,
        })
    }
}

/// One that is counted.
pub struct Counted<K: Hash + Eq + Copy> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Hash + Eq + Copy> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_who_has_none_is_forgotten() {
        let counts = Arc::new(Counts::new(2));
        let first = counts.open(1).unwrap();
        let second = counts.open(1).unwrap();
        assert!(counts.open(1).is_none());
        let other = counts.open(2).unwrap();
        drop(first);
        let third = counts.open(1).unwrap();
        drop((second, third, other));
        assert!(counts.open.lock().is_empty());
    }
}
