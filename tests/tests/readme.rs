//! The README's examples, run as they stand.
//!
//! # The convention
//!
//! Each block fenced as `sh` is run by bash (`set -euo pipefail`), in the order of the file, in a
//! directory of its own where `mercurio dev` is running with its data in `./data`; `mercurio` and
//! `grpcurl` are on the PATH. What a block exports, later blocks see. The default addresses
//! (`127.0.0.1:` or `localhost:` with 50051, 8000, 9464) are replaced by the ones of this run.
//! A block that is fenced otherwise (`console`, `toml`, …) is not run.
//!
//! A comment on the line right before the fence says what else is to be known:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- not run: WHY -->` | the block is not run |
//! | `<!-- prints: TEXT -->` | its output has to contain TEXT |
//! | `<!-- until: TEXT -->` | it does not end by itself (a stream): it runs on beside the blocks that follow, and its output has to contain TEXT before all is over |

use std::{fs, path::PathBuf, process::Command};

use mercurio_tests::{
    binary::{mercurio, repository},
    prelude::*,
    process::Process,
    service::Role,
    tools::tool,
};

/// A block of the README.
#[derive(Debug, PartialEq)]
struct Block {
    line: usize,
    text: String,
    manner: How,
}

#[derive(Debug, PartialEq)]
enum How {
    Ends,
    Prints(String),
    Until(String),
}

/// The blocks that are run.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut before = "";
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            let body: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| !line.trim_start().starts_with("```"))
                .collect();
            let comment = |key: &str| {
                let inner = before.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
                let text = inner.trim().strip_prefix(key)?.trim().to_owned();
                assert!(!text.is_empty(), "line {number}: {key} says nothing");
                Some(text)
            };
            if info.trim() == "sh" && comment("not run:").is_none() {
                let manner = match (comment("prints:"), comment("until:")) {
                    (Some(text), _) => How::Prints(text),
                    (_, Some(text)) => How::Until(text),
                    _ => How::Ends,
                };
                found.push(Block {
                    line: number + 2,
                    text: body.join("\n"),
                    manner,
                });
            }
        }
        before = line;
    }
    found
}

#[test]
fn the_convention() {
    let text = "\
text
```sh
one
two
```
<!-- not run: it builds -->
```sh
no
```
```toml
no = 1
```
<!-- prints: hello -->
```sh
echo hello
```
<!-- until: event: opened -->
```sh
curl -N
```
";
    let block = |line, text: &str, manner| Block {
        line,
        text: text.into(),
        manner,
    };
    assert_eq!(
        blocks(text),
        [
            block(3, "one\ntwo", How::Ends),
            block(15, "echo hello", How::Prints("hello".into())),
            block(19, "curl -N", How::Until("event: opened".into())),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_works() {
    let Ok(readme) = fs::read_to_string(repository().join("README.md")) else {
        panic!("there is no README.md");
    };
    let blocks = blocks(&readme);
    assert!(!blocks.is_empty(), "README.md has no block that is run");
    let Some(grpcurl) = tool("grpcurl") else {
        return;
    };
    let service = Setup::new(Role::Dev).start().await;
    let home = service.setup.home();
    let exported = home.join(".exported");
    fs::write(&exported, "").unwrap();

    let addresses = [
        ("50051", service.grpc()),
        ("8000", service.http()),
        ("9464", service.admin()),
    ];
    let here = |text: &str| {
        let mut text = text.to_owned();
        for (port, address) in addresses {
            for host in ["127.0.0.1", "localhost"] {
                text = text.replace(&format!("{host}:{port}"), &address.to_string());
            }
        }
        text
    };
    let path = |binary: PathBuf| binary.parent().expect("a directory").display().to_string();
    let paths = format!(
        "{}:{}:{}",
        path(mercurio().to_owned()),
        path(grpcurl),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut running = Vec::new();
    for block in &blocks {
        // Variables set in one block are there in the next.
        let script = format!(
            "set -euo pipefail; set -a; source .exported; set +a\n{}\nexport -p > .exported\n",
            here(&block.text)
        );
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(&script)
            .current_dir(home)
            .env("PATH", &paths);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MERCURIO_") {
                command.env_remove(name);
            }
        }
        command.env("MERCURIO_CORE_URL", format!("http://{}", service.grpc()));
        let name = format!("README.md, line {}", block.line);
        let mut process = Process::spawn(&name, &mut command);
        if let How::Until(text) = &block.manner {
            running.push((name, process, here(text)));
            continue;
        }
        let status = process.wait(LATER).await;
        let out = process.stdout.to_end(SOON).await;
        let err = process.stderr.to_end(SOON).await;
        assert!(
            status.success(),
            "{name}: {status}\n{}\n{out}\n{err}",
            block.text
        );
        if let How::Prints(text) = &block.manner {
            let text = here(text);
            assert!(
                out.contains(&text),
                "{name}: does not print {text:?}:\n{out}\n{err}"
            );
        }
    }
    for (name, process, text) in running {
        let found = process.stdout.find(|line| line.contains(&text));
        let found = within(&format!("{name} prints {text:?}"), SOON, found).await;
        assert!(
            found.is_some(),
            "{name}: ended without {text:?}:\n{}",
            process.stderr.text()
        );
    }
}
