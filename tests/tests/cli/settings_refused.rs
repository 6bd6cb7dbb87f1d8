//! Settings that are refused, all at once, and by name.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_nobody_knows_is_refused_in_every_layer_at_once() {
    let place = Place::new();
    let token = ["token", "--sub", "alice", "--jwt-secret", KEY];
    let unknown_flag = [&token[..], &["--jwt-isuer", "x"]].concat();
    place
        .run(&unknown_flag)
        .await
        .refused(2, &["--jwt-isuer", "--jwt-issuer"]);

    let variable = [("MERCURIO_JWT_ISUER", "x")];
    let ended = place.run_with(&variable, &token).await;
    let hint = "MERCURIO_JWT_ISUER (environment): unknown; did you mean MERCURIO_JWT_ISSUER?";
    ended.refused(2, &[hint]);

    let dot_env = "MERCURIO_COLOUR=red\n";
    place.write(".env", dot_env);
    let ended = place.run(&token).await;
    let hint = ended.refused(2, &["MERCURIO_COLOUR (.env): unknown"]);
    assert!(!hint.contains("did you mean"), "{hint}");

    place.write(
        "settings.toml",
        "# a comment\njwt-issuer = \"ok\"\n\"jwt-isuer\" = \"x\"\n\n[gateway]\nretry = \"1s\"\n",
    );
    let with_file = [&token[..], &["--config", "settings.toml"]].concat();
    let ended = place.run_with(&variable, &with_file).await;
    ended.refused(
        2,
        &[
            "4 settings are wrong:",
            "MERCURIO_JWT_ISUER (environment)",
            "MERCURIO_COLOUR (.env)",
            "jwt-isuer (settings.toml line 3): unknown; did you mean jwt-issuer?",
            "gateway (settings.toml line 5): unknown",
        ],
    );
    // A file can't name another one, nor what only a variable may hold in another way.
    fs::remove_file(place.path().join(".env")).unwrap();
    place.write("settings.toml", "config = \"other.toml\"\n");
    let ended = place.run(&with_file).await;
    ended.refused(2, &["config (settings.toml line 1): unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_passed_over() {
    let place = Place::new();
    place.write(
        ".env",
        "DATABASE_URL=x\nMERCURIOUS=1\nMERCURIO_HTTP_ADDR=127.0.0.1:1\n",
    );
    // A file that several commands share: what this one does not use is not its concern.
    place.write(
        "settings.toml",
        "retry = \"1s\"\ncore-url = [\"http://h:1\"]\njwt-issuer = \"file\"\n",
    );
    let variables = [("mercurio_x", "1"), ("DATABASE_URL", "x")];
    let config = ["--config", "settings.toml"];
    assert_eq!(issuer(&place, &variables, &config).await, "file");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_said_at_once_with_its_layer_and_limit() {
    let place = Place::new();
    place.write(
        ".env",
        "MERCURIO_RETRY=1h\nMERCURIO_STREAMS_MAX=10000001\nMERCURIO_JWT_ALLOW_MISSING_EXP=yes\n",
    );
    place.write(
        "settings.toml",
        "heartbeat = \"1ms\"\nrecipients-max = 0\nlog-level = 1.5\ncors-origin = [\"*\", \"https://ok.example\"]\nretry = \"also wrong, and hidden\"\n",
    );
    let variables = [
        ("MERCURIO_SHUTDOWN_GRACE", "never"),
        ("MERCURIO_HTTP_ADDR", "8000"),
        ("MERCURIO_RETRI", "1s"),
    ];
    let args = [
        "serve",
        "--config",
        "settings.toml",
        "--log-format",
        "loud",
        "--data-max-bytes",
        "16777217",
        "--jwt-secret-file",
        "/nonexistent",
    ];
    let said = place.run_with(&variables, &args).await.refused(
        2,
        &[
            "12 settings are wrong:",
            "--log-format: \"loud\" is not text or json",
            "--data-max-bytes: \"16777217\" is not a whole number from 1 to 16777216",
            "MERCURIO_SHUTDOWN_GRACE (environment): \"never\" is not a time from 100ms to 1h",
            "MERCURIO_HTTP_ADDR (environment): \"8000\" is not HOST:PORT",
            "MERCURIO_RETRI (environment): unknown; did you mean MERCURIO_RETRY?",
            "MERCURIO_RETRY (.env): \"1h\" is not a time from 1ms to 10m",
            "MERCURIO_STREAMS_MAX (.env): \"10000001\" is not a whole number from 1 to 10000000",
            "MERCURIO_JWT_ALLOW_MISSING_EXP (.env): \"yes\" is not true or false",
            "heartbeat (settings.toml line 1): \"1ms\" is not a time from 100ms to 10m",
            "recipients-max (settings.toml line 2): \"0\" is not a whole number from 1 to 100000",
            "log-level (settings.toml line 3): the value is not error, warn",
            "cors-origin (settings.toml line 4): \"*\" is not an origin",
        ],
    );
    assert!(!said.contains("hidden"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_the_keys_is_said_at_once() {
    let place = Place::new();
    place.write("not.pem", "no key");
    let args = [
        "--jwt-secret-file",
        "/nonexistent/secret",
        "--jwt-public-key-file",
        "/nonexistent/public",
        "--jwt-public-key-file",
        "not.pem",
        "--jwt-user-claim",
        "exp",
    ];
    for command in ["serve", "core"] {
        place.run(&[&[command], &args[..]].concat()).await.refused(
            2,
            &[
                "4 settings are wrong:",
                "--jwt-secret-file /nonexistent/secret: ",
                "--jwt-public-key-file /nonexistent/public: ",
                "--jwt-public-key-file not.pem: ",
                "--jwt-user-claim: ",
            ],
        );
    }
    // With its newline and without, it is one thing that is wrong.
    place.write(
        "key",
        "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n",
    );
    let public = place.run(&["core", "--jwt-secret-file", "key"]).await;
    let said = public.refused(2, &["public key file"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    let none = [
        "gateway",
        "--jwt-user-claim",
        "aud",
        "--core-token-file",
        "none",
    ];
    place.run(&none).await.refused(
        2,
        &[
            "3 settings",
            "a key is needed: --jwt-secret-file",
            "--jwt-user-claim: ",
            "--core-token-file none: ",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_can_t_be_read_are_named() {
    let place = Place::new();
    let token = ["token", "--sub", "alice", "--jwt-secret", KEY];
    let config = [&token[..], &["--config", "settings.toml"]].concat();
    place
        .run(&config)
        .await
        .refused(2, &["--config settings.toml: "]);
    for (text, line) in [
        ("a\n", 1),
        ("# x\n\njwt-issuer = x\n", 3),
        ("a = 1\na = 2\n", 2),
    ] {
        place.write("settings.toml", text);
        let named = format!("settings.toml line {line}: ");
        place.run(&config).await.refused(2, &[&named]);
    }
    for text in ["=x\n", "MERCURIO_JWT_ISSUER='x\n", "no name\n"] {
        place.write(".env", text);
        place.run(&token).await.refused(2, &[".env: "]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_text_is_refused_not_mended() {
    let place = Place::new();
    let value = OsString::from_vec(b"sec\xffret".to_vec());
    let mut command = place.command(&["token", "--sub", "alice"]);
    command.env("MERCURIO_JWT_SECRET", &value);
    let said = run(command)
        .await
        .refused(2, &["MERCURIO_JWT_SECRET (environment)", "UTF-8"]);
    assert!(!said.contains("sec\u{fffd}"), "{said}");
    let mut command = place.command(&["token", "--sub", "alice", "--jwt-secret"]);
    command.arg(&value);
    run(command).await.refused(2, &["UTF-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_message() {
    const SECRET: &str = "hunter2";
    let long = SECRET.repeat(1200);
    let lined = format!("{SECRET}\n{SECRET}");
    let token = ["token", "--sub", "alice"];
    let history = [
        "history",
        "--recipient",
        "alice",
        "--core-url",
        "http://127.0.0.1:1",
    ];
    let mut said = BTreeSet::new();
    let mut check = |how: &str, ended: Ended| {
        let ended = ended.code(2);
        let text = format!("{}{}", ended.out, ended.err);
        assert!(!text.contains(SECRET), "{how}: {text}");
        assert!(!text.is_empty(), "{how}");
        said.insert(text);
    };
    let place = Place::new();
    for args in [
        &["--jwt-secret", &long][..],
        &["--jwt-secret", &lined],
        &["--jwt-secret", SECRET, "--jwt-secret", SECRET],
        &["--jwt-secret", SECRET, "--ttl", "0s"],
        &["--jwt-secret", SECRET, "--jwt-issuer", ""],
        &["--jwt-secret", SECRET, "--jwt-user-claim", "exp"],
        &["--jwt-secret", SECRET, "--log-level", "info"],
        &["--jwt-secrett", SECRET],
        &["--jwt-secrett=hunter2"],
        &["--token=hunter2"],
    ] {
        check(
            &format!("{args:?}"),
            place.run(&[&token, args].concat()).await,
        );
    }
    for args in [&["--token=hunter2"][..], &["--token", SECRET]] {
        check(
            &format!("{args:?}"),
            place.run(&[&history, args].concat()).await,
        );
    }
    for (name, value) in [
        ("MERCURIO_JWT_SECRET", &long),
        ("MERCURIO_JWT_SECRET", &lined),
        ("MERCURIO_TOKEN", &long),
        ("MERCURIO_TOKEN", &lined),
        ("MERCURIO_JWT_SECRETT", &lined),
    ] {
        check(name, place.run_with(&[(name, value)], &history).await);
    }
    for text in [
        format!("MERCURIO_JWT_SECRET={long}"),
        format!("MERCURIO_JWT_SECRET={SECRET} {SECRET} \"x"),
        format!("MERCURIO_JWT_SECRETT={SECRET}"),
        format!("MERCURIO_TOKEN=\"{lined}\""),
        SECRET.to_owned(),
    ] {
        let place = Place::new();
        place.write(".env", &text);
        check(&text, place.run(&history).await);
    }
    for text in [
        format!("jwt-secret = {SECRET}"),
        format!("jwt-secret = \"{SECRET}"),
        format!("jwt-secret = \"{SECRET}\" {SECRET}"),
        format!("jwt-secret = \"{SECRET}\\q{SECRET}\""),
        format!("jwt-secret = [\"{SECRET}\"]"),
        format!("jwt-secret = {{ {SECRET} = \"{SECRET}\" }}"),
        format!("jwt-secret = \"{long}\""),
        format!("jwt-secret = \"\"\"{lined}\"\"\""),
        format!("jwt-secret = \"{SECRET}\"\njwt-secret = \"{SECRET}\""),
        format!("jwt-secrett = \"{SECRET}\""),
        format!("token = \"{lined}\""),
    ] {
        place.write("settings.toml", &text);
        let args = [&history[..], &["--config", "settings.toml"]].concat();
        check(&text, place.run(&args).await);
    }
    // A public key given as a secret, and what a file with a secret can be.
    place.write(
        "secret",
        &format!("-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----\n"),
    );
    let args = [&token[..], &["--jwt-secret-file", "secret"]].concat();
    check("a public key", place.run(&args).await);
    place.write("secret", SECRET);
    let args = ["core", "--jwt-public-key-file", "secret"];
    check("a secret as a public key", place.run(&args).await);
    assert!(said.len() > 12, "they say the same: {said:?}");
    // Neither in the log of one that starts, nor where a weak one is warned of.
    let secret = std::sync::Arc::new(Secret::new(SECRET));
    let mut core = Setup::core()
        .without_secret()
        .secret(secret.clone())
        .env("MERCURIO_JWT_SECRET", SECRET)
        .args(["--log-level", "trace"])
        .start()
        .await;
    core.api(&secret.service())
        .publish(to(&["alice"], "t", "x"))
        .await;
    assert!(core.stop().await.success());
    let log = core.process.stderr.to_end(SOON).await;
    assert!(log.contains("can be guessed"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(
        !log.contains(&secret.service()[..36]),
        "a token is in the log: {log}"
    );
}
