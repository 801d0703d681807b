//! What a message has besides kind, name and payload, as bytes inside its record.
//!
//! One block, written once, read in place; nothing in it is aligned. Numbers are little-endian. Logs on disk have it in their
//! frames as it is: its layout is a part of their format.
//!
//! ```text
//! u32      bytes of tags
//!          tags: u8 length, text; …
//! u8       which of the following are there: bit 0 time, bits 1–5 the ids
//! i64      time
//!          request, correlation, causation, session, message id: u8 length, text
//!          headers, to the end of the block: u8 length, key, u32 length, value; …
//! ```

use std::borrow::Cow;

use super::name::Name;
#[cfg(any(test, feature = "durable"))]
use super::name::check;
use super::query::same;
use super::time::Timestamp;

/// What most messages do not have, before it is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Extra<'a> {
    pub(super) time: Option<Timestamp>,
    /// In the order of [`Id`].
    pub(super) ids: [Option<Name<'a>>; IDS],
    pub(super) tags: Vec<Name<'a>>,
    pub(super) headers: Vec<(Name<'a>, Cow<'a, str>)>,
}

/// The ids that a message may have, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Request,
    Correlation,
    Causation,
    Session,
    Message,
}

const IDS: usize = 5;

impl<'a> Extra<'a> {
    pub(super) fn name(&self, which: Id) -> Option<&Name<'a>> {
        self.ids[which as usize].as_ref()
    }

    pub(super) fn set_id(&mut self, which: Id, id: Option<Name<'a>>) {
        self.ids[which as usize] = id;
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|tag| &**tag)
    }

    pub(crate) fn id(&self, which: Id) -> Option<&str> {
        self.name(which).map(Name::as_str)
    }

    pub(super) fn into_owned(self) -> Extra<'static> {
        Extra {
            time: self.time,
            ids: self.ids.map(|id| id.map(Name::into_owned)),
            tags: self.tags.into_iter().map(Name::into_owned).collect(),
            headers: self.headers.into_iter().map(|(k, v)| (k.into_owned(), Cow::Owned(v.into_owned()))).collect(),
        }
    }
}

const HAS_TIME: u8 = 1;

/// The bytes [`encode`] will write.
#[inline(never)]
pub(crate) fn encoded_len(extra: &Extra<'_>) -> usize {
    let tags: usize = extra.tags.iter().map(|tag| 1 + tag.len()).sum();
    let time = if extra.time.is_some() { 8 } else { 0 };
    let ids: usize = extra.ids.iter().flatten().map(|id| 1 + id.len()).sum();
    let headers: usize = extra.headers.iter().map(|(key, value)| 5 + key.len() + value.len()).sum();
    4 + tags + 1 + time + ids + headers
}

/// Writes `extra` into `to`, which has [`encoded_len`] bytes.
pub(crate) fn encode(extra: &Extra<'_>, to: &mut [u8]) {
    let mut to = Writer(to);
    let tags: usize = extra.tags.iter().map(|tag| 1 + tag.len()).sum();
    to.u32(tags);
    for tag in &extra.tags {
        to.short(tag);
    }
    let mut has = u8::from(extra.time.is_some()) * HAS_TIME;
    for (bit, id) in extra.ids.iter().enumerate() {
        has |= u8::from(id.is_some()) << (bit + 1);
    }
    to.bytes(&[has]);
    if let Some(time) = extra.time {
        to.bytes(&time.as_nanos().to_le_bytes());
    }
    for id in extra.ids.iter().flatten() {
        to.short(id);
    }
    for (key, value) in &extra.headers {
        to.short(key);
        to.u32(value.len());
        to.bytes(value.as_bytes());
    }
    assert!(to.0.is_empty(), "encoded_len and encode agree");
}

struct Writer<'b>(&'b mut [u8]);

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let (head, tail) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.0 = tail;
    }

    fn u32(&mut self, number: usize) {
        // Lengths are bounded by the metadata limit and checked before; a length that does not fit would be a bug.
        let number = u32::try_from(number).expect("metadata is smaller than 4 GiB");
        self.bytes(&number.to_le_bytes());
    }

    fn short(&mut self, name: &str) {
        let len = u8::try_from(name.len()).expect("a Name has at most 255 bytes");
        self.bytes(&[len]);
        self.bytes(name.as_bytes());
    }
}

/// An encoded block, or nothing.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes<'r>(&'r [u8]);

