//! What a command's exit code says, and where its token comes from.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_what_went_wrong() {
    let core = Setup::core().start().await;
    let clients: [&[&str]; 4] = [
        &["publish", "--to", "alice", "--data", "x"],
        &["subscribe", "--recipient", "alice", "--until-current"],
        &["history", "--recipient", "alice"],
        &["read", "--recipient", "alice", "--all"],
    ];
    let nobody = format!("http://{}", free_address());
    let here = format!("http://{}", core.grpc());
    let other = Secret::default();
    let other_file = other.path().to_str().unwrap();
    for args in clients {
        at(&core, args).await.code(0);
        let with = async |more: &[&str]| at(&core, &[args, more].concat()).await;
        with(&["--core-url", &nobody]).await.refused(3, &[&nobody]);
        // The next one is tried.
        with(&["--core-url", &nobody, "--core-url", &here])
            .await
            .code(0);
        with(&["--jwt-secret-file", other_file])
            .await
            .refused(4, &["signature", "[TOKEN_INVALID]"]);
        with(&["--no-such-flag"])
            .await
            .refused(2, &["--no-such-flag"]);
        with(&["--core-url", "here"])
            .await
            .refused(2, &["--core-url", "http://HOST:PORT"]);
        with(&["--token-file", "/nonexistent"])
            .await
            .refused(2, &["--token-file"]);
        let expired = core.secret().expiring("service", ANY, -1);
        with_token(&core, &expired, args)
            .await
            .refused(4, &["[TOKEN_EXPIRED]"]);
        let bob = core.secret().user("bob");
        let ended = with_token(&core, &bob, args).await;
        ended.refused(
            4,
            &[if args[0] == "publish" {
                "[SCOPE_MISSING]"
            } else {
                "[NOT_YOUR_FEED]"
            }],
        );
        // Without a key nobody is anybody.
        let mut command = mercurio_at(&core, args);
        command.env_remove("MERCURIO_JWT_SECRET_FILE");
        run(command)
            .await
            .refused(2, &["--token-file", "--jwt-secret-file"]);
    }
    let place = Place::new();
    place.run(&["colour"]).await.refused(2, &["colour"]);
    place
        .run(&["--http-adr", "x"])
        .await
        .refused(2, &["--http-adr"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_a_file_or_a_variable_is_what_is_shown() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    api.publish(to(&["alice"], "t", "x")).await;
    let alice = core.secret().user("alice");
    let file = core.setup.home().join("token");
    fs::write(&file, format!("{alice}\n")).unwrap();
    let history = ["history", "--recipient", "alice"];
    let by_file = [&history[..], &["--token-file", "token"]].concat();
    // The token is used though there is a key.
    assert_eq!(at(&core, &by_file).await.lines().len(), 2);
    let bobs = ["history", "--recipient", "bob", "--token-file", "token"];
    at(&core, &bobs).await.refused(4, &["[NOT_YOUR_FEED]"]);
    assert_eq!(with_token(&core, &alice, &history).await.lines().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_dev_a_command_needs_no_key() {
    let dev = Setup::new(mercurio_tests::service::Role::Dev).start().await;
    let url = format!("http://{}", dev.grpc());
    let here = async |args: &[&str]| {
        let mut command = mercurio();
        command.current_dir(dev.setup.home()).args(args);
        command.env("MERCURIO_CORE_URL", &url);
        run(command).await
    };
    here(&["publish", "--to", "alice", "--data", "x"])
        .await
        .line();
    let token = here(&["token", "--sub", "alice"]).await.code(0).out;
    assert_eq!(dev.api(&token).unread("alice").await, 1);
    here(&["read", "--recipient", "alice", "--all"])
        .await
        .line();
    assert_eq!(dev.api(&token).unread("alice").await, 0);
}
