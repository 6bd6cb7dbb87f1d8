//! Retention in the background: a thread that packs sealed segments and buries those that
//! are past, and has the writer seal the newest when it is old.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use crate::{entry::Millis, metrics::Metrics, store::Store, writer::RollRequests};

/// How often a sealed segment is looked for between sweeps.
const PACK_EVERY: Duration = Duration::from_secs(1);

/// The sweeper's thread; it ends when this is dropped, after the step it is in.
pub struct Sweeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// Starts the thread. `interval` is how often it looks for what is past, at the time `now`.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(
        store: Store,
        requests: RollRequests,
        metrics: Arc<Metrics>,
        interval: Duration,
        now: impl Fn() -> Millis + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let tick = interval.min(PACK_EVERY);
        let thread = std::thread::Builder::new()
            .name("sweeper".into())
            .spawn(move || {
                let mut since_sweep = interval;
                loop {
                    since_sweep += tick;
                    let due = since_sweep >= interval;
                    if due {
                        since_sweep = Duration::ZERO;
                    }
                    if due && store.is_roll_due(now()) || store.has_deletions_to_seal() {
                        requests.roll();
                    }
                    pack(&store, due, now(), &stopped);
                    metrics
                        .store_bytes
                        .set(i64::try_from(store.size()).unwrap_or(i64::MAX));
                    metrics.segments.set(store.segments() as i64);
                    if !matches!(
                        stopped.recv_timeout(tick),
                        Err(mpsc::RecvTimeoutError::Timeout)
                    ) {
                        return;
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pack(store: &Store, look_for_past: bool, now: Millis, stopped: &mpsc::Receiver<()>) {
    let is_stopped = || !matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty));
    let mut go_on = true;
    while go_on && !is_stopped() {
        // What is deleted goes first.
        let packed = match store.pack_one(now).and_then(|packed| match packed {
            true => store.cut_journal().map(|()| true),
            false => Ok(store.clear_one(now)? || store.merge_some(now)?),
        }) {
            Ok(false) if look_for_past => match store.bury_past(now) {
                Ok(false) => store.repack_one(now),
                buried => buried,
            },
            packed => packed,
        };
        go_on = packed.unwrap_or_else(|error| {
            tracing::error!(%error, "pack a segment");
            false
        });
    }
}
