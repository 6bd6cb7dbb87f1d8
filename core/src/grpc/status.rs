//! Errors as callers see them. The only place that makes a `Status`: a code, a message, and
//! google.rpc details, of which `ErrorInfo` has a stable reason.

use std::{collections::HashMap, time::Duration};

use mercurio_auth::TokenError;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{entry::Sequence, store::StoreError, writer::WriteError};

use super::validate::Violations;

/// The domain of every `ErrorInfo`.
pub(super) const DOMAIN: &str = "mercurio";

/// Why a call was refused, or a stream ended.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Invalid(Violations),
    #[error("{0}")]
    Token(TokenError),
    #[error("the token is not for this recipient's notifications")]
    NotYourFeed,
    #[error("the token lacks the scope `{0}`")]
    ScopeMissing(&'static str),
    #[error("no such notification for this recipient")]
    NotFound,
    #[error(
        "no such snapshot: one that is not read for a while is given up, and so are all when the \
         core ends; begin another one"
    )]
    NoSnapshot,
    #[error("{limit} {what} are open already, and no more are allowed")]
    TooManyStreams { what: &'static str, limit: usize },
    #[error(
        "{who} {does} more than {limit} times a second: try again in {:.1} s",
        wait.as_secs_f64()
    )]
    RateLimited {
        who: String,
        does: &'static str,
        limit: u32,
        wait: Duration,
    },
    #[error("messages of {bytes} bytes are being received already; try again")]
    MessagesBusy { bytes: usize },
    #[error("{reads} reads of the store are under way already; try again")]
    ReadsBusy { reads: usize },
    #[error(
        "this core has applied the log up to {sequence}, and the cursor {cursor} is ahead of it: \
         try again, or another core"
    )]
    Lagging {
        cursor: Sequence,
        sequence: Sequence,
    },
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("the store can't be read: {0}")]
    Store(#[from] StoreError),
    #[error("the service is shutting down")]
    ShuttingDown,
    #[error("internal error")]
    Internal(String),
}

