//! How many streams are open, in all and for one user.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    entry::RecipientId,
    metrics::{Metrics, Raised},
    settings::Limits,
};

use super::status::Refusal;

/// Counts open streams. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    all: usize,
    relays: usize,
    /// Live ones; nobody without one.
    of_user: HashMap<RecipientId, usize>,
}

impl Streams {
    /// Counts a stream in for as long as what is returned lives. One that ends at the present
    /// doesn't count for its user.
    pub(super) fn open(
        &self,
        user: &RecipientId,
        is_live: bool,
        limits: &Limits,
        metrics: &Metrics,
    ) -> Result<OpenStream, Refusal> {
        let mut open = self.0.lock();
        if open.all >= limits.streams {
            return Err(Refusal::TooManyStreams {
                what: "streams",
                limit: limits.streams,
            });
        }
        if is_live {
            let of_user = open.of_user.get(user).copied().unwrap_or_default();
            if of_user >= limits.streams_per_user {
                let limit = limits.streams_per_user;
                return Err(Refusal::TooManyStreams {
                    what: "streams of this user",
                    limit,
                });
            }
            open.of_user.insert(user.clone(), of_user + 1);
        }
        open.all += 1;
        drop(open);
        Ok(OpenStream {
            streams: self.clone(),
            user: is_live.then(|| user.clone()),
            _shown: Raised::new(&metrics.streams),
        })
    }

    /// Counts a relay in for as long as what is returned lives.
    pub(super) fn open_relay(
        &self,
        limits: &Limits,
        metrics: &Metrics,
    ) -> Result<OpenRelay, Refusal> {
        let mut open = self.0.lock();
        if open.relays >= limits.relays {
            return Err(Refusal::TooManyStreams {
                what: "relays",
                limit: limits.relays,
            });
        }
        open.relays += 1;
        drop(open);
        Ok(OpenRelay {
            streams: self.clone(),
            _shown: Raised::new(&metrics.relays),
        })
    }
}

/// An open stream.
pub(super) struct OpenStream {
    streams: Streams,
    user: Option<RecipientId>,
    _shown: Raised,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        open.all -= 1;
        if let Some(user) = &self.user
            && let Some(of_user) = open.of_user.get_mut(user)
        {
            *of_user -= 1;
            if *of_user == 0 {
                open.of_user.remove(user);
            }
        }
    }
}

/// An open relay.
pub(super) struct OpenRelay {
    streams: Streams,
    _shown: Raised,
}

impl Drop for OpenRelay {
    fn drop(&mut self) {
        self.streams.0.lock().relays -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_live_streams_and_the_service_so_many_in_all() {
        let limits = Limits {
            streams_per_user: 2,
            streams: 4,
            ..Limits::default()
        };
        let metrics = Metrics::default();
        let streams = Streams::default();
        let id = |name| RecipientId::new(name).unwrap();
        let open = |name, is_live| streams.open(&id(name), is_live, &limits, &metrics);
        let first = open("ada", true).unwrap();
        let _second = open("ada", true).unwrap();
        assert!(matches!(
            open("ada", true),
            Err(Refusal::TooManyStreams { limit: 2, .. })
        ));
        let _current = open("ada", false).unwrap();
        let _bob = open("bob", true).unwrap();
        assert!(matches!(
            open("cyd", false),
            Err(Refusal::TooManyStreams { limit: 4, .. })
        ));
        assert_eq!(metrics.streams.get(), 4);
        drop(first);
        let third = open("ada", true).unwrap();
        drop((third, _second, _current, _bob));
        assert!(streams.0.lock().of_user.is_empty());
        assert_eq!((streams.0.lock().all, metrics.streams.get()), (0, 0));
    }
}
