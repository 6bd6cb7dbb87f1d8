//! Waiting for events with a deadline. Nothing in these tests sleeps and hopes.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long an event that should come at once may take on a loaded machine.
pub const SOON: Duration = Duration::from_secs(30);

/// How long something may take that includes work: catching up, a restart under load.
pub const LATER: Duration = Duration::from_secs(120);

/// The future's value, or a panic naming `what` once `limit` has passed.
pub async fn within<F: Future>(what: &str, limit: Duration, future: F) -> F::Output {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Probes until it answers `Some`, or panics naming `what` once `limit` has passed.
///
/// For what can only be asked (a count, a file, an exit); where something can be awaited,
/// use [`within`].
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        // A probe that hangs is a failure too, so it runs under the same deadline.
        let left = limit.saturating_sub(start.elapsed());
        if let Ok(Some(value)) = tokio::time::timeout(left, probe()).await {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
