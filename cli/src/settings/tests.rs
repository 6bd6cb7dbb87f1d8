//! What has to hold for every row of the table, and for the order of the layers. The layers
//! themselves, with a real environment and real files, are tested in `tests/tests/cli/`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{
    effective::Effective,
    kind::{Kind, Value},
    layers::{All, Given, first},
    problem::{Problem, Problems, Source},
    table::{self, Command, PREFIX, Setting},
};

fn setting(name: &str) -> &'static Setting {
    table::find(name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// One of every source, the uppermost first.
fn sources() -> [Source; 5] {
    [
        Source::Flag("retry".into()),
        Source::Environment("MERCURIO_RETRY".into()),
        Source::DotEnv("MERCURIO_RETRY".into(), None),
        Source::File(PathBuf::from("settings.toml"), 7, "retry".into()),
        Source::Default("retry".into()),
    ]
}

#[test]
fn a_name_is_one_setting_in_kebab_case_and_its_variable_is_its_own() {
    let mut names = BTreeSet::new();
    let mut variables = BTreeSet::new();
    for setting in table::all() {
        let name = setting.name;
        assert!(names.insert(name), "{name} twice");
        assert!(variables.insert(setting.variable()), "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
            "{name}"
        );
        let back = setting.variable();
        let back = back.strip_prefix(PREFIX).expect("the prefix");
        assert_eq!(back.to_lowercase().replace('_', "-"), name);
        assert!(!setting.commands.is_empty(), "{name} is of no command");
        assert!(!setting.group.is_empty(), "{name} is under no heading");
        assert!(!setting.help.is_empty(), "{name} has no help");
    }
}

#[test]
fn who_calls_a_core_can_do_so_over_tls() {
    for setting in ["core-ca", "core-tls-cert", "core-tls-key"] {
        for command in self::setting("core-url").commands {
            let of_it = self::setting(setting).commands;
            assert!(of_it.contains(command), "{} --{setting}", command.name());
        }
    }
}

#[test]
fn every_default_is_allowed() {
    for setting in table::all() {
        if let Some(default) = setting.default {
            assert!(
                setting.kind.read(default).is_some(),
                "{} = {default}",
                setting.name
            );
        }
    }
}

#[test]
fn every_limit_holds_on_both_sides_and_is_named() {
    let mut numbers = 0;
    let mut times = 0;
    let mut texts = 0;
    for setting in table::all() {
        let (name, kind) = (setting.name, setting.kind);
        let refused = |text: &str| {
            assert!(kind.read(text).is_none(), "{name} = {text}");
            let source = Source::Flag(name.to_owned());
            Problem::value(&source, text, setting.secret, &kind.wanted()).to_string()
        };
        match kind {
            Kind::Number { min, max } => {
                numbers += 1;
                for value in [min, max] {
                    assert!(kind.read(&value.to_string()) == Some(Value::Number(value)));
                }
                let mut beyond = vec![max + 1];
                beyond.extend(min.checked_sub(1));
                for value in beyond {
                    let said = refused(&value.to_string());
                    assert!(said.contains(&format!("--{name}: ")), "{said}");
                    assert!(said.contains(&format!("from {min} to {max}")), "{said}");
                }
            }
            Kind::Duration { min, max } => {
                times += 1;
                let read = |text| humantime::parse_duration(text).expect("a time");
                let (least, most) = (read(min), read(max));
                assert!(least < most, "{name}");
                for value in [least, most] {
                    let text = humantime::format_duration(value).to_string();
                    assert!(kind.read(&text) == Some(Value::Duration(value)), "{text}");
                }
                let nano = Duration::from_nanos(1);
                let mut beyond = vec![most + nano];
                beyond.extend(least.checked_sub(nano));
                for value in beyond {
                    let said = refused(&humantime::format_duration(value).to_string());
                    assert!(said.contains(&format!("--{name}: ")), "{said}");
                    assert!(said.contains(&format!("from {min} to {max}")), "{said}");
                }
            }
            Kind::Text { max } => {
                texts += 1;
                assert!(kind.read("x").is_some() && kind.read(&"x".repeat(max)).is_some());
                for text in [String::new(), "x".repeat(max + 1)] {
                    let said = refused(&text);
                    assert!(said.contains(&format!("1 to {max} bytes")), "{said}");
                }
            }
            _ => {}
        }
    }
    assert!(numbers > 0 && times > 0 && texts > 0);
}

#[test]
fn what_is_secret_is_known_to_be_and_never_shown() {
    for setting in table::all() {
        let holds_one = ["secret", "token", "password"]
            .iter()
            .any(|word| setting.name.split('-').any(|part| part == *word));
        let is_path = matches!(setting.kind, Kind::Path);
        assert_eq!(setting.secret, holds_one && !is_path, "{}", setting.name);
        if setting.secret {
            for source in sources() {
                let wanted = setting.kind.wanted();
                let said = Problem::value(&source, "hunter2", true, &wanted).to_string();
                assert!(!said.contains("hunter2"), "{said}");
            }
            assert_eq!(setting.default, None, "{}", setting.name);
        }
    }
    assert!(setting("jwt-secret").secret && setting("token").secret);
    assert!(!setting("token").flag, "the process list would show it");
}

#[test]
fn a_password_in_a_url_is_never_shown() {
    let mut urls = 0;
    for setting in table::all() {
        if !setting
            .name
            .split('-')
            .any(|part| part == "url" || part == "endpoint")
        {
            continue;
        }
        urls += 1;
        let texts = ["nats://bob:hunter2@nats:4222", "https://a/b?key=hunter2"].map(String::from);
        for source in sources() {
            for text in &texts {
                let said = Problem::of_setting(&source, text, setting).to_string();
                assert!(!said.contains("hunter2"), "{said}");
            }
            let said = Effective::new(setting, &texts[1..], &source).to_string();
            assert!(
                !said.contains("hunter2") && said.starts_with("# "),
                "{said}"
            );
        }
    }
    assert!(urls >= 6, "{urls}");
}

#[test]
fn the_uppermost_layer_wins_whatever_the_order_they_came_in() {
    let retry = setting("retry");
    let given = |source: Source| Given {
        texts: vec![source.to_string()],
        source,
    };
    for upper in 0..sources().len() {
        // All from `upper` down, from below and from above.
        let mut layers: Vec<Source> = sources()[upper..].to_vec();
        for _ in 0..2 {
            let mut all = All::new();
            all.insert("retry", layers.iter().cloned().map(given).collect());
            let winner = first(retry, &all).expect("a layer");
            assert_eq!(winner.source, sources()[upper]);
            assert_eq!(winner.texts, [sources()[upper].to_string()]);
            layers.reverse();
        }
    }
    assert!(first(retry, &All::new()).is_none());
    let mut all = All::new();
    all.insert(
        "heartbeat",
        vec![given(Source::Default("heartbeat".into()))],
    );
    assert!(first(retry, &all).is_none(), "another setting's value");
}

#[test]
fn a_problem_says_where_its_value_stands() {
    let said: Vec<String> = sources()
        .iter()
        .map(|source| Problem::value(source, "soon", false, "a time").to_string())
        .collect();
    assert_eq!(
        said,
        [
            "--retry: \"soon\" is not a time",
            "MERCURIO_RETRY (environment): \"soon\" is not a time",
            "MERCURIO_RETRY (.env): \"soon\" is not a time",
            "retry (settings.toml line 7): \"soon\" is not a time",
            "retry (default): \"soon\" is not a time",
        ]
    );
    let unknown = |meant| Problem::unknown(&sources()[1], meant).to_string();
    assert_eq!(unknown(None), "MERCURIO_RETRY (environment): unknown");
    assert!(unknown(Some("MERCURIO_RETRO")).ends_with("did you mean MERCURIO_RETRO?"));
}

#[test]
fn one_problem_is_a_line_and_several_are_a_list() {
    let problem = |text: &str| Problem::new(text);
    assert_eq!(Problems(vec![problem("a")]).to_string(), "a");
    assert_eq!(
        Problems(vec![problem("a"), problem("b")]).to_string(),
        "2 settings are wrong:\n  a\n  b"
    );
}

#[test]
fn a_switch_alone_means_true_and_can_be_turned_off() {
    let clap = || super::flags(Command::Serve, clap::Command::new("serve"));
    let value = |args: &[&str]| {
        let matches = clap()
            .try_get_matches_from([&["serve"], args].concat())
            .expect("allowed");
        matches.get_one::<String>("jwt-allow-missing-exp").cloned()
    };
    assert_eq!(value(&[]), None);
    assert_eq!(value(&["--jwt-allow-missing-exp"]).as_deref(), Some("true"));
    assert_eq!(
        value(&["--jwt-allow-missing-exp=false"]).as_deref(),
        Some("false")
    );
    // The value has to be in the same word: the next one may be anything.
    let args = ["serve", "--jwt-allow-missing-exp", "false"];
    assert!(clap().try_get_matches_from(args).is_err());
}

#[test]
fn a_command_takes_the_flags_of_its_settings_and_no_others() {
    for command in Command::ALL {
        let clap = super::flags(*command, clap::Command::new("x"));
        let flags: BTreeSet<&str> = clap.get_arguments().filter_map(|a| a.get_long()).collect();
        for setting in table::all() {
            let used = setting.flag && setting.commands.contains(command);
            assert_eq!(
                flags.contains(setting.name),
                used,
                "{} {}",
                command.name(),
                setting.name
            );
        }
    }
}
