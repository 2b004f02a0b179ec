//! Why reading back failed, in one sentence; whose fault it is decides the exit code.

use crate::store::StoreError;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The question's.
    Usage,
    /// Nobody's: there is no such thing, or not yet.
    NotFound,
    /// The archive's address or credentials in the configuration.
    Settings,
    /// The archive cannot be reached.
    Away,
    /// The archive contradicts itself.
    Contradiction,
    /// The archive is not whole.
    Incomplete,
    /// Ours.
    Unexpected,
}

/// Why reading back failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The statement would change something.
    #[error("the archive is only read: ask with SELECT, WITH, VALUES, DESCRIBE, SHOW or EXPLAIN")]
    ReadOnly,
    /// The query makes no sense.
    #[error("the query cannot be answered: {problem}")]
    Query {
        /// Why, in one sentence.
        problem: String,
    },
    /// The query needs more than [`super::MEMORY_LIMIT`].
    #[error("the query needs more than {} MiB of memory: ask for less at once, such as fewer days or columns", super::MEMORY_LIMIT >> 20)]
    TooLarge,
    /// The archive has nothing of it.
    #[error(
        "{what} is not in the archive; what a recorder saw arrives there within the age of a segment (a minute, unless configured otherwise) after it ended"
    )]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The archive has no session at all.
    #[error("the archive has no statement yet")]
    Empty,
    /// A manifest promises a file that is not there, or manifests before and after promise the manifest.
    #[error("the archive is not whole: {name} is missing, and {promised_by} says that it was stored")]
    Missing {
        /// The file.
        name: String,
        /// What promises it.
        promised_by: String,
    },
    /// A file cannot be read.
    #[error("the archive is damaged: {name} cannot be read: {cause}")]
    Damaged {
        /// The file.
        name: String,
        /// What the reader said.
        cause: String,
    },
    /// A file is not as long as its manifest says.
    #[error("the archive contradicts itself: {name} has {found} bytes, its manifest says {promised}")]
    Length {
        /// The file.
        name: String,
        /// How long it is.
        found: u64,
        /// How long it should be.
        promised: u64,
    },
    /// A file under a name that recorders do not give.
    #[error("the archive holds {name}, which no recorder wrote; move it elsewhere")]
    Stranger {
        /// The file.
        name: String,
    },
    /// A record is there twice.
    #[error("the archive contradicts itself: it holds {what} more than once")]
    Twice {
        /// Which.
        what: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that nobody planned for.
    #[error("reading the archive failed unexpectedly: {0}")]
    Unexpected(String),
}

impl ArchiveError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ReadOnly | Self::Query { .. } | Self::TooLarge => Fault::Usage,
            Self::NotFound { .. } | Self::Empty => Fault::NotFound,
            Self::Missing { .. } | Self::Damaged { .. } | Self::Store(StoreError::Missing { .. }) => Fault::Incomplete,
            Self::Length { .. } | Self::Stranger { .. } | Self::Twice { .. } => Fault::Contradiction,
            Self::Store(StoreError::Settings(_)) => Fault::Settings,
            Self::Store(StoreError::Away { .. } | StoreError::Refused { .. }) => Fault::Away,
            Self::Store(StoreError::Name { .. } | StoreError::Conflict { .. }) | Self::Unexpected(_) => {
                Fault::Unexpected
            }
        }
    }
}
