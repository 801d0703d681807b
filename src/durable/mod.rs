//! Logs on disk: the same log, and it survives. Feature `durable`.
//!
//! ```
//! use annals::{Log, Message};
//!
//! # let directory = std::env::temp_dir().join(format!("annals-doc-{}", std::process::id()));
//! let log = Log::open(&directory)?;
//! log.append("account-1", Message::event("Opened", "")?)?;
//! drop(log);
//!
//! let log = Log::open(&directory)?;
//! log.append("account-1", Message::event("Deposited", "100")?)?;
//! let names: Vec<_> = log.read().iter().map(|envelope| envelope.name().to_owned()).collect();
//! assert_eq!(names, ["Opened", "Deposited"]);
//! # drop(log);
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An append goes into memory as ever, lock-free; then it waits for as much safety as is asked for ([`Ack`](crate::Ack)): by
//! default until the disk has it. Whoever waits writes for all who wait, so that one sync serves many.
//!
//! # What is where
//!
//! Records are in files, one after the other, each begun with a `header`, ended with a `footer`; in between are `frame`s. While
//! a log is open, what is appended is in memory too, as much of it as [`Options::resident`] says, and read from there; what is
//! older is read from its file, a few dozen records at a time, each checked against its checksum. Envelopes are the same,
//! wherever they come from. A read that meets something that cannot be read ends, and says so
//! ([`Cursor::failure`](crate::Cursor::failure)).
//!
//! # What a crash leaves
//!
//! What was acknowledged as synced is there, and with it everything before. What comes after that may be there or not; what is
//! there is a beginning of it, batches whole. The end that was being written is cut off, see [`Recovered`]. Anything else that
//! is missing or changed is damage: the log does not open, and says where ([`Damage`]).
//!
//! # What is removed
//!
//! [`truncate_before`](crate::Log::truncate_before) returns when the disk knows, in the file `floor`, from where on records are
//! there: nobody ever sees again what was removed, whatever happens. Then files that are wholly before that go, never the last
//! one. A stream of which no record is left stays known, and goes on with its next revision: `floor` has its name, so its size
//! grows with the number of streams in removed files. When the disk does not take it, no file goes, and
//! [`Journal::removal_failure`] says why. [`Builder::retention`](crate::Builder::retention) is kept to by whole files.
//!
//! # What else is beside the records
//!
//! Checkpoints of the handlers of a service, in files of their own: `sourcing::DiskCheckpoints`. [`Log::backup`](crate::Log::backup) copies
//! all of it while the log is used. As text a log is had by `store::ndjson` (feature `json`).
//!
//! # When the disk fails
//!
//! When the disk fails, the log stops: every append is refused with the same [`Stopped`](crate::Stopped), and reading goes on.
//! A sync that failed is not tried again.

mod backup;
mod commit;
mod contents;
mod directory;
mod error;
mod fields;
mod floor;
mod footer;
mod frame;
mod header;
mod journal;
mod notes;
mod open;
mod parts;
mod past;
mod removal;
mod scan;
mod storage;
mod writer;

#[cfg(doc)]
#[doc = include_str!("format.md")]
pub mod format {}

pub use backup::BackupError;
/// For models.
#[cfg(any(loom, annals_shuttle))]
#[doc(hidden)]
pub use commit::{Commit, Level, Medium};
pub use directory::Directory;
pub use error::{Damage, Flaw, OpenError, RemovalError, StorageError};
pub use header::LogId;
pub use journal::{Journal, Recovered};
pub use open::Options;
pub use storage::{Storage, StoredFile};
