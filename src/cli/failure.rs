//! How a command ends when it does not succeed: a sentence on stderr and an exit code.

use std::process::ExitCode;

use crate::daemon::chain;
use crate::exit;

/// A sentence for the operator and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Wrong arguments.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: exit::USAGE, message: message.into() }
    }

    /// Input that cannot be used.
    pub fn data(message: impl Into<String>) -> Self {
        Self { code: exit::DATA, message: message.into() }
    }

    /// Something that cannot be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: exit::UNAVAILABLE, message: message.into() }
    }

    /// Something that may have been done, or not.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { code: exit::UNKNOWN, message: message.into() }
    }

    /// An output that cannot be written.
    pub fn output(message: impl Into<String>) -> Self {
        Self { code: exit::CANNOT_CREATE, message: message.into() }
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A configuration that cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self { code: exit::CONFIG, message: message.into() }
    }

    /// A refusal because of who asks.
    pub fn permission(message: impl Into<String>) -> Self {
        Self { code: exit::NO_PERMISSION, message: message.into() }
    }

    /// An error of a lower layer, with its causes.
    pub fn from_error(code: u8, error: &dyn std::error::Error) -> Self {
        Self { code, message: chain(error) }
    }

    /// Prints the sentence and gives the exit code.
    pub fn report(self) -> ExitCode {
        eprintln!("nauthilus-neural: {}", self.message);
        ExitCode::from(self.code)
    }
}
