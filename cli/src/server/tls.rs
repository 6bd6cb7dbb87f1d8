//! Certificates, from the settings: of both doors, and of the way to the core.

use std::{path::PathBuf, sync::Arc};

use mercurio_auth::ClientScopes;
use mercurio_net::{
    ClientFiles, ClientTls, H2, H2_OR_HTTP1, LoadError, Look, Protocols, ServerFiles, ServerTls,
};

use crate::{
    error::Failure,
    settings::{Problem, Problems, Settings},
};

/// Who this process is at its doors, and whom it lets in without a token.
#[derive(Default)]
pub struct Doors {
    /// The gateway's.
    pub http: Option<ServerTls>,
    /// The core's.
    pub grpc: Option<ServerTls>,
    /// What clients of the core may do by their certificate.
    pub clients: ClientScopes,
    /// For a gateway to reach a core elsewhere.
    pub to_core: Option<ClientTls>,
}

impl Doors {
    /// Of the settings.
    ///
    /// # Errors
    /// All that is wrong: a file can't be used, or one setting needs another.
    pub fn configured(settings: &Settings) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        let http = server(settings, "", H2_OR_HTTP1, &mut problems);
        let grpc = server(settings, "grpc-", H2, &mut problems);
        let scopes = settings.texts("grpc-client-scope");
        if !scopes.is_empty() && settings.path("grpc-client-ca").is_none() {
            let problem = "--grpc-client-scope: --grpc-client-ca is needed with it";
            problems.push(Problem::new(problem));
        }
        let clients = ClientScopes::parse(scopes.iter().map(String::as_str));
        let clients = clients.unwrap_or_else(|error| {
            problems.push(Problem::new(format!("--grpc-client-scope: {error}")));
            ClientScopes::default()
        });
        let to_core = to_core(settings, &mut problems);
        if problems.is_empty() {
            Ok(Self {
                http,
                grpc,
                clients,
                to_core,
            })
        } else {
            Err(Problems(problems).into())
        }
    }

    /// What takes up new files.
    pub fn looks(&self) -> Vec<Arc<dyn Look>> {
        let servers = self.http.iter().chain(&self.grpc).map(ServerTls::look);
        servers
            .chain(self.to_core.iter().map(ClientTls::look))
            .collect()
    }
}

/// How a command reaches the core.
///
/// # Errors
/// As for [`Doors::configured`].
pub fn client(settings: &Settings) -> Result<Option<ClientTls>, Failure> {
    let mut problems = Vec::new();
    let tls = to_core(settings, &mut problems);
    if problems.is_empty() {
        Ok(tls)
    } else {
        Err(Problems(problems).into())
    }
}

fn server(
    settings: &Settings,
    door: &str,
    protocols: Protocols,
    problems: &mut Vec<Problem>,
) -> Option<ServerTls> {
    let pair = pair(settings, &format!("{door}tls"), problems);
    let name = format!("{door}client-ca");
    // HTTP's clients show tokens: there is no such setting.
    let client_ca = settings.path(&name).map(Into::into);
    if pair.is_none() && client_ca.is_some() && problems.is_empty() {
        let problem = format!("--{name}: --{door}tls-cert and --{door}tls-key are needed with it");
        problems.push(Problem::new(problem));
    }
    let (cert, key) = pair?;
    let files = ServerFiles {
        cert,
        key,
        client_ca,
    };
    noted(
        &format!("{door}tls-cert"),
        ServerTls::load(files, protocols),
        problems,
    )
}

/// None where nothing says `https`, and there is nothing to say it with.
fn to_core(settings: &Settings, problems: &mut Vec<Problem>) -> Option<ClientTls> {
    let own = pair(settings, "core-tls", problems);
    let ca = settings.path("core-ca").map(Into::into);
    let mut urls = settings.texts("core-url");
    urls.extend(settings.texts("peer-url"));
    let is_secure = urls.iter().any(|url| url.starts_with("https"));
    if !is_secure {
        // A core that is filled from nobody calls nobody.
        let calls = !urls.is_empty();
        if calls && (ca.is_some() || own.is_some()) {
            let problem =
                "--core-ca, --core-tls-cert: no --core-url or --peer-url begins with https://";
            problems.push(Problem::new(problem));
        }
        return None;
    }
    let files = ClientFiles { ca, own };
    noted("core-ca", ClientTls::load(files, H2), problems)
}

/// A certificate and its key: both or none.
fn pair(
    settings: &Settings,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<(PathBuf, PathBuf)> {
    let path = |half: &str| settings.path(&format!("{name}-{half}"));
    match (path("cert"), path("key")) {
        (Some(cert), Some(key)) => return Some((cert.into(), key.into())),
        (None, None) => {}
        (Some(_), None) => problems.push(Problem::new(format!(
            "--{name}-cert: --{name}-key is needed with it"
        ))),
        (None, Some(_)) => problems.push(Problem::new(format!(
            "--{name}-key: --{name}-cert is needed with it"
        ))),
    }
    None
}

fn noted<T>(setting: &str, loaded: Result<T, LoadError>, problems: &mut Vec<Problem>) -> Option<T> {
    let note = |error| problems.push(Problem::new(format!("--{setting}: {error}")));
    loaded.map_err(note).ok()
}
