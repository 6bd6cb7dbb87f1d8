//! How often somebody may do something: a token bucket for each, in bounded memory.

use std::{hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};
use quick_cache::{UnitWeighter, sync::Cache};

/// Seconds of the rate that may be used up at once.
pub const BURST_SECONDS: u32 = 10;
/// Buckets that are kept. One that was not used for long makes room for another, and is full when
/// it comes back.
const BUCKETS: usize = 100_000;

/// Rates of many, each with a bucket of its own that holds [`BURST_SECONDS`] of the rate.
///
/// A look costs a shard's lock for reading. Memory is bounded: about 100 bytes for each of at most
/// 100,000 keys, and nothing while there is no limit.
pub struct Rates<K: Hash + Eq + Clone> {
    /// `None`: no limit.
    limiter: Option<RateLimiter<K, Buckets<K>, DefaultClock, NoOpMiddleware>>,
    burst: u32,
}

struct Buckets<K>(Cache<K, Arc<InMemoryState>>);

impl<K: Hash + Eq + Clone> Rates<K> {
    /// So many a second for each; 0: no limit.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let burst = per_second.saturating_mul(BURST_SECONDS);
        let quota = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst));
        let limiter = quota.map(|(rate, burst)| {
            let buckets = Buckets(Cache::with_weighter(0, BUCKETS as u64, UnitWeighter));
            let quota = Quota::per_second(rate).allow_burst(burst);
            RateLimiter::new(quota, buckets, DefaultClock::default())
        });
        Self { limiter, burst }
    }

    /// Takes one from the bucket of `key`.
    ///
    /// # Errors
    /// It is empty: how long until there is one. Nothing is taken then.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_many(key, 1)
    }

    /// Takes so many at once; at most all that a bucket holds.
    ///
    /// # Errors
    /// There are not so many in it: how long until there are. Nothing is taken then.
    pub fn take_many(&self, key: &K, count: u32) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let count = NonZeroU32::new(count.clamp(1, self.burst)).unwrap_or(NonZeroU32::MIN);
        match limiter.check_key_n(key, count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(refused.wait_time_from(limiter.clock().now())),
            // More than a bucket holds; the clamp above keeps it from coming to this.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Buckets<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, change: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let bucket = self.0.get(key).unwrap_or_else(|| {
            // Two who come first at once may get one each: one request too many is let through.
            let bucket = Arc::new(InMemoryState::default());
            self.0.insert(key.clone(), bucket.clone());
            bucket
        });
        bucket.measure_and_replace(&NotKeyed::NonKey, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bucket_and_is_told_when_there_is_more() {
        let rates = Rates::new(1);
        for _ in 0..BURST_SECONDS {
            assert_eq!(rates.take(&"ada"), Ok(()));
        }
        let wait = rates.take(&"ada").unwrap_err();
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        // Bob is not concerned; what is more than a bucket takes all of it.
        assert_eq!(rates.take_many(&"bob", 1000), Ok(()));
        let wait = rates.take_many(&"bob", 5).unwrap_err();
        assert!(
            wait > Duration::from_secs(3) && wait <= Duration::from_secs(5),
            "{wait:?}"
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let rates = Rates::new(0);
        assert!((0..10_000).all(|_| rates.take_many(&(), u32::MAX).is_ok()));
    }

    #[test]
    fn memory_is_bounded_and_who_comes_often_stays() {
        let rates = Rates::new(1);
        let often = u32::MAX;
        while rates.take(&often).is_ok() {}
        let mut again = 0;
        for key in 0..10 * BUCKETS as u32 {
            let _ = rates.take(&key);
            again += u32::from(key % 100 == 0 && rates.take(&often).is_ok());
        }
        // What came back with the time; forgotten, it would have had hundreds of full buckets.
        assert!(again < 1_000, "{again}");
        let kept = rates.limiter.unwrap().into_state_store().0.len();
        assert!(kept <= BUCKETS, "{kept}");
    }
}