impl Refusal {
    /// The stable reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_FIELD",
            Self::Token(error) => error.code(),
            Self::NotYourFeed => "NOT_YOUR_FEED",
            Self::ScopeMissing(_) => "SCOPE_MISSING",
            Self::NotFound => "NOT_FOUND",
            Self::NoSnapshot => "SNAPSHOT_NOT_FOUND",
            Self::TooManyStreams { .. } => "TOO_MANY_STREAMS",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::MessagesBusy { .. } => "MESSAGES_BUSY",
            Self::ReadsBusy { .. }
            | Self::Write(WriteError::Busy { .. } | WriteError::Full { .. }) => "STORE_BUSY",
            Self::Write(WriteError::DiskFull { .. }) => "STORE_FULL",
            Self::Write(WriteError::Failed(_)) | Self::Store(_) => "STORE_FAILED",
            Self::Write(WriteError::TooManyRevocations { .. }) => "TOO_MANY_REVOCATIONS",
            Self::Write(WriteError::LogAway { .. }) => "LOG_AWAY",
            Self::Write(WriteError::LogHalted(_)) => "LOG_HALTED",
            Self::Write(WriteError::TooLarge { .. }) => "TOO_LARGE_FOR_LOG",
            Self::Lagging { .. } => "LAGGING",
            Self::Write(WriteError::ShuttingDown) | Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Internal(_) => "INTERNAL",
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::Write(WriteError::TooLarge { .. }) => Code::InvalidArgument,
            Self::Token(_) => Code::Unauthenticated,
            Self::NotYourFeed | Self::ScopeMissing(_) => Code::PermissionDenied,
            Self::NotFound | Self::NoSnapshot => Code::NotFound,
            Self::TooManyStreams { .. }
            | Self::MessagesBusy { .. }
            | Self::RateLimited { .. }
            | Self::Write(WriteError::DiskFull { .. } | WriteError::TooManyRevocations { .. }) => {
                Code::ResourceExhausted
            }
            Self::Store(error) if error.is_damage() => Code::DataLoss,
            Self::Write(WriteError::LogHalted(_)) => Code::FailedPrecondition,
            Self::ReadsBusy { .. }
            | Self::Lagging { .. }
            | Self::Write(_)
            | Self::Store(_)
            | Self::ShuttingDown => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// When to try again, where that can help.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ReadsBusy { .. }
            | Self::Write(WriteError::Busy { .. } | WriteError::Full { .. }) => {
                Some(Duration::from_millis(100))
            }
            Self::Write(WriteError::Failed(_) | WriteError::ShuttingDown) | Self::ShuttingDown => {
                Some(Duration::from_secs(1))
            }
            Self::Lagging { .. } | Self::Write(WriteError::LogAway { .. }) => {
                Some(Duration::from_secs(1))
            }
            Self::TooManyStreams { .. } => Some(Duration::from_secs(5)),
            Self::MessagesBusy { .. } => Some(Duration::from_secs(1)),
            Self::RateLimited { wait, .. } => Some(*wait),
            Self::Write(WriteError::DiskFull { .. }) => Some(Duration::from_secs(10)),
            _ => None,
        }
    }

    /// Logs what somebody who runs the service should know; the caller's own mistakes are theirs.
    /// An overload comes in floods: it is logged unless `is_flooding`.
    pub fn log(&self, is_flooding: bool) {
        let reason = self.reason();
        match self {
            Self::Store(error) => tracing::error!(reason, %error, "read the store"),
            Self::Internal(error) => tracing::error!(reason, %error, "a call failed"),
            _ if self.is_overload() && !is_flooding => tracing::warn!(reason, "refused: {self}"),
            // The writer has logged its failures, once for a whole batch.
            _ => tracing::debug!(reason, "refused: {self}"),
        }
    }

    /// Whether the service is short of something.
    pub fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::ReadsBusy { .. }
                | Self::MessagesBusy { .. }
                | Self::TooManyStreams { .. }
                | Self::Lagging { .. }
                | Self::Write(
                    WriteError::Busy { .. }
                        | WriteError::Full { .. }
                        | WriteError::DiskFull { .. }
                        | WriteError::LogAway { .. }
                        | WriteError::LogHalted(_)
                )
        )
    }

    /// What a caller is told. What a failed store says may name files: it is in the log.
    fn message(&self) -> String {
        match self {
            Self::Store(error) if error.is_damage() => "the store is damaged".into(),
            Self::Store(_) => "the store can't be read".into(),
            Self::Write(WriteError::Failed(_)) => {
                "the store failed, and whether the request was stored is not known: try again \
                 with the same event id"
                    .into()
            }
            _ => self.to_string(),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details =
            ErrorDetails::with_error_info(refusal.reason(), DOMAIN, metadata(&refusal));
        if let Refusal::Invalid(violations) = &refusal {
            details.set_bad_request(violations.fields());
        }
        if let Some(delay) = refusal.retry_after() {
            details.set_retry_info(Some(delay));
        }
        Self::with_error_details(refusal.code(), refusal.message(), details)
    }
}

