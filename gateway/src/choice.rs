//! Which core the gateway keeps to, and when it leaves it for another.
//!
//! Nothing here waits or connects: what was learnt of the cores goes in with the time, and where to
//! go comes out. The cores stand in this gateway's own order of preference, a random one: so
//! gateways spread over the cores, and those that lose one spread over the others.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait before a core that failed is tried again; it doubles up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A core is left when another has been better for so long: one late answer is no reason.
const STEADY: Duration = Duration::from_secs(2);
/// How long all has to be well before the gateway goes back to the core it prefers, and half as
/// much again: after a restart of one core after the other, gateways spread again, one by one.
const HOME: Duration = Duration::from_secs(600);

/// What a core last said of itself, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// Nothing, in time.
    Silent,
    /// It answers, and says that it doesn't serve: it is not caught up, or ends.
    NotServing,
    Serving,
}

/// Why a core is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The relay to it ended, or could not be opened.
    Lost,
    /// It doesn't answer, and another does.
    Silent,
    /// It says that it doesn't serve, and another does.
    NotServing,
    /// Another is preferred and has long been well.
    Home,
}

impl Reason {
    /// As metrics and the log name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::NotServing => "not_serving",
            Self::Home => "home",
        }
    }
}

pub(crate) struct Choice {
    cores: Vec<Standing>,
    current: usize,
    /// [`HOME`], drawn for this gateway.
    home: Duration,
    rng: fastrand::Rng,
}

struct Standing {
    health: Health,
    /// When it became so.
    since: Instant,
    /// It failed: not to be tried earlier.
    not_before: Instant,
    backoff: Duration,
}

impl Choice {
    /// Of so many cores, of which nothing is known yet. The first one is the preferred one.
    pub fn new(cores: usize, mut rng: fastrand::Rng, now: Instant) -> Self {
        let standing = |_| Standing {
            health: Health::Silent,
            since: now,
            not_before: now,
            backoff: BACKOFF,
        };
        Self {
            cores: (0..cores).map(standing).collect(),
            current: 0,
            home: HOME.mul_f64(1.0 + rng.f64() / 2.0),
            rng,
        }
    }

    pub fn current(&self) -> usize {
        self.current
    }

    /// A core was asked how it is.
    pub fn checked(&mut self, core: usize, health: Health, now: Instant) {
        let standing = &mut self.cores[core];
        if standing.health != health {
            standing.health = health;
            standing.since = now;
        }
    }

    /// The relay to the current core ended; `held`: it had stood for a while. Chooses where to go,
    /// and says when.
    pub fn failed(&mut self, held: bool, now: Instant) -> Instant {
        self.checked(self.current, Health::Silent, now);
        let standing = &mut self.cores[self.current];
        let backoff = if held { BACKOFF } else { standing.backoff };
        // Full jitter: gateways that lost the same core don't come back at once.
        standing.not_before = now + backoff.mul_f64(self.rng.f64());
        standing.backoff = (backoff * 2).min(BACKOFF_MAX);
        let at = |core: &Standing| core.not_before.max(now);
        let best = self
            .cores
            .iter()
            .enumerate()
            // The first of those that are as good.
            .min_by_key(|(_, core)| (std::cmp::Reverse(core.health), at(core)));
        if let Some((index, _)) = best {
            self.current = index;
        }
        at(&self.cores[self.current])
    }

