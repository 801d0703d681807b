//! One record in a file:
//!
//! ```text
//! bytes
//!   4   checksum: CRC-32C of the rest, begun with the file's seed plus the frame's offset in the file
//!   4   length of the body, not 0
//!       body:
//!   1   flags: bit 0 command, 1 the batch goes on with the next frame, 2 has attributes, 3 everything before this frame
//!       had been synced when it was written, 4 has a time, 5 the stream is new in this file, 6 the name is new, 7 set
//!   v   the stream's number in this file; when it is new, the next number, and then:
//!         1 + n  the stream's id after its length
//!         v      the revision of this record
//!   v   the name's number in this file; when it is new, the next number, and then:
//!         1 + n  the name after its length
//!   v   with a time: nanoseconds since the time before, in this file or its header (0 when there is none)
//!   v+n with attributes: their length, and the block
//!   n   the payload, to the end of the body
//! ```
//!
//! (v: a whole number of varying length.) Positions and revisions follow from the order. A frame is looked at in this order:
//! its length against what is there, its checksum, its fields. Zeros are no frame. Since the checksum begins with the file's
//! number, the log's id and the offset, no frame is valid anywhere but where it was written; and what users write can at
//! most look like one to whoever searches, which only recovery does, for the one flag that says that something is missing.

use super::error::Flaw;
use super::fields::{Fields, put_short, put_varint};
use crate::model::Kind;

/// Bytes before the body.
pub(crate) const HEAD: usize = 8;

const COMMAND: u8 = 1;
const MORE: u8 = 1 << 1;
const ATTRIBUTES: u8 = 1 << 2;
const SYNCED: u8 = 1 << 3;
const TIME: u8 = 1 << 4;
const NEW_STREAM: u8 = 1 << 5;
const NEW_NAME: u8 = 1 << 6;
const SET: u8 = 1 << 7;

/// Bytes of a body besides payload, attributes and the texts of stream and name, at most.
pub(crate) const FIXED: u64 = 1 + 3 + 10 + 5 + 10 + 5 + 10 + 2;

/// A stream or a name by its number in the file; a new one with what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ref<N> {
    pub(crate) number: u32,
    pub(crate) new: Option<N>,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'b> {
    pub(crate) kind: Kind,
    /// The batch goes on with the next frame.
    pub(crate) more: bool,
    /// All before it had been synced when it was written.
    pub(crate) synced: bool,
    /// A new one with its id and the record's revision.
    pub(crate) stream: Ref<(&'b str, u64)>,
    pub(crate) name: Ref<&'b str>,
    /// Since the time before.
    pub(crate) elapsed: Option<u64>,
    pub(crate) attributes: Option<&'b [u8]>,
    pub(crate) payload: &'b [u8],
}

/// Why no frame is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Zeros, or fewer bytes than a head.
    Nothing,
    /// It would be longer than what is there, or than any.
    Length(u32),
    Checksum,
    /// The checksum is right, and the fields are not.
    Fields,
}

impl From<NoFrame> for Flaw {
    fn from(none: NoFrame) -> Self {
        match none {
            NoFrame::Nothing => Self::Missing,
            NoFrame::Length(len) => Self::Length(len),
            NoFrame::Checksum => Self::Checksum,
            NoFrame::Fields => Self::Fields,
        }
    }
}

impl<'b> Frame<'b> {
    /// Adds the frame to `to`, as written at `offset` of the file with this seed.
    pub(crate) fn encode(&self, seed: u32, offset: u64, to: &mut Vec<u8>) {
        let at = to.len();
        to.extend_from_slice(&[0; HEAD]);
        to.push(self.flags());
        put_varint(self.stream.number.into(), to);
        if let Some((id, revision)) = self.stream.new {
            put_short(id, to);
            put_varint(revision, to);
        }
        put_varint(self.name.number.into(), to);
        if let Some(name) = self.name.new {
            put_short(name, to);
        }
        if let Some(elapsed) = self.elapsed {
            put_varint(elapsed, to);
        }
        if let Some(attributes) = self.attributes {
            put_varint(attributes.len() as u64, to);
            to.extend_from_slice(attributes);
        }
        to.extend_from_slice(self.payload);
        let frame = &mut to[at..];
        let len = u32::try_from(frame.len() - HEAD).expect("frames are bounded by the limits of the log");
        frame[4..HEAD].copy_from_slice(&len.to_le_bytes());
        let sum = crc32c::crc32c_append(begin(seed, offset), &frame[4..]);
        frame[..4].copy_from_slice(&sum.to_le_bytes());
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        SET | flag(self.kind == Kind::Command, COMMAND)
            | flag(self.more, MORE)
            | flag(self.synced, SYNCED)
            | flag(self.attributes.is_some(), ATTRIBUTES)
            | flag(self.elapsed.is_some(), TIME)
            | flag(self.stream.new.is_some(), NEW_STREAM)
            | flag(self.name.new.is_some(), NEW_NAME)
    }

