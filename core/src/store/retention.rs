//! How long and how many notifications are kept.

use std::{fmt, str::FromStr, time::Duration};

use crate::entry::Millis;

/// How long and how many notifications are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// From this age on a notification is gone. Default 90 days.
    pub max_age: Duration,
    /// A recipient sees the newest so many, what goes to everyone included. Default 10,000.
    pub max_per_recipient: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(90 * 24 * 3600),
            max_per_recipient: 10_000,
        }
    }
}

impl Retention {
    /// All is kept.
    pub(super) const UNLIMITED: Self = Self {
        max_age: Duration::MAX,
        max_per_recipient: u64::MAX,
    };

    pub(super) fn is_past(self, at: Millis, now: Millis) -> bool {
        u128::from(now) >= u128::from(at) + self.max_age.as_millis()
    }

    /// As [`FromStr`] reads it: how it is noted in a shared log and beside its data.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{} {}", self.max_age.as_millis(), self.max_per_recipient)
    }
}

/// As it is set.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.max_age.as_millis();
        let units = [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
        ];
        let whole = units.iter().find(|(_, unit)| millis.is_multiple_of(*unit));
        let (unit, length) = whole.unwrap_or(&("ms", 1));
        write!(
            f,
            "--max-age {}{unit} --max-per-recipient {}",
            millis / length,
            self.max_per_recipient
        )
    }
}

impl FromStr for Retention {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (age, count) = text.trim().split_once(' ').ok_or(())?;
        Ok(Self {
            max_age: Duration::from_millis(age.parse().map_err(|_| ())?),
            max_per_recipient: count.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_shown_as_it_is_set() {
        for (seconds, shown) in [
            (90 * 86_400, "--max-age 90d --max-per-recipient 7"),
            (3600, "--max-age 1h --max-per-recipient 7"),
            (61, "--max-age 61s --max-per-recipient 7"),
        ] {
            let retention = Retention {
                max_age: Duration::from_secs(seconds),
                max_per_recipient: 7,
            };
            assert_eq!(retention.to_text().parse(), Ok(retention));
            assert_eq!(retention.to_string(), shown);
        }
        assert_eq!("".parse::<Retention>(), Err(()));
    }
}
