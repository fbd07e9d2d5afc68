//! How a command fails: an exit code for programs, a text for whoever is on call.
//! Owns: the exit codes and which error gets which. Called by: every command, and `main` to report. Thread: main.
//! Does not: print data. Invariant: every error ends in one of the documented codes.

use std::io::{self, Write as _};
use std::process::ExitCode;

use heddle_wire::RejectCode;

use super::output::{self, Format};
use crate::client::ClientError;
use crate::config::{ConfigError, ConfigErrors};
use crate::pki::PkiError;

/// What went wrong, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// What was asked makes no sense; also a configuration that is refused.
    Usage = 2,
    /// What it is about does not exist.
    NotFound = 3,
    /// The ResourceManager does not want to: whoever asks, a value, a file of its own, or the state things are in.
    Refused = 4,
    /// The ResourceManager is not there.
    Unreachable = 5,
    /// The ResourceManager is there and did not answer in time.
    TimedOut = 124,
}

impl Exit {
    const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
        }
    }
}

/// A failed command.
#[derive(Debug)]
pub(super) struct CliError {
    pub(super) exit: Exit,
    pub(super) text: String,
    /// What to do about it, where we know.
    pub(super) hint: Option<String>,
}

impl CliError {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells it on standard error and gives the exit code.
    pub(super) fn report(&self, format: Format) -> ExitCode {
        let mut stderr = io::stderr().lock();
        let result = match format {
            Format::Json => {
                let error = serde_json::json!({ "error": {
                    "kind": self.exit.name(), "exit_code": self.exit as u8, "message": self.text, "hint": self.hint,
                }});
                writeln!(stderr, "{error}")
            }
            Format::Table => {
                let mut text = String::new();
                for line in self.text.lines() {
                    text.push_str(&format!("heddle: {}\n", output::plain(line)));
                }
                if let Some(hint) = &self.hint {
                    text.push_str(&format!("        {}\n", output::plain(hint)));
                }
                stderr.write_all(text.as_bytes())
            }
        };
        // With standard error closed there is nobody left to tell.
        drop(result);
        ExitCode::from(self.exit as u8)
    }
}

impl From<PkiError> for CliError {
    fn from(error: PkiError) -> Self {
        let exit = match error {
            PkiError::BadName { .. } | PkiError::BadRole { .. } | PkiError::BadValidity { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Usage, errors.to_string())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        ConfigErrors::from(error).into()
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot write the output: {error}"))
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let (exit, hint) = match (&error, error.reject_code()) {
            (ClientError::Pki(_) | ClientError::Socket(_), _) => (Exit::Failed, None),
            (ClientError::Silent { .. } | ClientError::Unreachable { .. }, _) => (
                Exit::Unreachable,
                Some("is the ResourceManager running there? (--rm-address, HEDDLE_RM_ADDRESS)"),
            ),
            (ClientError::Connect { .. } | ClientError::Lost { .. }, _) => (Exit::Unreachable, None),
            (ClientError::TimedOut { .. }, _) => {
                (Exit::TimedOut, Some("it is connected but slow; --answer-timeout waits longer"))
            }
            (ClientError::NotTrusted { .. }, _) => (Exit::Refused, None),
            (_, Some(RejectCode::NotFound)) => (Exit::NotFound, None),
            (_, Some(RejectCode::ApplicationNotFound)) => {
                (Exit::NotFound, Some("`heddle application list --all` shows every application"))
            }
            (_, Some(RejectCode::ApplicationAttemptNotFound)) => {
                (Exit::NotFound, Some("`heddle attempt list APPLICATION_ID` shows every attempt"))
            }
            (_, Some(RejectCode::ContainerNotFound)) => {
                (Exit::NotFound, Some("only live containers are known: `heddle container list ATTEMPT_ID`"))
            }
            (_, Some(RejectCode::RoleNotAllowed)) => (
                Exit::Refused,
                Some("changing nodes needs an admin's certificate: `heddle pki issue admin NAME`"),
            ),
            (_, Some(code)) if code.is_retryable() => (Exit::Failed, Some("nothing was changed; try again")),
            (_, Some(RejectCode::BadField | RejectCode::NotSupportedYet)) => (Exit::Refused, None),
            (_, Some(code)) if (code as u16) / 100 == 4 => (Exit::Refused, None),
            _ => (Exit::Failed, None),
        };
        let error = Self::new(exit, error.to_string());
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::Opcode;

    use super::*;

    /// A label or a queue file that the ResourceManager did not accept was "failed", as if it had been tried.
    #[test]
    fn what_the_resourcemanager_refuses_is_refused_whatever_is_wrong_with_it() {
        for &code in RejectCode::ALL {
            let error = ClientError::Rejected {
                opcode: Opcode::RefreshQueues,
                code: code as u16,
                message: "because".to_owned(),
                retry_after_ms: 0,
            };
            let expected = match code as u16 {
                104 | 202 => Exit::Refused,
                403 | 410..=412 => Exit::NotFound,
                400..=499 => Exit::Refused,
                // Its bytes or ours are wrong, it is busy, or it broke a rule of its own.
                _ => Exit::Failed,
            };
            assert_eq!(CliError::from(error).exit, expected, "{code:?}");
        }
    }
}
