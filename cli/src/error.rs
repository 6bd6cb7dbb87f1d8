//! How a command fails, and with which exit code.

use std::process::ExitCode;

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::settings::{Problem, Problems};

/// Why a command ended without having done what it should.
#[derive(Debug, Error)]
pub enum Failure {
    /// Arguments, or a setting, are wrong. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Settings are wrong: all that is. Exit code 2.
    #[error("{0}")]
    Settings(Problems),
    /// The core refused or could not be reached. Exit codes 2 to 5, by its status.
    #[error("{}", explained(.0))]
    Refused(Box<Status>),
    /// Anything else. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong usage, settings or arguments
  3  the core can't be reached, or can't serve right now
  4  the token was refused, or is not allowed to
  5  there is no such notification";

impl Failure {
    /// Any other failure.
    pub fn other(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// What is wrong with the settings is added to `problems`.
    ///
    /// # Errors
    /// It is nothing that a setting could mend.
    pub fn note(self, problems: &mut Vec<Problem>) -> Result<(), Self> {
        let mut add = |problem| {
            // One that two settings share is said once.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        };
        match self {
            Self::Usage(problem) => add(Problem::new(problem)),
            Self::Settings(Problems(found)) => found.into_iter().for_each(add),
            failure => return Err(failure),
        }
        Ok(())
    }

    /// The code to exit with.
    pub fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::Usage(_) | Self::Settings(_) => 2,
            Self::Failed(_) => 1,
            Self::Refused(status) => match status.code() {
                Code::InvalidArgument => 2,
                Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => 3,
                Code::Unauthenticated | Code::PermissionDenied => 4,
                Code::NotFound => 5,
                _ => 1,
            },
        };
        ExitCode::from(code)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Settings(problems)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn explained(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map_or_else(String::new, |info| format!(" [{}]", info.reason));
    let mut text = format!("{}{reason}", status.message());
    for violation in details
        .bad_request()
        .into_iter()
        .flat_map(|bad| &bad.field_violations)
    {
        text.push_str(&format!(
            "\n  {}: {}",
            violation.field, violation.description
        ));
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        text.push_str(&format!(
            "\n  try again in {}",
            humantime::format_duration(delay)
        ));
    }
    text
}