fn metadata(refusal: &Refusal) -> HashMap<String, String> {
    let of = |key: &str, value: String| HashMap::from([(key.to_owned(), value)]);
    match refusal {
        Refusal::ScopeMissing(scope) => of("scope", (*scope).to_owned()),
        Refusal::TooManyStreams { limit, .. }
        | Refusal::Write(WriteError::TooManyRevocations { limit }) => {
            of("limit", limit.to_string())
        }
        Refusal::RateLimited { limit, .. } => of("limit", limit.to_string()),
        _ => HashMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn details(refusal: Refusal) -> (Code, String, Option<Duration>) {
        let status = Status::from(refusal);
        let details = status.check_error_details().unwrap();
        let info = details.error_info().unwrap();
        assert_eq!(info.domain, "mercurio");
        let retry = details.retry_info().and_then(|info| info.retry_delay);
        (status.code(), info.reason.clone(), retry)
    }

    #[test]
    fn every_refusal_has_a_code_a_reason_and_a_retry_where_it_helps() {
        let corrupt = StoreError::Corrupt {
            dir: PathBuf::from("d"),
            message: "m".into(),
        };
        let engine = StoreError::Engine {
            dir: PathBuf::from("d"),
            message: "m".into(),
        };
        let full = WriteError::DiskFull {
            free: 1,
            reserve: 2,
        };
        for (refusal, code, reason, retries) in [
            (
                Refusal::Token(TokenError::Missing),
                Code::Unauthenticated,
                "TOKEN_MISSING",
                false,
            ),
            (
                Refusal::Token(TokenError::Expired),
                Code::Unauthenticated,
                "TOKEN_EXPIRED",
                false,
            ),
            (
                Refusal::Token(TokenError::Revoked),
                Code::Unauthenticated,
                "TOKEN_REVOKED",
                false,
            ),
            (
                WriteError::TooManyRevocations { limit: 1 }.into(),
                Code::ResourceExhausted,
                "TOO_MANY_REVOCATIONS",
                false,
            ),
            (
                Refusal::Token(TokenError::Malformed),
                Code::Unauthenticated,
                "TOKEN_INVALID",
                false,
            ),
            (
                Refusal::NotYourFeed,
                Code::PermissionDenied,
                "NOT_YOUR_FEED",
                false,
            ),
            (
                Refusal::ScopeMissing("s"),
                Code::PermissionDenied,
                "SCOPE_MISSING",
                false,
            ),
            (Refusal::NotFound, Code::NotFound, "NOT_FOUND", false),
            (
                Refusal::NoSnapshot,
                Code::NotFound,
                "SNAPSHOT_NOT_FOUND",
                false,
            ),
            (
                Refusal::TooManyStreams {
                    what: "streams",
                    limit: 64,
                },
                Code::ResourceExhausted,
                "TOO_MANY_STREAMS",
                true,
            ),
            (
                Refusal::RateLimited {
                    who: "billing".into(),
                    does: "publishes",
                    limit: 5,
                    wait: Duration::from_millis(200),
                },
                Code::ResourceExhausted,
                "RATE_LIMITED",
                true,
            ),
            (
                Refusal::MessagesBusy { bytes: 1 },
                Code::ResourceExhausted,
                "MESSAGES_BUSY",
                true,
            ),
            (
                Refusal::ReadsBusy { reads: 1 },
                Code::Unavailable,
                "STORE_BUSY",
                true,
            ),
            (
                WriteError::Busy { queue: 1 }.into(),
                Code::Unavailable,
                "STORE_BUSY",
                true,
            ),
            (
                WriteError::Full { bytes: 1 }.into(),
                Code::Unavailable,
                "STORE_BUSY",
                true,
            ),
            (full.into(), Code::ResourceExhausted, "STORE_FULL", true),
            (
                WriteError::TooLarge { bytes: 2, most: 1 }.into(),
                Code::InvalidArgument,
                "TOO_LARGE_FOR_LOG",
                false,
            ),
            (
                WriteError::Failed("f".into()).into(),
                Code::Unavailable,
                "STORE_FAILED",
                true,
            ),
            (
                WriteError::ShuttingDown.into(),
                Code::Unavailable,
                "SHUTTING_DOWN",
                true,
            ),
            (corrupt.into(), Code::DataLoss, "STORE_FAILED", false),
            (engine.into(), Code::Unavailable, "STORE_FAILED", false),
            (
                Refusal::ShuttingDown,
                Code::Unavailable,
                "SHUTTING_DOWN",
                true,
            ),
            (
                Refusal::Internal("secret".into()),
                Code::Internal,
                "INTERNAL",
                false,
            ),
        ] {
            let (found_code, found_reason, retry) = details(refusal);
            assert_eq!((found_code, found_reason.as_str()), (code, reason));
            assert_eq!(retry.is_some(), retries, "{reason}");
        }
    }

    #[test]
    fn violations_travel_as_a_bad_request() {
        let mut violations = Violations::default();
        violations.add("source_id", "0 bytes; 1 to 128 are allowed");
        violations.add("data", "70000 bytes; at most 65536 are allowed");
        let status = Status::from(Refusal::Invalid(violations));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().contains("source_id: 0 bytes; 1 to 128"),
            "{}",
            status.message()
        );
        let details = status.get_error_details();
        let fields = &details.bad_request().unwrap().field_violations;
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[1].field, "data");
        assert_eq!(
            fields[1].description,
            "70000 bytes; at most 65536 are allowed"
        );
        assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
    }

    #[test]
    fn a_caller_is_not_told_of_files() {
        let engine = StoreError::Engine {
            dir: "/srv/secret".into(),
            message: "m".into(),
        };
        assert!(
            !Status::from(Refusal::from(engine))
                .message()
                .contains("secret")
        );
        let failed = WriteError::Failed("/srv/secret".into());
        assert!(
            !Status::from(Refusal::from(failed))
                .message()
                .contains("secret")
        );
        let internal = Refusal::Internal("secret".into());
        assert!(!Status::from(internal).message().contains("secret"));
    }
}
