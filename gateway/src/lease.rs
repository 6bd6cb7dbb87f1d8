//! What keeps a stream open: the token that it was opened with, or the last one that it was shown.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Until when a stream may go on, and who may say so.
pub(crate) struct Lease {
    /// The stream's name, at this gateway.
    id: u64,
    opened: Instant,
    held: Mutex<Held>,
}

struct Held {
    /// Whose token it is; `None`: the user's whose stream it is.
    by: Option<Box<str>>,
    /// `None`: for ever.
    until: Option<Instant>,
    /// It has ended: nothing renews it.
    is_over: bool,
}

impl Lease {
    /// Of a stream of `client`'s, opened with a token of `holder`'s.
    pub fn new(client: &str, holder: &str, until: Option<Instant>) -> Self {
        Self {
            id: fastrand::u64(..),
            opened: Instant::now(),
            held: Mutex::new(Held {
                by: (holder != client).then(|| holder.into()),
                until,
                is_over: false,
            }),
        }
    }

    /// The stream's name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When the stream was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Whose token it was opened with, of a stream of `client`'s.
    pub fn holder(&self, client: &str) -> Box<str> {
        let by = self.held.lock().by.clone();
        by.unwrap_or_else(|| client.into())
    }

    /// Whether it has ended; if so, nothing renews it any more.
    pub fn is_over(&self, now: Instant) -> bool {
        let mut held = self.held.lock();
        held.is_over |= held.until.is_some_and(|until| until <= now);
        held.is_over
    }

    /// When it ends; `None`: never.
    pub fn until(&self) -> Option<Instant> {
        self.held.lock().until
    }

    /// Goes on until then, or as long as it would anyway. `false`: it is over, or another's. The
    /// stream need not be woken: it looks when it was to end.
    pub fn renew(&self, client: &str, holder: &str, until: Option<Instant>) -> bool {
        let mut held = self.held.lock();
        if held.is_over || held.by.as_deref().unwrap_or(client) != holder {
            return false;
        }
        held.until = held.until.and_then(|old| Some(until?.max(old)));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_renewed_by_its_holder_and_before_it_is_over() {
        let start = Instant::now();
        let after = |seconds| Some(start + Duration::from_secs(seconds));
        let lease = Lease::new("ada", "ada", after(10));
        assert!(!lease.renew("ada", "service", after(20)));
        assert!(lease.renew("ada", "ada", after(20)));
        // Never shorter.
        assert!(lease.renew("ada", "ada", after(5)));
        assert_eq!(lease.until(), after(20));
        assert!(!lease.is_over(start + Duration::from_secs(19)));
        assert!(lease.is_over(start + Duration::from_secs(20)));
        assert!(!lease.renew("ada", "ada", after(60)));
        assert!(lease.is_over(start), "once over, over");
        let services = Lease::new("ada", "service", after(10));
        assert!(!services.renew("ada", "ada", None));
        assert!(services.renew("ada", "service", None));
        assert_eq!(services.until(), None);
    }
}
