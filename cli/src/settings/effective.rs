//! What holds of a setting, and since whom: a line that a file for `--config` could have.

use std::fmt;

use super::{
    kind::Kind,
    problem::Source,
    table::{CONFIG, Setting},
};

/// One setting that is in force, without its value where that is a secret.
pub struct Effective {
    name: &'static str,
    /// `None`: it is a secret.
    value: Option<toml::Value>,
    /// The value is what was given, not only what of it is no secret.
    is_whole: bool,
    origin: String,
}

impl Effective {
    pub(super) fn new(setting: &Setting, texts: &[String], source: &Source) -> Self {
        let value = |text: &String| match setting.kind {
            Kind::Number { .. } => text.parse().map(toml::Value::Integer).ok(),
            Kind::Switch => text.parse().map(toml::Value::Boolean).ok(),
            _ => None,
        };
        let mut values = texts.iter().map(|text| {
            // A number beyond TOML's is read from text as well.
            value(text).unwrap_or_else(|| toml::Value::String(setting.kind.shown(text).into()))
        });
        let value = match setting.repeatable {
            true => toml::Value::Array(values.collect()),
            false => values.next().unwrap_or_else(|| "".into()),
        };
        Self {
            name: setting.name,
            value: (!setting.secret).then_some(value),
            is_whole: texts.iter().all(|text| setting.kind.shown(text) == *text),
            origin: match source {
                Source::Default(_) => "default".to_owned(),
                Source::File(path, line, _) => format!("{} line {line}", path.display()),
                given => given.to_string(),
            },
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, origin, .. } = self;
        match &self.value {
            // A file names no other one.
            Some(value) if *name == CONFIG => write!(f, "# {name} = {value}  # {origin}"),
            Some(value) if !self.is_whole => {
                write!(f, "# {name} = {value}, where … is not shown  # {origin}")
            }
            Some(value) => write!(f, "{name} = {value}  # {origin}"),
            None => write!(f, "# {name} is set, and not shown  # {origin}"),
        }
    }
}
