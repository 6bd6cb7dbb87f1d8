//! The metrics: documented, named by the rules, and those that the dashboard and the alerts ask for.
//!
//! `MERCURIO_TESTS_WRITE=1 cargo test -p mercurio-tests metrics::` writes the table in docs/metrics.md.

use std::{fmt::Write as _, path::Path, process::Stdio};

use mercurio_tests::{
    binary::repository,
    engine::Engine,
    metrics::{Families, asked, base, families, text},
    nats::Nats,
    otlp::Collector,
    prelude::*,
    tools::tool,
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["job", "instance", "le"];

const BEGIN: &str = "<!-- metrics: made by tests/tests/metrics.rs -->\n";
const END: &str = "<!-- metrics end -->\n";

/// What core and gateway show once everything has happened that has a metric of its own.
struct Shown {
    core: String,
    gateway: String,
}

impl Shown {
    /// Two cores share a log, and a gateway has to leave one of them.
    async fn by_processes() -> Option<Shown> {
        let nats = Nats::start(1).map(Engine::Nats)?;
        let collector = Collector::start().await;
        let mut cores = nats.cores(2).await;
        let urls = cores.iter().map(|core| format!("http://{}", core.grpc()));
        let gateway = Setup::gateway_to(urls)
            .secret_of(&cores[0])
            .args(collector.args("gateway"))
            .start()
            .await;
        let token = cores[0].secret().user("alice");
        let alice = Subscriber::sse(gateway.http(), &token, "alice", Manner::default());
        let alice = alice.opened().await;
        let refused = Request::get("/api/clients/me/notifications").bearer("no.such.token");
        let refused = refused.send(gateway.http()).await;
        refused.expect_error(401, "token-invalid");
        for core in &cores {
            let stranger = core.api("no.such.token");
            let refused = stranger.try_publish(to(&["alice"], "t", "x")).await;
            refused.expect_err("it is no token");
        }
        drop(alice);
        let of_gateway = async |name: &str| text(&gateway).await.contains(name).then_some(());
        eventually("the stream's end is counted", SOON, || {
            of_gateway("mercurio_gateway_streams_ended_total{reason=\"client-gone\"}")
        })
        .await;
        let now = text(&gateway).await;
        let is_current = |core: &Service| {
            let url = format!("core_current{{core=\"http://{}\"}} 1", core.grpc());
            now.contains(&url)
        };
        let current = cores.iter().position(is_current).expect("one is current");
        cores.remove(current).kill();
        eventually("the gateway went to the other", LATER, || {
            of_gateway("mercurio_gateway_failovers_total{")
        })
        .await;
        Some(Shown {
            core: text(&cores[0]).await,
            gateway: text(&gateway).await,
        })
    }

    fn families(&self) -> Families {
        let mut all = families(&self.core);
        for (name, of_gateway) in families(&self.gateway) {
            let family = all.entry(name).or_insert_with(|| of_gateway.clone());
            family.labels.extend(of_gateway.labels);
        }
        all
    }

    fn table(&self) -> String {
        let (core, gateway) = (families(&self.core), families(&self.gateway));
        let mut table =
            String::from("| metric | type | labels | of | what |\n|---|---|---|---|---|\n");
        for (name, family) in self.families() {
            let of = match (core.contains_key(&name), gateway.contains_key(&name)) {
                _ if name.starts_with("mercurio_traces") => "each, with `--otlp-endpoint`",
                (true, true) => "each",
                (true, false) => "core",
                _ => "gateway",
            };
            let labels: Vec<_> = family
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let (labels, help) = (labels.join(", "), family.help.trim_end_matches('.'));
            writeln!(
                table,
                "| `{name}` | {} | {labels} | {of} | {help} |",
                family.kind
            )
            .expect("to a String");
        }
        table
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_documented_and_what_is_asked_for() {
    let Some(shown) = Shown::by_processes().await else {
        return;
    };
    let all = shown.families();
    check_names(&all);
    for text in [&shown.core, &shown.gateway] {
        lint(text).await;
    }
    check_document(&shown.table());

    // One process with both shows all that needs no second one, and nothing else.
    let collector = Collector::start().await;
    let serve = Setup::serve().args(collector.args("serve")).start().await;
    let of_serve = families(&text(&serve).await);
    for (name, family) in &all {
        let is_there = of_serve
            .get(name)
            .is_some_and(|found| found.kind == family.kind);
        assert!(is_there || !family.labels.is_empty(), "{name} of serve");
    }
    let unknown: Vec<_> = of_serve
        .keys()
        .filter(|name| !all.contains_key(*name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    let deploy = repository().join("deploy");
    let alerts = read(&deploy.join("prometheus/alerts.yaml"));
    let rules = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let rules: Vec<String> = rules.map(str::to_owned).collect();
    let dashboard = read(&deploy.join("grafana/mercurio.json"));
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut panels = Vec::new();
    expressions(&dashboard, &mut panels);
    assert!(
        rules.len() > 10 && panels.len() > 30,
        "{rules:?} {panels:?}"
    );
    for expression in rules.iter().chain(&panels) {
        check_expression(expression, &all);
    }
}

/// By <https://prometheus.io/docs/practices/naming/>, as far as it is a matter of letters.
fn check_names(all: &Families) {
    for (name, family) in all {
        assert!(!family.help.is_empty(), "{name} has no help");
        let unit_of_base = [
            "_milliseconds",
            "_ms",
            "_minutes",
            "_kilobytes",
            "_kb",
            "_mb",
        ];
        assert!(
            !unit_of_base.iter().any(|unit| name.contains(unit)),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        let is_ours = [
            "mercurio_core_",
            "mercurio_gateway_",
            "mercurio_traces_",
            "process_",
        ];
        let is_ours = is_ours.iter().any(|prefix| name.starts_with(prefix));
        assert!(is_ours || name == "mercurio_build_info", "{name}");
    }
}

fn check_expression(expression: &str, all: &Families) {
    let (metrics, grouped) = asked(expression);
    assert!(!metrics.is_empty(), "{expression} asks for nothing");
    let mut labels: Vec<&str> = ADDED.to_vec();
    for (name, matched) in &metrics {
        if name == "up" {
            continue;
        }
        let known = base(all, name).unwrap_or_else(|| panic!("no {name}: {expression}"));
        let of_it = &all[&known].labels;
        for label in matched {
            let is_there = of_it.contains(label) || ADDED.contains(&label.as_str());
            assert!(is_there, "{name} has no label {label}: {expression}");
        }
        labels.extend(of_it.iter().map(String::as_str));
    }
    for label in &grouped {
        assert!(labels.contains(&label.as_str()), "{label} in {expression}");
    }
}

/// All that is called `expr` in a dashboard, and the queries of its variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" || name == "definition" => {
                        found.push(text.clone());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

fn check_document(table: &str) {
    let path = repository().join("docs/metrics.md");
    let document = read(&path);
    let (before, rest) = document.split_once(BEGIN).expect("where it begins");
    let (now, after) = rest.split_once(END).expect("where it ends");
    if std::env::var_os("MERCURIO_TESTS_WRITE").is_some() {
        let whole = [before, BEGIN, table, END, after].concat();
        std::fs::write(path, whole).expect("write");
    } else {
        let how = "docs/metrics.md is not what processes show: MERCURIO_TESTS_WRITE=1 writes it";
        assert_eq!(now, table, "{how}");
    }
}

/// What Prometheus' own tool says of names, units and help.
async fn lint(text: &str) {
    let Some(promtool) = tool("promtool") else {
        return;
    };
    // It knows the older format, where a counter's type stands under its whole name.
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let older = text.lines().filter(|line| *line != "# EOF").map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "UNIT", ..] => String::new(),
            ["#", what, name, rest] if counters.contains(&name) => {
                format!("# {what} {name}_total {rest}\n")
            }
            ["#", "TYPE", name, "info"] => format!("# TYPE {name}_info gauge\n"),
            ["#", "HELP", "mercurio_build", rest] => format!("# HELP mercurio_build_info {rest}\n"),
            _ => format!("{line}\n"),
        }
    });
    let older: String = older.collect();
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(older.as_bytes()).await.expect("write");
    drop(input);
    let output = within("promtool", SOON, child.wait_with_output())
        .await
        .expect("promtool");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_when_they_should() {
    let Some(promtool) = tool("promtool") else {
        return;
    };
    let root = repository();
    for (folder, args) in [
        ("deploy/prometheus", ["check", "config", "prometheus.yaml"]),
        ("tests/deploy", ["test", "rules", "alerts.test.yaml"]),
    ] {
        let mut command = Command::new(&promtool);
        let run = command.args(args).current_dir(root.join(folder)).output();
        let output = within("promtool", SOON, run).await.expect("promtool");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