impl<'r> Attributes<'r> {
    /// `block` is what [`encode`] wrote, or empty.
    pub(crate) fn new(block: &'r [u8]) -> Self {
        Self(block)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    #[cfg(any(test, feature = "durable"))]
    /// A block that comes from elsewhere; none unless it is one that [`encode`] might have written.
    pub(crate) fn checked(block: &'r [u8]) -> Option<Self> {
        let mut from = Strict(block);
        let mut tags = Strict(from.long()?);
        while !tags.0.is_empty() {
            check(tags.short()?).ok()?;
        }
        let has = from.take(1)?[0];
        if has >= 2 << IDS {
            return None;
        }
        if has & HAS_TIME != 0 {
            from.take(8)?;
        }
        for id in 0..IDS {
            if has & (2 << id) != 0 {
                check(from.short()?).ok()?;
            }
        }
        while !from.0.is_empty() {
            check(from.short()?).ok()?;
            std::str::from_utf8(from.long()?).ok()?;
        }
        Some(Self(block))
    }

    /// The same as a part of a message.
    pub(super) fn to_extra(self) -> Option<Extra<'r>> {
        let name = |text: &'r str| Name::new(text).ok();
        let mut ids = [const { None }; IDS];
        for (id, which) in ids.iter_mut().zip([Id::Request, Id::Correlation, Id::Causation, Id::Session, Id::Message]) {
            *id = match self.id(which) {
                Some(text) => Some(name(text)?),
                None => None,
            };
        }
        let tags = self.tags().map(name).collect::<Option<Vec<_>>>()?;
        let headers = self.headers().map(|(key, value)| Some((name(key)?, Cow::Borrowed(value))));
        Some(Extra { time: self.time(), ids, tags, headers: headers.collect::<Option<_>>()? })
    }

    pub(crate) fn tags(self) -> Tags<'r> {
        let mut from = Reader(self.0);
        let len = from.u32();
        Tags(Reader(from.take(len)))
    }

    pub(crate) fn time(self) -> Option<Timestamp> {
        let (mut from, has) = self.after_tags();
        (has & HAS_TIME != 0).then(|| from.time())
    }

    pub(crate) fn id(self, which: Id) -> Option<&'r str> {
        self.id_bytes(which).map(text)
    }

    /// The bytes of an id, for comparisons: nothing is checked.
    pub(crate) fn id_bytes(self, which: Id) -> Option<&'r [u8]> {
        let (mut from, has) = self.after_tags();
        if has & HAS_TIME != 0 {
            from.take(8);
        }
        let mut found = None;
        for id in 0..=which as usize {
            found = (has & (2 << id) != 0).then(|| from.short());
        }
        found
    }

    pub(crate) fn headers(self) -> Headers<'r> {
        let (mut from, has) = self.after_tags();
        if has & HAS_TIME != 0 {
            from.time();
        }
        for id in 0..IDS {
            if has & (2 << id) != 0 {
                from.short();
            }
        }
        Headers(from)
    }

    fn after_tags(self) -> (Reader<'r>, u8) {
        let mut from = Reader(self.0);
        let tags = from.u32();
        from.take(tags);
        let has = from.take(1).first().copied().unwrap_or(0);
        (from, has)
    }
}

/// Reads what may not have been written by `Writer`.
#[cfg(any(test, feature = "durable"))]
struct Strict<'r>(&'r [u8]);

#[cfg(any(test, feature = "durable"))]
impl<'r> Strict<'r> {
    fn take(&mut self, len: usize) -> Option<&'r [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn short(&mut self) -> Option<&'r str> {
        let len = self.take(1)?[0];
        std::str::from_utf8(self.take(len.into())?).ok()
    }

    fn long(&mut self) -> Option<&'r [u8]> {
        let len = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(len).ok()?)
    }
}

/// Reads what `Writer` wrote; at the end of the block everything reads as empty, which is how an absent block reads.
#[derive(Clone, Copy)]
struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    fn take(&mut self, len: usize) -> &'r [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }

    fn u32(&mut self) -> usize {
        self.take(4).try_into().map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn time(&mut self) -> Timestamp {
        Timestamp::from_nanos(self.take(8).try_into().map_or(0, i64::from_le_bytes))
    }

    fn short(&mut self) -> &'r [u8] {
        let len = self.take(1).first().copied().unwrap_or(0);
        self.take(len.into())
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text was encoded from a str")
}

/// The tags of an envelope, in the order they were given.
#[derive(Clone)]
pub struct Tags<'r>(Reader<'r>);

