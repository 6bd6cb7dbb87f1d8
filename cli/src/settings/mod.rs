//! Settings: one table (`table.rs`), read from flags, the environment, `.env`, a file and the
//! defaults, in that order. All that is wrong is said at once.

mod effective;
mod jwks;
mod kind;
mod layers;
mod problem;
mod table;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;

use std::{collections::HashMap, path::Path, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand};
use ipnet::IpNet;

pub use effective::Effective;
pub use kind::shown_url;
pub use problem::{Problem, Problems};
pub use table::Command;

use kind::{Kind, Value};
use layers::Given;
use table::Setting;

/// The settings of one command. `Debug` shows no value.
pub struct Settings(HashMap<&'static str, Vec<Value>>);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Settings {
    /// Reads the settings of a command.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn read(command: Command, matches: &ArgMatches) -> Result<Self, Problems> {
        Self::read_with_origins(command, matches).0
    }

    /// Reads the settings of a command, and says of each that can be read where it is from.
    pub fn read_with_origins(
        command: Command,
        matches: &ArgMatches,
    ) -> (Result<Self, Problems>, Vec<Effective>) {
        let mut problems = Vec::new();
        let given = layers::collect(command, matches, &mut problems);
        let mut values: HashMap<&'static str, Vec<Value>> = HashMap::new();
        let mut effective = Vec::new();
        for setting in table::all() {
            let Some(Given { source, texts }) = layers::first(setting, &given) else {
                continue;
            };
            let before = problems.len();
            for text in texts {
                match setting.kind.read(text) {
                    Some(value) => values.entry(setting.name).or_default().push(value),
                    None => problems.push(Problem::of_setting(source, text, setting)),
                }
            }
            if problems.len() == before {
                effective.push(Effective::new(setting, texts, source));
            }
        }
        let settings = match problems.is_empty() {
            true => Ok(Self(values)),
            false => Err(Problems(problems)),
        };
        (settings, effective)
    }

    /// Whether nobody has set it, and it has no default.
    pub fn is_unset(&self, name: &str) -> bool {
        !self.0.contains_key(name)
    }

    /// Text, where it is set.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)?.first()? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Every text of a repeatable setting.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let values = self.0.get(name).into_iter().flatten();
        let texts = values.filter_map(|value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// Every network of a setting.
    pub fn networks(&self, name: &str) -> Vec<IpNet> {
        // The table has checked them.
        let texts = self.texts(name);
        texts
            .iter()
            .filter_map(|text| kind::network(text))
            .collect()
    }

    /// Every path of a setting.
    pub fn paths(&self, name: &str) -> impl Iterator<Item = &Path> {
        self.0
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(|value| match value {
                Value::Path(path) => Some(path.as_path()),
                _ => None,
            })
    }

    /// A path, where it is set.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.paths(name).next()
    }

    /// A switch; unset is off.
    pub fn switch(&self, name: &str) -> bool {
        matches!(
            self.0.get(name).and_then(|values| values.first()),
            Some(Value::Switch(true))
        )
    }

    /// A time, where it is set.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.0.get(name)?.first()? {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// A number, where it is set.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name)?.first()? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A count or a size, where it is set.
    pub fn size(&self, name: &str) -> Option<usize> {
        self.number(name)
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }
}

/// Adds the flags of a command's settings to it.
pub fn flags(command: Command, clap: ClapCommand) -> ClapCommand {
    let settings = table::all().filter(|setting| setting.commands.contains(&command));
    clap.args(settings.filter(|setting| setting.flag).map(flag))
}

fn flag(setting: &Setting) -> Arg {
    let variable = setting.variable();
    let default = setting
        .default
        .filter(|_| !matches!(setting.kind, Kind::Switch));
    let default = default.map_or_else(String::new, |default| format!(", default: {default}"));
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .help(format!("{} [{variable}{default}]", setting.help))
        .help_heading(setting.group);
    match setting.kind {
        // The flag alone means true.
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        _ if setting.repeatable => arg.action(ArgAction::Append).value_name(setting.value_name),
        _ => arg.value_name(setting.value_name),
    }
    .allow_hyphen_values(matches!(setting.kind, Kind::Text { .. }))
}
