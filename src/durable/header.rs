//! The beginning of a file, 96 bytes:
//!
//! ```text
//! offset bytes
//!      0     8  "annalsSG"
//!      8     4  version of the format: 1
//!     12     4  length of this header: 96
//!     16    16  id of the log: random, the same in all of its files
//!     32     8  number of the file: 1, 2, 3, …
//!     40     8  position of its first record
//!     48     8  time of the record before, nanoseconds since 1970; the least number when there is none
//!     56     8  how many of the records before are commands
//!     64     8  how many streams have their first record before
//!     72     4  bytes of the longest frame that may follow, its head not included
//!     76    16  zeros
//!     92     4  CRC-32C of the 92 bytes before
//! ```
//!
//! A file is made full of zeros, under another name, and gets its own when its header is synced: so every file has a whole
//! header.

use super::fields::Fields;

pub(crate) const LEN: usize = 96;
const MAGIC: &[u8; 8] = b"annalsSG";
/// The one format so far.
pub(crate) const VERSION: u32 = 1;
/// Offset of the checksum.
const CHECKED: usize = LEN - 4;

/// A log's own random number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub(crate) [u8; 16]);

impl LogId {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What is known of the log before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// Index of the record: its position less one.
    pub(crate) index: u64,
    /// Time of the record before it.
    pub(crate) time: i64,
    pub(crate) commands: u64,
    pub(crate) streams: u64,
}

impl Before {
    /// Before the first record of all.
    pub(crate) const NOTHING: Self = Self { index: 0, time: i64::MIN, commands: 0, streams: 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log: LogId,
    pub(crate) number: u64,
    pub(crate) before: Before,
    pub(crate) longest: u32,
}

/// Why some bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// Of a format that is not known here.
    Version(u32),
    Damaged,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&96_u32.to_le_bytes());
        bytes.extend_from_slice(&self.log.0);
        let Before { index, time, commands, streams } = self.before;
        for number in [self.number, index + 1, time.cast_unsigned(), commands, streams] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.longest.to_le_bytes());
        bytes.resize(CHECKED, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().expect("the fields have this length")
    }

    /// The version is looked at before the checksum: a later format may have another.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        Self::read(bytes).unwrap_or(Err(NoHeader::Damaged))
    }

    fn read(bytes: &[u8]) -> Option<Result<Self, NoHeader>> {
        let mut fields = Fields(bytes);
        if fields.take(8)? != MAGIC {
            return None;
        }
        let version = fields.u32()?;
        if version > VERSION {
            return Some(Err(NoHeader::Version(version)));
        }
        let sum = Fields(bytes.get(CHECKED..LEN)?).u32()?;
        if crc32c::crc32c(&bytes[..CHECKED]) != sum || version != VERSION || fields.u32()? as usize != LEN {
            return None;
        }
        let log = LogId(fields.take(16)?.try_into().ok()?);
        let number = fields.u64()?;
        let before = Before {
            index: fields.u64()?.checked_sub(1)?,
            time: fields.i64()?,
            commands: fields.u64()?,
            streams: fields.u64()?,
        };
        Some(Ok(Self { log, number, before, longest: fields.u32()? }))
    }

    /// With what the checksums of the file's frames begin: so that no frame of another file, or of another log, is taken for
    /// one of this.
    pub(crate) fn seed(&self) -> u32 {
        let sum = crc32c::crc32c(&self.log.0);
        let sum = crc32c::crc32c_append(sum, &self.number.to_le_bytes());
        crc32c::crc32c_append(sum, &self.before.index.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let before = Before { index: 41, time: -7, commands: 3, streams: 2 };
        Header { log: LogId(*b"0123456789abcdef"), number: 9, before, longest: 1 << 20 }
    }

    #[test]
    fn a_header_round_trips() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
    }

    /// No bit of it may change, and no byte be missing.
    #[test]
    fn every_damage_is_noticed() {
        let good = header().encode();
        for bit in 0..LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
        for cut in 0..LEN {
            assert_eq!(Header::decode(&good[..cut]), Err(NoHeader::Damaged), "cut to {cut}");
        }
    }

    /// A format that is newer is said to be newer, whatever follows.
    #[test]
    fn a_newer_version_is_named() {
        let mut newer = header().encode();
        newer[8] = 7;
        assert_eq!(Header::decode(&newer), Err(NoHeader::Version(7)));
    }

    /// Files of another number, place or log have another seed.
    #[test]
    fn each_file_has_its_seed() {
        let one = header();
        let mut others = [one; 3];
        others[0].number += 1;
        others[1].before.index += 1;
        others[2].log.0[15] ^= 1;
        for other in others {
            assert_ne!(other.seed(), one.seed());
        }
    }
}
