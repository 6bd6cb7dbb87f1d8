//! The pace of who writes, where packing can't keep up with it. Each sealed segment that is not packed
//! yet takes some 30 MiB of disk and memory, so what is written for long has to be no more than what is
//! packed: with so many waiting the writer rests after each batch, the longer the more there are. It
//! goes on always, at a quarter of its speed at least: packing may find no room.

use std::time::Duration;

use super::{Store, StoreSettings};

/// The longest rest, as a multiple of the work before it.
const REST_MAX: f64 = 3.0;
/// And in time: what waits for the writer waits no longer for that.
const REST_TIME_MAX: Duration = Duration::from_millis(100);

impl Store {
    /// How long to rest after so much work.
    #[must_use]
    pub fn rest_after(&self, worked: Duration) -> Duration {
        let (mut rows, mut bytes) = (0, 0);
        let state = self.0.state.read();
        // The oldest is packed first.
        let waiting = state.sealed.iter().rev();
        for segment in waiting.take_while(|segment| !segment.is_packed()) {
            rows += segment.meta.rows;
            bytes += segment.written();
        }
        drop(state);
        let times = rest(rows, bytes, &self.0.settings);
        worked.mul_f64(times).min(REST_TIME_MAX)
    }
}

/// How many times as long as the work before it a rest is to be.
fn rest(rows: u64, bytes: u64, settings: &StoreSettings) -> f64 {
    let by_rows = rows as f64 / settings.unpacked_rows as f64;
    let by_bytes = bytes as f64 / settings.unpacked_bytes as f64;
    (by_rows.max(by_bytes) - 1.0).clamp(0.0, REST_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::entry::{Audience, Entry, Published};

    use super::{
        super::{Batch, Retention},
        *,
    };

    #[test]
    fn the_more_waits_the_longer_the_rest_and_never_for_good() {
        let settings = StoreSettings {
            unpacked_rows: 100,
            unpacked_bytes: 1000,
            ..StoreSettings::default()
        };
        let times = [
            (0, 0),
            (100, 1000),
            (150, 0),
            (0, 1500),
            (200, 0),
            (150, 3000),
        ];
        let expected = [0.0, 0.0, 0.5, 0.5, 1.0, 2.0];
        assert_eq!(
            times.map(|(rows, bytes)| rest(rows, bytes, &settings)),
            expected
        );
        assert_eq!(rest(u64::MAX, u64::MAX, &settings), REST_MAX);
    }

    #[test]
    fn what_is_packed_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            segment_rows: 10,
            unpacked_rows: 20,
            ..StoreSettings::default()
        };
        let store = Store::open(dir.path(), settings, Retention::default()).unwrap();
        let worked = Duration::from_millis(10);
        let publish = |rows| {
            for _ in 0..rows {
                let published = Published {
                    at: 1,
                    source_id: "s".into(),
                    event_id: fastrand::u64(..).to_string(),
                    topic: "".into(),
                    data: "d".into(),
                    expires_at: None,
                };
                let mut batch = Batch::new(&store);
                let entry = Entry::Published(Audience::Everyone, Arc::new(published));
                batch.apply(batch.next_sequence(), entry).unwrap();
                batch.commit().unwrap();
                store.roll_if_full().unwrap();
            }
        };
        publish(29);
        assert_eq!(store.rest_after(worked), Duration::ZERO);
        publish(11);
        assert_eq!(store.rest_after(worked), worked);
        assert_eq!(store.rest_after(Duration::from_secs(9)), REST_TIME_MAX);
        while store.pack_one(1).unwrap() {}
        assert_eq!(store.rest_after(worked), Duration::ZERO);
    }
}