    /// The frame at the beginning of `bytes`, which lie at `offset` of the file; with its length.
    #[inline]
    pub(crate) fn decode(seed: u32, offset: u64, longest: u32, bytes: &'b [u8]) -> Result<(Self, usize), NoFrame> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Err(NoFrame::Nothing) };
        let mut fields = Fields(head);
        let (Some(sum), Some(len)) = (fields.u32(), fields.u32()) else { return Err(NoFrame::Nothing) };
        if len == 0 {
            return Err(if sum == 0 { NoFrame::Nothing } else { NoFrame::Length(0) });
        }
        let Some(body) = rest.get(..len as usize).filter(|_| len <= longest) else {
            return Err(NoFrame::Length(len));
        };
        if crc32c::crc32c_append(begin(seed, offset), &bytes[4..HEAD + len as usize]) != sum {
            return Err(NoFrame::Checksum);
        }
        let frame = Self::fields(body).ok_or(NoFrame::Fields)?;
        Ok((frame, HEAD + len as usize))
    }

    fn fields(body: &'b [u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let flags = fields.u8()?;
        if flags & SET == 0 {
            return None;
        }
        let number = fields.varint_as()?;
        let new = if flags & NEW_STREAM == 0 { None } else { Some((fields.short()?, fields.varint()?)) };
        let stream = Ref { number, new };
        let number = fields.varint_as()?;
        let new = if flags & NEW_NAME == 0 { None } else { Some(fields.short()?) };
        let name = Ref { number, new };
        let elapsed = if flags & TIME == 0 { None } else { Some(fields.varint()?) };
        let attributes = if flags & ATTRIBUTES == 0 {
            None
        } else {
            let len = fields.varint_as()?;
            Some(fields.take(len)?)
        };
        let kind = if flags & COMMAND == 0 { Kind::Event } else { Kind::Command };
        let (more, synced) = (flags & MORE != 0, flags & SYNCED != 0);
        Some(Self { kind, more, synced, stream, name, elapsed, attributes, payload: fields.0 })
    }
}

/// With what the checksum of a frame begins.
fn begin(seed: u32, offset: u64) -> u32 {
    let [a, b, c, d, ..] = offset.to_le_bytes();
    seed.wrapping_add(u32::from_le_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u32 = 0x1234_5678;

    fn frames() -> Vec<Frame<'static>> {
        let plain = Frame {
            kind: Kind::Event,
            more: false,
            synced: false,
            stream: Ref { number: 0, new: None },
            name: Ref { number: 0, new: None },
            elapsed: None,
            attributes: None,
            payload: b"",
        };
        let mut all = Vec::new();
        for bits in 0..128_u32 {
            let has = |bit: u32| bits & (1 << bit) != 0;
            all.push(Frame {
                kind: if has(0) { Kind::Command } else { Kind::Event },
                more: has(1),
                synced: has(2),
                stream: Ref { number: bits * 31, new: has(3).then_some(("account-1", u64::from(bits) << 40)) },
                name: Ref { number: bits, new: has(4).then_some("Deposited") },
                elapsed: has(5).then_some(u64::from(bits) << 10),
                attributes: has(6).then_some(b"block"),
                payload: &b"payload"[..(bits % 8) as usize],
            });
        }
        all.push(plain);
        all
    }

    /// What was written is read, whatever fields a frame has; and only at its own offset, with its own seed, and whole.
    #[test]
    fn frames_round_trip_at_their_place_alone() {
        for frame in frames() {
            let mut bytes = Vec::new();
            frame.encode(SEED, 4_096, &mut bytes);
            assert_eq!(Frame::decode(SEED, 4_096, 1_000, &bytes), Ok((frame, bytes.len())));
            assert_eq!(Frame::decode(SEED, 4_097, 1_000, &bytes), Err(NoFrame::Checksum));
            assert_eq!(Frame::decode(SEED + 1, 4_096, 1_000, &bytes), Err(NoFrame::Checksum));
            for cut in 0..bytes.len() {
                assert!(Frame::decode(SEED, 4_096, 1_000, &bytes[..cut]).is_err(), "cut to {cut}");
            }
            let long = u32::try_from(bytes.len() - HEAD).unwrap();
            assert_eq!(Frame::decode(SEED, 4_096, long - 1, &bytes), Err(NoFrame::Length(long)));
            bytes.push(7);
            assert_eq!(Frame::decode(SEED, 4_096, long, &bytes), Ok((frame, bytes.len() - 1)));
        }
    }

    /// No single bit of a frame may change.
    #[test]
    fn every_flipped_bit_is_noticed() {
        for frame in frames() {
            let mut bytes = Vec::new();
            frame.encode(SEED, 96, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Frame::decode(SEED, 96, 1_000, &bytes).is_err(), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    /// What is not written yet is no frame.
    #[test]
    fn zeros_are_nothing() {
        for len in 0..64 {
            assert_eq!(Frame::decode(SEED, 0, 1_000, &vec![0; len]), Err(NoFrame::Nothing));
        }
        assert_eq!(Frame::decode(0, 0, 1_000, &[1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(NoFrame::Length(0)));
    }
}
