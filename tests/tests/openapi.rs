//! The HTTP API is what its description says, and the description is served.

use std::process::Command;

use mercurio_tests::{prelude::*, process::Process, tools::tool_at};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_to_anyone_and_may_be_kept() {
    let service = Setup::serve().start().await;
    let get = || Request::get("/openapi.json");
    let answer = get().send(service.http()).await;
    assert_eq!(answer.expect(200)["openapi"], "3.1.0");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let tag = answer.header("etag").expect("a version").to_owned();
    let known = get().header("If-None-Match", tag).send(service.http());
    let known = known.await;
    assert_eq!((known.status, known.body.len()), (304, 0));
}

/// Schemathesis makes requests of the description, good and bad ones: what is good is taken, what
/// is bad is refused as it is said, nothing fails, and nothing is done without a token.
#[tokio::test(flavor = "multi_thread")]
async fn requests_made_of_the_description_are_answered_by_it() {
    let tools = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/.tools/openapi/bin/schemathesis"
    );
    let Some(program) = tool_at(tools.into()) else {
        return;
    };
    let service = Setup::serve().start().await;
    let scopes = "notifications:publish notifications:any";
    let token = service.secret().scoped("alice", scopes);
    // What examples are about.
    let api = service.service_api();
    for n in 1..=5 {
        api.publish(to(&["alice"], "t", &n.to_string())).await;
    }
    let description = format!("http://{}/openapi.json", service.http());
    let mut command = Command::new(program);
    command
        .current_dir(service.setup.home())
        .arg("--config-file")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/openapi/schemathesis.toml"
        ))
        .args(["run", &description, "--checks", "all", "--no-color"])
        .args(["-H", &format!("Authorization: Bearer {token}")]);
    let mut run = Process::spawn("schemathesis", &mut command);
    let status = run.wait(2 * LATER).await;
    let said = run.stdout.to_end(SOON).await;
    assert!(status.success(), "{status}\n{said}");
    let described = Request::get("/openapi.json").send(service.http()).await;
    let described = described.json();
    let paths = described["paths"].as_object().expect("paths").values();
    let is_operation = |name: &&String| *name != "parameters";
    let names = |path: &Value| {
        path.as_object()
            .expect("a path")
            .keys()
            .filter(is_operation)
            .count()
    };
    // It passes over the one that it has the description from.
    let operations = paths.map(names).sum::<usize>() - 1;
    assert!(said.contains(&format!("Tested: {operations}\n")), "{said}");
}
