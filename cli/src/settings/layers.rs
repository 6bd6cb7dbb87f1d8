//! Where values come from: flags, then the environment, `.env`, the file of `--config`, defaults.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::ArgMatches;

use super::{
    problem::{Problem, Source, nearest},
    table::{self, CONFIG, Command, PREFIX, Setting},
};

/// What one layer says of a setting.
pub struct Given {
    pub source: Source,
    pub texts: Vec<String>,
}

/// What all layers say, by setting.
pub type All = BTreeMap<&'static str, Vec<Given>>;

/// What the uppermost layer says of a setting.
pub fn first<'a>(setting: &Setting, given: &'a All) -> Option<&'a Given> {
    given
        .get(setting.name)?
        .iter()
        .min_by_key(|given| given.source.layer())
}

/// Asks every layer. Names nobody knows are problems.
pub fn collect(command: Command, matches: &ArgMatches, problems: &mut Vec<Problem>) -> All {
    let mut all = All::new();
    let used = |setting: &Setting| setting.commands.contains(&command);
    for setting in table::all().filter(|setting| used(setting)) {
        if setting.flag
            && let Some(values) = matches.get_many::<String>(setting.name)
        {
            let source = Source::Flag(setting.name.to_owned());
            add(&mut all, setting, source, values.cloned().collect());
        }
        if let Some(default) = setting.default {
            let source = Source::Default(setting.name.to_owned());
            add(&mut all, setting, source, vec![default.to_owned()]);
        }
    }
    let environment = environment(problems);
    variables(&mut all, environment, Source::Environment, problems);
    let dot_env = dot_env(problems);
    variables(
        &mut all,
        dot_env,
        |name| Source::DotEnv(name, None),
        problems,
    );
    let file = table::all().find(|setting| setting.name == CONFIG);
    let file = file
        .and_then(|setting| first(setting, &all))
        .and_then(|given| given.texts.first());
    if let Some(path) = file.map(PathBuf::from) {
        config_file(&mut all, &path, problems);
    }
    // A file that several commands share names what only some of them use.
    all.retain(|name, _| table::all().any(|setting| setting.name == *name && used(setting)));
    all
}

fn add(all: &mut All, setting: &'static Setting, source: Source, texts: Vec<String>) {
    all.entry(setting.name)
        .or_default()
        .push(Given { source, texts });
}

fn variables(
    all: &mut All,
    variables: Vec<(String, String)>,
    source: impl Fn(String) -> Source,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in variables {
        let Some(setting) = table::all().find(|setting| setting.variable() == name) else {
            // What all begin with makes none of them nearer.
            let own = name.trim_start_matches(PREFIX);
            let names: Vec<String> = table::all().map(Setting::variable).collect();
            let owns = names.iter().map(|name| name.trim_start_matches(PREFIX));
            let meant = nearest(own, owns).map(|own| format!("{PREFIX}{own}"));
            problems.push(Problem::unknown(&source(name.clone()), meant.as_deref()));
            continue;
        };
        let texts = if setting.repeatable {
            value
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect()
        } else {
            vec![value]
        };
        add(all, setting, source(name), texts);
    }
}

/// The variables of this process.
fn environment(problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.into_string().ok().filter(|n| n.starts_with(PREFIX)) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            // Replacing what can't be read would make another path, or another secret, of it.
            Err(_) => problems.push(Problem::value(
                &Source::Environment(name),
                "",
                true,
                "text in UTF-8",
            )),
        }
    }
    variables
}

/// The variables of `.env` in the working directory, if there is one.
fn dot_env(problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let path = Path::new(".env");
    if !path.exists() {
        return Vec::new();
    }
    let read = dotenvy::from_path_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(variables) => variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect(),
        // What dotenvy says may hold the line, and with it a secret.
        Err(_) => {
            problems.push(Problem::new(
                ".env: can't be read; its lines are NAME=VALUE",
            ));
            Vec::new()
        }
    }
}

fn config_file(all: &mut All, path: &Path, problems: &mut Vec<Problem>) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::new(format!(
                "--config {}: {error}",
                path.display()
            )));
            return;
        }
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            let message = error.message();
            problems.push(Problem::new(format!(
                "{} line {line}: {message}",
                path.display()
            )));
            return;
        }
    };
    let lines = lines_of_keys(&text);
    for (key, value) in table {
        let line = lines.get(&key).copied().unwrap_or(1);
        let source = Source::File(path.to_owned(), line, key.clone());
        match table::find(&key).filter(|setting| setting.name != CONFIG) {
            None => {
                let names = table::all().map(|setting| setting.name);
                problems.push(Problem::unknown(&source, nearest(&key, names)));
            }
            Some(setting) => match texts(setting, &value) {
                Some(texts) => add(all, setting, source, texts),
                None => {
                    problems.push(Problem::value(
                        &source,
                        "a value of another type",
                        true,
                        &setting.kind.wanted(),
                    ));
                }
            },
        }
    }
}

/// The line of each key, and of each table's head.
fn lines_of_keys(text: &str) -> BTreeMap<String, usize> {
    let Ok(table) = toml::de::DeTable::parse(text) else {
        return BTreeMap::new();
    };
    let keys = table.get_ref().keys();
    keys.map(|key| {
        let line = line_of(text, key.span().start);
        (key.get_ref().to_string(), line)
    })
    .collect()
}

fn texts(setting: &Setting, value: &toml::Value) -> Option<Vec<String>> {
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    };
    match value {
        toml::Value::Array(values) if setting.repeatable => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}
