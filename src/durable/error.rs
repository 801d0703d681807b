//! What may be wrong with a log on disk.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::log::{BuildError, Stopped};
use crate::model::Position;
use crate::sync::StdArc;

/// Why a log on disk was not opened. Nothing was changed, but where a variant says so.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another log of this one, has the directory open for writing.
    #[error("the log in {directory:?} is open elsewhere: {holder}")]
    #[non_exhaustive]
    Locked {
        /// Where.
        directory: Box<str>,
        /// Who, as it wrote of itself.
        holder: Box<str>,
    },
    /// A file is of a format that this version does not know.
    #[error("file {file:?} has version {version} of the format; this is for versions up to {known}")]
    #[non_exhaustive]
    Newer {
        /// Which.
        file: Box<str>,
        /// Its version.
        version: u32,
        /// The latest version that is known here.
        known: u32,
    },
    /// Records are missing or not as they were written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A setting is out of range.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A setting of the files is out of range.
    #[error("files of {bytes} bytes are not of 4096 to 1073741824")]
    #[non_exhaustive]
    FileSize {
        /// What was asked for.
        bytes: u64,
    },
    /// Messages may be larger than a frame can be.
    #[error("limits that allow a message of {bytes} bytes are more than the 1073741824 that a log on disk can have")]
    #[non_exhaustive]
    Limit {
        /// What the limits add up to.
        bytes: u64,
    },
    /// No thread could be started.
    #[error("the system has no thread for the log")]
    NoThread,
}

/// Why what was removed from a log may be there again when it is opened next. Nothing is lost: no file was removed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// The log had stopped, or it stopped now.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Its files could not be read, written or removed.
    #[error(transparent)]
    Files(#[from] OpenError),
}

/// Where a log on disk is damaged: the first place that was found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub struct Damage {
    /// The file's name.
    pub file: Box<str>,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The first position that is missing; none in a file that has none.
    pub position: Position,
    /// What is wrong there.
    pub flaw: Flaw,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, position, flaw } = self;
        write!(f, "file {file:?} is damaged at byte {offset}, where position {position} should be: {flaw}")
    }
}

/// What is wrong at a place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// The file's header is not one.
    Header,
    /// The file is another log's, or of another place in this one.
    Foreign,
    /// There is nothing, and later records are there.
    Missing,
    /// A frame says that it has so many bytes.
    Length(u32),
    /// The checksum is another one.
    Checksum,
    /// The checksum is right, but what it covers means nothing.
    Fields,
    /// A frame that starts later was written when this had been synced.
    Hole {
        /// Its offset.
        later: u64,
    },
    /// The end of the file, which says what is in it, is damaged.
    Footer,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "the header is damaged"),
            Self::Foreign => write!(f, "the file belongs to another log or another place"),
            Self::Missing => write!(f, "nothing is there, and later records are"),
            Self::Length(bytes) => write!(f, "a record of {bytes} bytes cannot be there"),
            Self::Checksum => write!(f, "the checksum does not match"),
            Self::Fields => write!(f, "the checksum matches, and the fields are not those of a record"),
            Self::Hole { later } => {
                write!(f, "it was lost after it had been synced, as the record at byte {later} shows")
            }
            Self::Footer => write!(f, "the footer is damaged"),
        }
    }
}

/// A place in a file whose name the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) index: u64,
    pub(crate) flaw: Flaw,
}

impl Found {
    pub(crate) fn within(self, file: &str) -> Damage {
        let Self { offset, index, flaw } = self;
        Damage { file: file.into(), offset, position: Position::new(index + 1), flaw }
    }
}

/// The storage failed. Cloned, it is the same failure.
#[derive(Clone, Debug)]
pub struct StorageError(StdArc<Facts>);

#[derive(Debug)]
struct Facts {
    doing: &'static str,
    file: Box<str>,
    error: io::Error,
}

impl StorageError {
    pub(crate) fn new(doing: &'static str, file: &str, error: io::Error) -> Self {
        Self(StdArc::new(Facts { doing, file: file.into(), error }))
    }

    /// The file, or the directory when it is empty.
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// What the system said.
    pub fn io(&self) -> &io::Error {
        &self.0.error
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { doing, file, error } = &*self.0;
        if file.is_empty() {
            write!(f, "could not {doing}: {error}")
        } else {
            write!(f, "could not {doing} {file:?}: {error}")
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.error)
    }
}
