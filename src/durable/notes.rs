//! Small files beside the records: where consumers are. Each in a file of its own, replaced as a whole.
//!
//! ```text
//! offset bytes
//!      0     8  "annalsCP"
//!      8     4  version of the format: 1
//!     12     4  zeros
//!     16    16  id of the log
//!     32     v  how long the name is, and then the name
//!      …     n  what is noted
//!      …     4  CRC-32C of everything before
//! ```
//!
//! A file is named `checkpoint-` and the name in hexadecimal. Of a long name only the beginning is, and then its checksum.

use std::fmt::Write as _;

use super::error::{Damage, Flaw, OpenError, StorageError};
use super::fields::put_varint;
use super::floor::{checked, load, replace};
use super::header::LogId;
use super::storage::Storage;
use crate::delivery::Waiters;
use crate::log::Pool;
use crate::model::Position;
use crate::sync::StdArc;

const PREFIX: &str = "checkpoint-";
const MAGIC: &[u8; 8] = b"annalsCP";
const VERSION: u32 = 1;
/// Bytes of a name that are spelled out: twice as many, and what is added to them, every file system takes.
const SPELLED: usize = 80;

pub(crate) struct Notes {
    storage: StdArc<dyn Storage>,
    log: LogId,
    /// Had by who writes: where a note is put together.
    writing: Pool<Vec<u8>, 1>,
    waiters: Waiters,
}

/// The name of a file.
fn name_of(name: &str) -> String {
    let bytes = name.as_bytes();
    let spelled = &bytes[..bytes.len().min(SPELLED)];
    let mut file = PREFIX.to_owned();
    for byte in spelled {
        let _ = write!(file, "{byte:02x}");
    }
    if spelled.len() < bytes.len() {
        let _ = write!(file, "~{:08x}", crc32c::crc32c(bytes));
    }
    file
}

/// Whether a file is one of these.
pub(crate) fn is_note(file: &str) -> bool {
    // What is to become one has another ending.
    file.strip_prefix(PREFIX).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'~'))
}

fn damage(name: &str, flaw: Flaw) -> OpenError {
    Damage { file: name_of(name).into(), offset: 0, position: Position::NONE, flaw }.into()
}

impl Notes {
    pub(crate) fn new(storage: StdArc<dyn Storage>, log: LogId) -> Self {
        Self { storage, log, writing: Pool::new(), waiters: Waiters::new() }
    }

    /// What is noted under a name. Blocks on the disk.
    ///
    /// # Errors
    /// When it is damaged, or another log's, or cannot be read.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        let file = name_of(name);
        let Some(bytes) = load(&*self.storage, &file)? else { return Ok(None) };
        let mut fields = checked(&file, *MAGIC, VERSION, &bytes)?;
        let log = fields.take(16);
        let there = fields.varint_as().and_then(|len| fields.take(len));
        match (log, there) {
            (Some(log), Some(there)) if log == self.log.0 && there == name.as_bytes() => Ok(Some(fields.0.to_vec())),
            (Some(_), Some(_)) => Err(damage(name, Flaw::Foreign)),
            _ => Err(damage(name, Flaw::Fields)),
        }
    }

    /// Notes something, in place of what was noted. Blocks on the disk: when it returns, that stays.
    ///
    /// # Errors
    /// Those of the storage. Then there is what was noted before, or this.
    pub(crate) fn save(&self, name: &str, note: &[u8]) -> Result<(), StorageError> {
        let mut saved = Ok(());
        self.waiters.block(None, || {
            let Some(mut bytes) = self.writing.lend(Vec::new) else { return false };
            self.encode(name, note, &mut bytes);
            saved = replace(&*self.storage, &name_of(name), &bytes);
            drop(bytes);
            self.waiters.wake_all();
            true
        });
        saved
    }

    fn encode(&self, name: &str, note: &[u8], bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.log.0);
        put_varint(name.len() as u64, bytes);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(note);
        let sum = crc32c::crc32c(bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
    }

    /// A note that says what cannot be.
    pub(crate) fn misplaced(name: &str, flaw: Flaw) -> OpenError {
        damage(name, flaw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of files are short, whatever is noted, and differ.
    #[test]
    fn names_of_files_are_short_and_differ() {
        assert_eq!(name_of("mail-1"), "checkpoint-6d61696c2d31");
        let long = "é".repeat(200);
        assert!(name_of(&long).len() < 200);
        assert_ne!(name_of(&long), name_of(&format!("{long}a")));
        assert!(is_note(&name_of(&long)));
    }
}