impl Tags<'_> {
    /// Whether `tag` is among them. Compares bytes, checks nothing else.
    pub(crate) fn has(&self, tag: &str) -> bool {
        let mut from = self.0;
        while let [len, rest @ ..] = from.0 {
            let (text, rest) = rest.split_at(usize::from(*len));
            if same(tag.as_bytes(), text) {
                return true;
            }
            from.0 = rest;
        }
        false
    }
}

impl<'r> Iterator for Tags<'r> {
    type Item = &'r str;

    fn next(&mut self) -> Option<&'r str> {
        (!self.0.0.is_empty()).then(|| text(self.0.short()))
    }
}

/// The headers of an envelope as keys and values, in the order they were given.
#[derive(Clone)]
pub struct Headers<'r>(Reader<'r>);

impl<'r> Iterator for Headers<'r> {
    type Item = (&'r str, &'r str);

    fn next(&mut self) -> Option<(&'r str, &'r str)> {
        if self.0.0.is_empty() {
            return None;
        }
        let key = text(self.0.short());
        let len = self.0.u32();
        Some((key, text(self.0.take(len))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;

    fn encoded(message: &Message<'_>) -> Vec<u8> {
        let extra = message.parts().extra.expect("has attributes");
        let mut block = vec![0; encoded_len(extra)];
        encode(extra, &mut block);
        block
    }

    /// Every combination of present and absent parts reads back as written.
    #[test]
    fn every_combination_round_trips() {
        for bits in 1u32..256 {
            let has = |bit: u32| bits & (1 << bit) != 0;
            let mut message = Message::builder("M");
            if has(0) {
                message = message.own_time(Timestamp::from_nanos(-7));
            }
            if has(1) {
                message = message.request_id("r");
            }
            if has(2) {
                message = message.correlation_id("corr");
            }
            if has(3) {
                message = message.causation_id("cause");
            }
            if has(4) {
                message = message.tag("t:1").tag("t:2").tag("t:1");
            }
            if has(5) {
                message = message.header("k", "").header("k", "v\n");
            }
            if has(6) {
                message = message.session_id("sess");
            }
            if has(7) {
                message = message.message_id("m");
            }
            let block = encoded(&message.build().unwrap());
            let read = Attributes::new(&block);
            assert_eq!(read.time(), has(0).then(|| Timestamp::from_nanos(-7)));
            assert_eq!(read.id(Id::Request), has(1).then_some("r"));
            assert_eq!(read.id(Id::Correlation), has(2).then_some("corr"));
            assert_eq!(read.id(Id::Causation), has(3).then_some("cause"));
            assert_eq!(read.id(Id::Session), has(6).then_some("sess"));
            assert_eq!(read.id(Id::Message), has(7).then_some("m"));
            let tags: &[&str] = if has(4) { &["t:1", "t:2", "t:1"] } else { &[] };
            assert_eq!(read.tags().collect::<Vec<_>>(), tags);
            assert_eq!(read.tags().has("t:2"), has(4));
            assert!(!read.tags().has("t:"));
            let headers: &[(&str, &str)] = if has(5) { &[("k", ""), ("k", "v\n")] } else { &[] };
            assert_eq!(read.headers().collect::<Vec<_>>(), headers);
        }
    }

    /// A block is taken for one only as it was written: not cut, not with anything after it, and as the same message.
    #[test]
    fn blocks_from_elsewhere_are_checked() {
        let message = Message::builder("M").tag("t:1").tag("t").message_id("m").request_id("r").header("k", "vä");
        let message = message.own_time(Timestamp::from_nanos(5)).build().unwrap();
        let block = encoded(&message);
        assert_eq!(Attributes::checked(&block).unwrap().to_extra().as_ref(), message.parts().extra);
        for cut in 0..block.len() {
            // Without the headers it is whole, too.
            assert_eq!(Attributes::checked(&block[..cut]).is_some(), cut == block.len() - 9, "cut to {cut}");
        }
        for (at, byte) in [(5, 0xff), (0, 0), (0, 0xff), (4, 200), (block.len() - 1, 0xff)] {
            let mut bad = block.clone();
            bad[at] = byte;
            assert!(Attributes::checked(&bad).is_none(), "byte {at}");
        }
    }

    /// A record without the block has no attributes.
    #[test]
    fn an_absent_block_reads_as_nothing() {
        let none = Attributes::default();
        assert_eq!(none.time(), None);
        for id in [Id::Request, Id::Correlation, Id::Causation, Id::Session, Id::Message] {
            assert_eq!(none.id(id), None);
        }
        assert_eq!(none.tags().count(), 0);
        assert_eq!(none.headers().count(), 0);
        assert!(!none.tags().has(""));
    }
}
