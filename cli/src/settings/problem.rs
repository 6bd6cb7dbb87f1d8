//! What is wrong with the settings: all of it, said at once.

use std::{fmt, path::PathBuf};

use super::table::Setting;

/// Where a value comes from; later ones give way to earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag.
    Flag(String),
    /// A variable of the environment.
    Environment(String),
    /// A variable in `.env`, and its line.
    DotEnv(String, Option<usize>),
    /// A key in the file of `--config`, and its line.
    File(PathBuf, usize, String),
    /// The table's default.
    Default(String),
}

impl Source {
    /// How far down the layer is: 0 is the flags.
    #[must_use]
    pub fn layer(&self) -> u8 {
        match self {
            Self::Flag(_) => 0,
            Self::Environment(_) => 1,
            Self::DotEnv(..) => 2,
            Self::File(..) => 3,
            Self::Default(_) => 4,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(variable) => write!(f, "{variable} (environment)"),
            Self::DotEnv(variable, Some(line)) => write!(f, "{variable} (.env line {line})"),
            Self::DotEnv(variable, None) => write!(f, "{variable} (.env)"),
            Self::File(path, line, key) => write!(f, "{key} ({} line {line})", path.display()),
            Self::Default(name) => write!(f, "{name} (default)"),
        }
    }
}

/// One thing that is wrong. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    /// Says this.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A value that a setting can't have. What of it is a secret is not shown.
    #[must_use]
    pub fn of_setting(source: &Source, value: &str, setting: &Setting) -> Self {
        let Setting { kind, secret, .. } = setting;
        Self::value(source, &kind.shown(value), *secret, &kind.wanted())
    }

    /// A value that is not what is allowed; a secret's is not shown.
    #[must_use]
    pub fn value(source: &Source, value: &str, secret: bool, wanted: &str) -> Self {
        if secret {
            return Self(format!("{source}: the value is not {wanted}"));
        }
        Self(format!("{source}: {} is not {wanted}", Shortened(value)))
    }

    /// A name nobody knows, and the one that was probably meant.
    #[must_use]
    pub fn unknown(source: &Source, meant: Option<&str>) -> Self {
        match meant {
            Some(meant) => Self(format!("{source}: unknown; did you mean {meant}?")),
            None => Self(format!("{source}: unknown")),
        }
    }
}

/// A value in quotes, its control characters escaped, cut where it is long.
struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 80;
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// All that is wrong. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            all => {
                write!(f, "{} settings are wrong:", all.len())?;
                all.iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// The candidate nearest to `name`, where one is near.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = name.len().div_ceil(4).min(4);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        row[0] = left;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            left = (diagonal + usize::from(x != *y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            row[j + 1] = left;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["http-addr", "grpc-addr", "data-dir"];
        assert_eq!(nearest("htp-addr", names.into_iter()), Some("http-addr"));
        assert_eq!(nearest("datadir", names.into_iter()), Some("data-dir"));
        assert_eq!(nearest("colour", names.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn long_and_secret_values_are_not_poured_out() {
        let source = Source::Flag("jwt-secret".to_owned());
        let shown = Problem::value(&source, "hunter2", true, "text").to_string();
        assert!(!shown.contains("hunter2"));
        let shown = Problem::value(&source, &"x".repeat(500), false, "text").to_string();
        assert!(
            shown.len() < 200 && shown.contains("(500 bytes)"),
            "{shown}"
        );
    }
}
