//! The npm package: packed, installed into a small Vite page, its types checked, built, loaded.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use mercurio_tests::{
    browser::Browser,
    prelude::*,
    process::Process,
    service::{finish, free_address},
    tools,
};

use super::*;

/// Runs a command in a folder to its end, which has to be a good one.
async fn run(folder: &Path, program: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(folder)
        .env("GATEWAY", "http://127.0.0.1:1");
    let (status, out, err) = finish(&args.join(" "), &mut command, LATER).await;
    assert!(status.success(), "{args:?}: {out}\n{err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_vite_page() {
    let (Some(npm), Some(node), Some(browser)) = (
        tools::tool("npm"),
        tools::tool("node"),
        Browser::chromium().await,
    ) else {
        return;
    };
    let (Some(tests), Some(web)) = (
        tools::node_modules("browser", "playwright-core"),
        tools::web(),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path();
    for file in fs::read_dir(tests.join("vite")).expect("the page") {
        let file = file.expect("a file");
        fs::copy(file.path(), site.join(file.file_name())).expect("copy");
    }
    let destination = site.to_str().expect("a path");
    let packed = run(
        &web,
        &npm,
        &["pack", "--silent", "--pack-destination", destination],
    )
    .await;
    let tarball = packed.lines().last().expect("its name").trim().to_owned();
    let install = [
        "install",
        "--offline",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ];
    run(
        site,
        &npm,
        &[&install[..], &[&format!("./{tarball}")]].concat(),
    )
    .await;

    let module = site.join("node_modules/mercurio-client");
    assert!(module.join("client.js").is_file());
    assert!(module.join("types/client.d.ts").is_file());
    assert!(
        !module.join("client/sse.test.js").exists(),
        "tests stay at home"
    );
    let tsc = web.join("node_modules/typescript/bin/tsc");
    run(site, &node, &[tsc.to_str().expect("a path"), "-p", "."]).await;

    let vite = tests.join("node_modules/vite/bin/vite.js");
    let vite = vite.to_str().expect("a path");
    run(site, &node, &[vite, "build"]).await;
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let token = service.secret().user("alice");
    // As built, and as it is being developed.
    for mode in ["preview", "dev"] {
        let port = free_address().port().to_string();
        let mut command = Command::new(&node);
        command
            .args([vite, mode, "--host", "127.0.0.1", "--port", &port])
            .current_dir(site)
            .env("GATEWAY", format!("http://{}", service.http()))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        let server = Process::spawn(mode, &mut command);
        server.stdout.wait_for("Local:", SOON).await;
        let url = format!("http://127.0.0.1:{port}/#token={token}");
        let first = browser.open(mode, &url).await;
        let second = browser.open(mode, &url).await;
        for page in [&first, &second] {
            page.until(
                "document.title === 'loaded'",
                "document.body.innerText",
                SOON,
            )
            .await;
        }
        api.publish(to(&["alice"], "news", "not shown")).await;
        api.publish(to(&["alice"], "invoice.paid", mode)).await;
        for page in [&first, &second] {
            let shown = format!(
                "document.title === '{mode}' && document.querySelector('li').textContent === '{mode}'"
            );
            page.until(&shown, "document.body.innerText", SOON).await;
        }
        let badge = value(&first, "document.querySelector('#badge').textContent").await;
        assert_eq!(badge, api.unread("alice").await.to_string());
        let bell = "document.querySelector('mercurio-inbox').shadowRoot.querySelector('.badge').textContent";
        first
            .until(
                &format!("{bell} === '{}'", badge.as_str().unwrap()),
                bell,
                SOON,
            )
            .await;
        streams_become(&service, 1).await;
        first.close().await;
        second.close().await;
        streams_become(&service, 0).await;
    }
}
