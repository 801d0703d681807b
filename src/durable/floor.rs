//! The file `floor`: from where on records are there, and what is still known of streams that began before.
//!
//! ```text
//! offset bytes
//!      0     8  "annalsFL"
//!      8     4  version of the format: 1
//!     12     4  zeros
//!     16    16  id of the log
//!     32     8  the first position that was not removed
//!     40     8  number of the first file that was not removed
//!     48     8  position of that file's first record
//!     56     8  how many streams have records in files that were removed; then of each, in the order of their ids:
//!               1 + n its id after its length
//!               v     the revision after the last one that was removed with a file
//!               v     position of its first record
//!               8     time of that, the least number when it has none
//!      …     4  CRC-32C of everything before
//! ```
//!
//! (v: a whole number of varying length.) A log of which nothing was ever removed has no such file. It is written anew before
//! files are removed: `floor.new` first, synced, then renamed. So what it says was removed may still be there after a crash,
//! and goes when the log is opened; and nothing is ever missing of which it does not say so. Were streams not in it, a stream
//! whose records are all gone would begin anew with revision 0.

use std::collections::BTreeMap;
use std::io;

use super::error::{Damage, Flaw, OpenError, StorageError};
use super::fields::{Fields, put_short, put_varint};
use super::header::LogId;
use super::parts::read_all;
use super::storage::Storage;
use crate::model::Position;

/// Its name.
pub(crate) const NAME: &str = "floor";
const MAGIC: &[u8; 8] = b"annalsFL";
const VERSION: u32 = 1;

/// A stream as of the files that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Its next revision.
    pub(crate) next: u64,
    /// Index of its first record.
    pub(crate) first: u64,
    /// When that was recorded.
    pub(crate) time: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) log: LogId,
    /// Indexes before this one are removed.
    pub(crate) first: u64,
    /// Number of the first file that is kept.
    pub(crate) number: u64,
    /// Index of its first record.
    pub(crate) kept: u64,
    pub(crate) streams: BTreeMap<Box<str>, Gone>,
}

impl Floor {
    /// Nothing was removed.
    pub(crate) fn nothing(log: LogId) -> Self {
        Self { log, first: 0, number: 1, kept: 0, streams: BTreeMap::new() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = MAGIC.to_vec();
        to.extend_from_slice(&VERSION.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&self.log.0);
        for number in [self.first + 1, self.number, self.kept + 1, self.streams.len() as u64] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        for (id, gone) in &self.streams {
            put_short(id, &mut to);
            put_varint(gone.next, &mut to);
            put_varint(gone.first + 1, &mut to);
            to.extend_from_slice(&gone.time.to_le_bytes());
        }
        let sum = crc32c::crc32c(&to);
        to.extend_from_slice(&sum.to_le_bytes());
        to
    }

    /// The version is looked at before the checksum: a later format may have another.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let damaged = |flaw| Damage { file: NAME.into(), offset: 0, position: Position::NONE, flaw };
        let fields = checked(NAME, *MAGIC, VERSION, bytes)?;
        Self::read(fields).ok_or_else(|| damaged(Flaw::Fields).into())
    }

    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let log = LogId(fields.take(16)?.try_into().ok()?);
        let first = fields.u64()?.checked_sub(1)?;
        let (number, kept) = (fields.u64()?, fields.u64()?.checked_sub(1)?);
        let mut streams: BTreeMap<Box<str>, Gone> = BTreeMap::new();
        for _ in 0..fields.u64()? {
            let id = fields.short()?;
            let (next, begun) = (fields.varint()?, fields.varint()?.checked_sub(1)?);
            if streams.last_key_value().is_some_and(|last| **last.0 >= *id) {
                return None;
            }
            streams.insert(id.into(), Gone { next, first: begun, time: fields.i64()? });
        }
        fields.0.is_empty().then_some(Self { log, first, number, kept, streams })
    }

    /// What a storage has of it.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Self>, OpenError> {
        load(storage, NAME)?.map(|bytes| Self::decode(&bytes)).transpose()
    }
}

/// The fields of a small file: after its magic number, its version and four zeros, and before its checksum.
pub(crate) fn checked<'b>(file: &str, magic: [u8; 8], version: u32, bytes: &'b [u8]) -> Result<Fields<'b>, OpenError> {
    let damaged = |flaw| Damage { file: file.into(), offset: 0, position: Position::NONE, flaw };
    let mut fields = Fields(bytes);
    if fields.take(8) != Some(&magic) {
        return Err(damaged(Flaw::Header).into());
    }
    let Some(there) = fields.u32() else { return Err(damaged(Flaw::Header).into()) };
    if there > version {
        return Err(OpenError::Newer { file: file.into(), version: there, known: version });
    }
    let Some((content, sum)) = bytes.split_last_chunk::<4>() else { return Err(damaged(Flaw::Header).into()) };
    if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
        return Err(damaged(Flaw::Checksum).into());
    }
    match content.get(16..).filter(|_| there == version && content[12..16] == [0; 4]) {
        Some(rest) => Ok(Fields(rest)),
        None => Err(damaged(Flaw::Fields).into()),
    }
}

/// All of a small file; none when it is not there.
pub(crate) fn load(storage: &dyn Storage, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let failed = |error| StorageError::new("read", name, error);
    match storage.open(name) {
        Ok(file) => file.len().and_then(|len| read_all(&*file, len)).map(Some).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// What a file is called until it takes the place of the one before.
pub(crate) fn new_name(name: &str) -> String {
    format!("{name}.new")
}

/// Puts a small file in the place of the one before: after a crash there is the one or the other, whole.
pub(crate) fn replace(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let new = new_name(name);
    let replaced = match storage.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => storage.create(&new).and_then(|file| {
            file.write(bytes, 0)?;
            file.sync_all()?;
            drop(file);
            storage.rename(&new, name)?;
            storage.sync()
        }),
    };
    replaced.map_err(|error| StorageError::new("replace", name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor() -> Floor {
        let streams =
            [("a", Gone { next: 7, first: 0, time: i64::MIN }), ("b-1", Gone { next: 300, first: 41, time: -5 })];
        let streams = streams.map(|(id, gone)| (id.into(), gone)).into();
        Floor { log: LogId(*b"0123456789abcdef"), first: 900, number: 4, kept: 850, streams }
    }

    #[test]
    fn a_floor_round_trips() {
        for floor in [floor(), Floor::nothing(LogId([7; 16]))] {
            assert_eq!(Floor::decode(&floor.encode()).unwrap(), floor);
        }
    }

    /// No bit of it may change, no byte be missing, and none follow.
    #[test]
    fn every_damage_is_noticed() {
        let good = floor().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Floor::decode(&bad).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(matches!(Floor::decode(&good[..cut]), Err(OpenError::Damaged(_))), "cut to {cut}");
        }
        assert!(Floor::decode(&[&good[..], &[0]].concat()).is_err());
    }
}
