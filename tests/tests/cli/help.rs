//! Help: every command's, and its examples.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_with_an_example_of_flags_it_takes() {
    let place = Place::new();
    let all = place.run(&["--help"]).await.code(0).out;
    for command in COMMANDS {
        assert!(all.contains(&format!("  {command} ")), "{command}: {all}");
        let help = place.run(&[command, "--help"]).await.code(0).out;
        let (above, example) = help.split_once("Example:").expect("an example");
        let example = example.trim().lines().next().unwrap();
        assert!(
            example.starts_with(&format!("mercurio {command}")),
            "{example}"
        );
        for flag in example.split_whitespace().filter(|w| w.starts_with("--")) {
            assert!(above.contains(&format!("{flag} ")), "{flag}: {help}");
        }
        for code in 0..=5 {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}: {help}");
        }
    }
    assert_eq!(place.run(&["--version"]).await.code(0).err, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_help_work() {
    let core = Setup::core().start().await;
    fs::copy(core.secret().path(), core.setup.home().join("key")).unwrap();
    let binaries = binary::mercurio().parent().unwrap().display().to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    for (command, prints) in [
        ("token", "eyJ"),
        ("publish", "\"notificationID\":1"),
        ("history", "Invoice 7 was paid"),
        ("subscribe", "Invoice 7 was paid"),
    ] {
        let help = at(&core, &[command, "--help"]).await.code(0).out;
        let example = help.split_once("Example:").unwrap().1.trim();
        let mut line = Command::new("bash");
        line.args(["-c", &format!("exec {}", example.lines().next().unwrap())]);
        // What `mercurio` is started with, and that it is found.
        for (name, value) in mercurio_at(&core, &[]).get_envs() {
            match value {
                Some(value) => line.env(name, value),
                None => line.env_remove(name),
            };
        }
        line.env("PATH", &path).current_dir(core.setup.home());
        let process = Process::spawn(command, &mut line);
        process.stdout.wait_for(prints, SOON).await;
    }
}
