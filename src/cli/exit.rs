//! The exit codes of every command, in one place; README.md lists them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Done = 0,
    /// The answer is no: problems found, nothing matched, a delivery is dead.
    No = 1,
    /// The arguments are wrong, or a file they name can't be read.
    Usage = 2,
    /// The daemon can't be reached, or refuses the token.
    Unreachable = 69,
    /// The journal can't be written: a supervisor should start the daemon again.
    JournalFailed = 74,
    /// The journal is damaged: a person should look.
    JournalCorrupt = 75,
    /// The configuration does not run.
    BadConfiguration = 78,
}

impl Exit {
    /// What a room says by number.
    pub fn of(code: u8) -> Self {
        match code {
            74 => Exit::JournalFailed,
            75 => Exit::JournalCorrupt,
            _ => Exit::BadConfiguration,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
