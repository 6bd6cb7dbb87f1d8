//! The commands as they are typed: what they print, how they exit, where their settings come from.

mod exit_codes;
mod help;
mod history;
mod publish;
mod settings;
mod settings_refused;
mod subscribe;
mod token;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mercurio_tests::{
    binary,
    prelude::*,
    process::{Process, Signal},
    service::{free_address, mercurio},
    tokens::{ANY, PUBLISH, Secret},
};
use serde_json::{Value, json};

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    fn code(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts success and gives each line of the output as JSON.
    #[track_caller]
    fn lines(self) -> Vec<Value> {
        parse(&self.code(0).out)
    }

    /// Asserts success and one line.
    #[track_caller]
    fn line(self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    /// Asserts an exit code, that nothing was printed, and that all of this was said.
    #[track_caller]
    fn refused(self, code: i32, texts: &[&str]) -> String {
        let ended = self.code(code);
        assert_eq!(ended.out, "", "{ended:?}");
        for text in texts {
            assert!(ended.err.contains(text), "{text:?} is not said: {ended:?}");
        }
        ended.err
    }
}

#[track_caller]
fn parse(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"))
    };
    text.lines().map(line).collect()
}

async fn run(mut command: Command) -> Ended {
    run_with_input(command.stdin(Stdio::null())).await
}

async fn run_with_input(command: &mut Command) -> Ended {
    let mut process = Process::spawn_with_input("mercurio", command);
    let status = process.wait(SOON).await;
    Ended {
        code: status.code().expect("ended by itself"),
        out: process.stdout.to_end(SOON).await,
        err: process.stderr.to_end(SOON).await,
    }
}

/// `mercurio` with these arguments in the directory of this core, with its address and its key.
fn mercurio_at(core: &Service, args: &[&str]) -> Command {
    let mut command = mercurio();
    command
        .current_dir(core.setup.home())
        .env("MERCURIO_CORE_URL", format!("http://{}", core.grpc()))
        .env("MERCURIO_JWT_SECRET_FILE", core.secret().path())
        .args(args);
    command
}

async fn at(core: &Service, args: &[&str]) -> Ended {
    run(mercurio_at(core, args)).await
}

/// The same with this token in place of the key.
async fn with_token(core: &Service, token: &str, args: &[&str]) -> Ended {
    let mut command = mercurio_at(core, args);
    command.env_remove("MERCURIO_JWT_SECRET_FILE");
    command.env("MERCURIO_TOKEN", token);
    run(command).await
}

/// An empty directory to run commands in.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = mercurio();
        command.current_dir(self.path()).args(args);
        command
    }

    async fn run(&self, args: &[&str]) -> Ended {
        run(self.command(args)).await
    }

    async fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        run(command).await
    }
}

/// The claims of a token that this secret signed.
#[track_caller]
fn claims(token: &str, secret: &[u8]) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret);
    let token = jsonwebtoken::decode::<Value>(token.trim(), &key, &validation);
    token.expect("a token of this secret").claims
}

const COMMANDS: [&str; 9] = [
    "serve",
    "core",
    "gateway",
    "dev",
    "token",
    "publish",
    "subscribe",
    "history",
    "read",
];

const KEY: &str = "a secret that is long enough for anybody";

/// The issuer in the token that this prints: where the setting `jwt-issuer` came from.
async fn issuer(place: &Place, variables: &[(&str, &str)], args: &[&str]) -> Value {
    let all = [&["token", "--sub", "alice", "--jwt-secret", KEY], args].concat();
    let token = place.run_with(variables, &all).await.code(0).out;
    claims(&token, KEY.as_bytes())["iss"].clone()
}
