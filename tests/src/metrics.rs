//! What a process shows under /metrics, and what expressions ask for.

use std::collections::{BTreeMap, BTreeSet};

use crate::{http::Request, service::Service};

/// A metric, under the name that Prometheus gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// counter, gauge, histogram, info.
    pub kind: String,
    /// What it says of itself.
    pub help: String,
    /// Its labels, those of histograms' buckets apart.
    pub labels: BTreeSet<String>,
}

/// The metrics of processes, by name.
pub type Families = BTreeMap<String, Family>;

/// What a process shows.
pub async fn text(service: &Service) -> String {
    let answer = Request::get("/metrics").send(service.admin()).await;
    assert_eq!(answer.status, 200);
    answer.text()
}

/// The metrics in what a process shows; panics where it is not in order.
pub fn families(text: &str) -> Families {
    let mut found = Families::new();
    let mut current = (String::new(), String::new());
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => current = (name.to_owned(), help.to_owned()),
            ["#", "TYPE", name, kind] => {
                assert_eq!(name, current.0, "HELP comes before TYPE");
                let family = Family {
                    kind: kind.to_owned(),
                    help: current.1.clone(),
                    labels: BTreeSet::new(),
                };
                let known = found.insert(shown(name, kind), family);
                assert!(known.is_none(), "{name} twice");
            }
            ["#", "UNIT", ..] | ["#", "EOF"] => {}
            _ => {
                let (name, labels) = sample(line);
                let base = base(&found, name).unwrap_or_else(|| panic!("no TYPE of {line}"));
                let family = found.get_mut(&base).expect("found above");
                let own = labels.into_iter().filter(|label| label != "le");
                family.labels.extend(own);
            }
        }
    }
    found
}

/// As Prometheus has it.
fn shown(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

/// The metric that a sample of this name is of.
pub fn base(known: &Families, sample: &str) -> Option<String> {
    let ends = ["_bucket", "_sum", "_count"];
    let of_histogram = ends.iter().filter_map(|end| sample.strip_suffix(end));
    std::iter::once(sample)
        .chain(of_histogram.filter(|base| known.get(*base).is_some_and(|f| f.kind == "histogram")))
        .find(|name| known.contains_key(*name))
        .map(str::to_owned)
}

/// A sample's name and its labels' names.
fn sample(line: &str) -> (&str, Vec<String>) {
    let (key, value) = line.rsplit_once(' ').expect("a value");
    value.parse::<f64>().expect("a number");
    match key.split_once('{') {
        Some((name, rest)) => (name, label_names(rest)),
        None => (key, Vec::new()),
    }
}

/// The names before `=`, `!=`, `=~` and `!~`, outside of quotes, up to the closing brace.
fn label_names(text: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '}' => break,
            'a'..='z' | '0'..='9' | '_' => name.push(letter),
            _ if name.is_empty() => {}
            _ => names.push(std::mem::take(&mut name)),
        }
    }
    names
}

/// What an expression asks for: names of metrics with the labels that are matched, and the labels that it
/// groups by.
pub fn asked(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let (mut metrics, mut grouped) = (Vec::new(), Vec::new());
    let mut rest = expression;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphabetic() || letter == '"')
    {
        if let Some(after) = rest[start..].strip_prefix('"') {
            rest = after.split_once('"').map_or("", |(_, rest)| rest);
            continue;
        }
        let word = &rest[start..];
        let (word, after) = word.split_at(word.find(|c| !is_part(c)).unwrap_or(word.len()));
        rest = after;
        let follows = after.trim_start();
        if word == "up"
            || ["mercurio_", "process_"]
                .iter()
                .any(|p| word.starts_with(p))
        {
            let labels = follows.strip_prefix('{').map(label_names);
            metrics.push((word.to_owned(), labels.unwrap_or_default()));
            if let Some(braced) = follows.strip_prefix('{') {
                rest = braced.split_once('}').map_or("", |(_, rest)| rest);
            }
        } else if ["by", "without", "on"].contains(&word)
            && let Some((labels, after)) = follows.strip_prefix('(').and_then(|r| r.split_once(')'))
        {
            grouped.extend(labels.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        }
    }
    (metrics, grouped)
}