    /// Goes where it is better; `None`: it is best to stay.
    pub fn improve(&mut self, now: Instant) -> Option<Reason> {
        let here = &self.cores[self.current];
        let reasons = self.cores.iter().enumerate().map(|(index, there)| {
            let lasts = now.saturating_duration_since(here.since.max(there.since));
            let is_better =
                there.health > here.health && lasts >= STEADY && there.not_before <= now;
            let is_home = (here.health, there.health) == (Health::Serving, Health::Serving)
                && index < self.current
                && lasts >= self.home;
            match (is_better, here.health) {
                (true, Health::Silent) => Some(Reason::Silent),
                (true, _) => Some(Reason::NotServing),
                (false, _) => is_home.then_some(Reason::Home),
            }
        });
        let (_, index, reason) = reasons
            .enumerate()
            .filter_map(|(index, reason)| Some((self.cores[index].health, index, reason?)))
            .min_by_key(|(health, index, _)| (std::cmp::Reverse(*health), *index))?;
        self.current = index;
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A choice at work, with the time in its own hands.
    struct Gateway {
        choice: Choice,
        now: Instant,
    }

    impl Gateway {
        fn new(health: &[Health]) -> Self {
            let now = Instant::now();
            let choice = Choice::new(health.len(), fastrand::Rng::with_seed(7), now);
            let mut gateway = Self { choice, now };
            gateway.checked(health);
            gateway.later(STEADY);
            gateway
        }

        fn checked(&mut self, health: &[Health]) {
            for (core, health) in health.iter().enumerate() {
                self.choice.checked(core, *health, self.now);
            }
        }

        fn later(&mut self, time: Duration) {
            self.now += time;
        }

        fn improve(&mut self) -> Option<(usize, Reason)> {
            let reason = self.choice.improve(self.now)?;
            Some((self.choice.current, reason))
        }

        /// Where it goes when the relay ends, and how long it waits before.
        fn failed(&mut self, held: bool) -> (usize, Duration) {
            let at = self.choice.failed(held, self.now);
            (self.choice.current, at - self.now)
        }
    }

    use Health::{NotServing, Serving, Silent};

    #[test]
    fn one_that_is_worse_is_left_when_it_stays_so() {
        for (health, reason) in [(Silent, Reason::Silent), (NotServing, Reason::NotServing)] {
            let mut gateway = Gateway::new(&[Serving, Serving]);
            gateway.checked(&[health, Serving]);
            assert_eq!(gateway.improve(), None, "at the first sign");
            gateway.later(STEADY / 2);
            gateway.checked(&[Serving, Serving]);
            gateway.later(STEADY / 2);
            gateway.checked(&[health, Serving]);
            assert_eq!(gateway.improve(), None, "it had been well in between");
            gateway.later(STEADY);
            assert_eq!(gateway.improve(), Some((1, reason)));
            assert_eq!(gateway.improve(), None);
        }
    }

    #[test]
    fn one_that_is_only_back_is_not_returned_to() {
        let mut gateway = Gateway::new(&[NotServing, Serving]);
        assert_eq!(gateway.improve(), Some((1, Reason::NotServing)));
        gateway.checked(&[Serving, Serving]);
        gateway.later(HOME / 2);
        assert_eq!(gateway.improve(), None);
        gateway.later(HOME);
        assert_eq!(gateway.improve(), Some((0, Reason::Home)));
    }

    #[test]
    fn where_none_serves_it_stays_with_one_that_answers() {
        let mut gateway = Gateway::new(&[NotServing, NotServing, Silent]);
        assert_eq!(gateway.improve(), None);
        gateway.checked(&[Silent, NotServing, Silent]);
        gateway.later(STEADY);
        assert_eq!(gateway.improve(), Some((1, Reason::Silent)));
        gateway.checked(&[Silent, Silent, Silent]);
        gateway.later(STEADY);
        assert_eq!(gateway.improve(), None);
        // Of several the best.
        gateway.checked(&[NotServing, Silent, Serving]);
        gateway.later(STEADY);
        assert_eq!(gateway.improve(), Some((2, Reason::Silent)));
    }

    #[test]
    fn one_that_is_lost_is_left_at_once_for_the_best() {
        let mut gateway = Gateway::new(&[Serving, NotServing, Serving]);
        assert_eq!(gateway.failed(true), (2, Duration::ZERO));
        assert_eq!(gateway.failed(true), (1, Duration::ZERO));
        // Nothing else is left: in turn, and slower and slower.
        gateway.checked(&[Silent, Silent, Silent]);
        let waited: Duration = (0..30)
            .map(|_| {
                let (_, wait) = gateway.failed(false);
                gateway.later(wait);
                wait
            })
            .sum();
        assert!(waited > BACKOFF_MAX, "{waited:?}");
        let tried = |gateway: &mut Gateway| {
            let (core, wait) = gateway.failed(false);
            gateway.later(wait);
            core
        };
        let all: std::collections::HashSet<usize> = (0..30).map(|_| tried(&mut gateway)).collect();
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn one_alone_is_tried_again_with_a_wait() {
        let mut gateway = Gateway::new(&[Silent]);
        let waits: Vec<Duration> = (0..100).map(|_| gateway.failed(false).1).collect();
        assert!(waits.iter().all(|wait| *wait < BACKOFF_MAX), "{waits:?}");
        assert!(*waits.iter().max().unwrap() > BACKOFF_MAX / 2, "{waits:?}");
        // After it had stood, the wait is a short one.
        assert!(gateway.failed(true).1 < BACKOFF);
        assert_eq!(gateway.improve(), None);
    }
}
