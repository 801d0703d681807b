//! Programs of operations on a log, and how they are decoded from bytes. Every byte string is a program, so that a
//! fuzzer and a generator of random bytes can both write them; an operation is one chunk, so that leaving out a chunk
//! leaves out an operation and changes no other.

use annals::{Indexes, Item, Kind, Message, Payload, Query, Timestamp};

/// Bytes before the first operation, and bytes of each.
pub const HEAD: usize = 2;
pub const CHUNK: usize = 22;

pub const STREAMS: [&str; 5] = ["a-1", "a-2", "b-1", "b", "never"];
/// Streams that are appended to; the last one is only ever asked for.
const WRITTEN: u8 = 4;
const NAMES: [&str; 3] = ["Opened", "Paid", "Closed"];
const TAGS: [&str; 2] = ["t:1", "t:2"];
const SESSIONS: [&str; 2] = ["one", "other"];
const MESSAGE_IDS: [&str; 4] = ["m-1", "m-2", "m-3", "m-4"];
const TEXTS: [&str; 4] = ["r", "request 7", "ä", "a longer text than the others are"];
/// Lengths around the longest payload that is kept inside a record.
const LENGTHS: [usize; 8] = [0, 1, 7, 64, 300, 1024, 1025, 3000];

#[derive(Clone, Debug)]
pub struct Program {
    pub segment_slots: usize,
    /// They change nothing but where is looked.
    pub indexes: Indexes,
    pub timing: Timing,
    pub operations: Vec<Operation>,
}

/// Where the log has its time from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Timing {
    None,
    Clock,
    PerAppend,
}

#[derive(Clone, Copy, Debug)]
pub enum Access {
    Name,
    Handle,
    Appender,
}

/// One operation. Numbers that mean positions, revisions or times are choices, made when the operation is run.
#[derive(Clone, Debug)]
pub enum Operation {
    Append {
        access: Access,
        draft: Draft,
        expected: u8,
        condition: Option<(Criteria, u8)>,
        clock: i8,
    },
    Batch {
        access: Access,
        drafts: Vec<Draft>,
        expected: Vec<(&'static str, u8)>,
        condition: Option<(Criteria, u8)>,
        clock: i8,
    },
    Truncate {
        before: u8,
    },
    Maintain,
    Get {
        position: u8,
    },
    View {
        position: u8,
    },
    Read(Wish),
    Open(Wish),
    /// A read goes `steps` far, then the log is truncated `ahead` of where it is, then it goes on to its end.
    Overtake {
        wish: Wish,
        steps: u8,
        ahead: u8,
    },
    Step {
        count: u8,
    },
}

/// A read, with choices for its numbers. A choice that is absent leaves its setter out.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub stream: Option<&'static str>,
    pub from: Option<u8>,
    pub after: bool,
    pub to: Option<u8>,
    pub from_revision: Option<u8>,
    pub to_revision: Option<u8>,
    pub since: Option<i8>,
    pub until: Option<i8>,
    pub first: Option<u8>,
    pub last: Option<u8>,
    pub backwards: bool,
    pub criteria: Option<Criteria>,
    /// Which of the views taken so far to read; none: the present.
    pub view: Option<u8>,
}

/// A read with its numbers, as the model understands it. Bounds are inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    pub stream: Option<&'static str>,
    pub positions: (u64, u64),
    pub revisions: (u64, u64),
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub backwards: bool,
    pub criteria: Option<Criteria>,
}

impl Selection {
    pub fn all(stream: Option<&'static str>) -> Self {
        Self {
            stream,
            positions: (1, u64::MAX),
            revisions: (0, u64::MAX),
            since: None,
            until: None,
            first: None,
            last: None,
            backwards: false,
            criteria: None,
        }
    }
}

/// What a message is made of: two bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draft(u8, u8);

impl Draft {
    pub fn stream(self) -> &'static str {
        STREAMS[usize::from(self.0 % WRITTEN)]
    }

    pub fn kind(self) -> Kind {
        if self.0 & 4 == 0 { Kind::Event } else { Kind::Command }
    }

    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0 >> 3) % NAMES.len()]
    }

    pub fn tags(self) -> impl Iterator<Item = &'static str> {
        (0..TAGS.len()).filter(move |bit| self.1 >> bit & 1 != 0).map(|bit| TAGS[bit])
    }

    pub fn payload(self) -> Vec<u8> {
        vec![self.fill(); self.length()]
    }

    pub fn has_payload(self, payload: &[u8]) -> bool {
        // Alike all through, if it is itself moved by one: a comparison of memory, which is fast under a fuzzer.
        let alike = |first: &u8, rest: &[u8]| *first == self.fill() && *rest == payload[..rest.len()];
        payload.len() == self.length() && payload.split_first().is_none_or(|(first, rest)| alike(first, rest))
    }

    fn fill(self) -> u8 {
        self.0 ^ self.1
    }

    fn length(self) -> usize {
        LENGTHS[usize::from(self.1 >> 2 & 7)]
    }

    /// A third of the messages have everything that a message can have.
    pub fn extras(self) -> Option<(Timestamp, &'static str)> {
        self.1
            .is_multiple_of(3)
            .then(|| (Timestamp::from_nanos(i64::from(self.0) - 100), TEXTS[usize::from(self.1) % TEXTS.len()]))
    }

    /// Of the messages with extras.
    pub fn session(self) -> &'static str {
        SESSIONS[usize::from(self.0 >> 5 & 1)]
    }

    /// Of the messages with extras.
    pub fn message_id(self) -> &'static str {
        MESSAGE_IDS[usize::from(self.0 >> 6)]
    }

    /// The message. Every other payload is borrowed from `payload`, the others are shared.
    pub fn message(self, payload: &[u8]) -> Message<'_> {
        let content: Payload<'_> = if self.1 & 32 == 0 { payload.into() } else { payload.to_vec().into() };
        let mut message = Message::builder(self.name()).kind(self.kind()).payload(content);
        for tag in self.tags() {
            message = message.tag(tag);
        }
        if let Some((time, text)) = self.extras() {
            message = message.own_time(time).request_id(text).causation_id("cause").header("key", text);
            message = message.session_id(self.session()).message_id(self.message_id());
        }
        message.build().expect("drafts are valid")
    }
}

/// A query: up to two alternatives, a byte each.
#[derive(Clone, Copy, Debug)]
pub struct Criteria(u8, Option<u8>);

impl Criteria {
    pub fn query(self) -> Query {
        self.items().fold(Query::all(), |query, bits| query.or(Self::item(bits).expect("names are valid")))
    }

    pub fn matches(self, draft: &Draft) -> bool {
        self.items().any(|bits| Self::item_matches(bits, *draft))
    }

    fn items(self) -> impl Iterator<Item = u8> {
        [Some(self.0), self.1].into_iter().flatten()
    }

    fn item(bits: u8) -> Result<Item, annals::InvalidName> {
        let mut item = Item::new();
        item = match bits % 4 {
            1 => item.stream("a-1")?.stream("b")?,
            2 => item.category("b")?,
            3 => item.category("a")?.category("never")?,
            _ => item,
        };
        item = if bits & 4 != 0 { item.name("Opened")?.name("Paid")? } else { item };
        item = if bits & 8 != 0 { item.tag("t:1")? } else { item };
        item = if bits & 16 != 0 { item.tag("t:2")? } else { item };
        item = match bits >> 6 {
            1 => item.request(TEXTS[0]).request(TEXTS[3]),
            2 => item.session(SESSIONS[1]),
            3 => item.message_id(MESSAGE_IDS[0]).message_id(MESSAGE_IDS[3]),
            _ => item,
        };
        Ok(if bits & 32 != 0 { item.kind(Kind::Command) } else { item })
    }

    fn item_matches(bits: u8, draft: Draft) -> bool {
        let stream = match bits % 4 {
            1 => ["a-1", "b"].contains(&draft.stream()),
            2 => ["b", "b-1"].contains(&draft.stream()),
            3 => ["a-1", "a-2"].contains(&draft.stream()),
            _ => true,
        };
        let name = bits & 4 == 0 || draft.name() != "Closed";
        let tags = bits >> 3 & 3;
        let id = bits >> 6 == 0 || draft.extras().is_some_and(|(_, request)| Self::id_matches(bits, draft, request));
        stream && name && id && draft.1 & tags == tags && (bits & 32 == 0 || draft.kind() == Kind::Command)
    }

    fn id_matches(bits: u8, draft: Draft, request: &str) -> bool {
        match bits >> 6 {
            1 => [TEXTS[0], TEXTS[3]].contains(&request),
            2 => draft.session() == SESSIONS[1],
            _ => [MESSAGE_IDS[0], MESSAGE_IDS[3]].contains(&draft.message_id()),
        }
    }
}

impl Program {
    pub fn decode(bytes: &[u8]) -> Self {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD));
        let mut head = Chunk(head);
        let shape = head.byte();
        Self {
            segment_slots: [2, 8, 2, 4][usize::from(shape % 4)],
            indexes: match shape / 4 % 4 {
                0 => Indexes::new(),
                1 => Indexes::all(),
                2 => Indexes::all().buckets(2),
                _ => Indexes::new().tags().message_ids().buckets(16),
            },
            timing: [Timing::Clock, Timing::None, Timing::PerAppend][usize::from(head.byte() % 3)],
            operations: rest.chunks(CHUNK).map(|chunk| Chunk(chunk).operation()).collect(),
        }
    }
}

/// Bytes to decode; zeros when they have run out.
struct Chunk<'b>(&'b [u8]);

impl Chunk<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn signed(&mut self) -> i8 {
        self.byte().cast_signed()
    }

    /// A number that is mostly smaller than a log is long, so that a bound is one.
    fn few(&mut self) -> u8 {
        let byte = self.byte();
        if byte < 224 { byte % 8 } else { byte }
    }

    fn operation(&mut self) -> Operation {
        match self.byte() % 16 {
            0..=3 => Operation::Append {
                access: self.access(),
                clock: self.signed(),
                expected: self.byte(),
                condition: self.condition(),
                draft: self.draft(),
            },
            4..=7 => self.batch(),
            8 => Operation::Truncate { before: self.byte() },
            9 => self.maintain_or_overtake(),
            10 => Operation::Get { position: self.byte() },
            11 => Operation::View { position: self.byte() },
            12 | 13 => Operation::Read(self.wish()),
            14 => Operation::Open(self.wish()),
            _ => Operation::Step { count: self.byte() },
        }
    }

    /// Mostly a read that is overtaken, without bounds that leave most of the log out.
    fn maintain_or_overtake(&mut self) -> Operation {
        if self.byte().is_multiple_of(4) {
            return Operation::Maintain;
        }
        let (steps, ahead) = (self.byte() % 4, self.byte() % 4);
        let wish = Wish { since: None, until: None, to: None, criteria: None, view: None, ..self.wish() };
        Operation::Overtake { wish, steps, ahead }
    }

    /// Messages take what is left of the chunk, again and again until there are enough of them.
    fn batch(&mut self) -> Operation {
        let (access, clock, length, condition) = (self.access(), self.signed(), self.byte(), self.condition());
        let expected = (0..self.byte() % 3).map(|_| (self.stream(), self.byte())).collect();
        let drafts: Vec<_> = (0..4).map(|_| self.draft()).collect();
        let drafts = drafts.into_iter().cycle().take(usize::from(length % 20)).collect();
        Operation::Batch { access, drafts, expected, condition, clock }
    }

    fn access(&mut self) -> Access {
        [Access::Name, Access::Handle, Access::Appender][usize::from(self.byte() % 3)]
    }

    fn stream(&mut self) -> &'static str {
        STREAMS[usize::from(self.byte()) % STREAMS.len()]
    }

    fn draft(&mut self) -> Draft {
        Draft(self.byte(), self.byte())
    }

    fn condition(&mut self) -> Option<(Criteria, u8)> {
        let (bits, criteria, after) = (self.byte(), self.criteria(), self.byte());
        (bits % 4 == 1).then_some((criteria, after))
    }

    fn criteria(&mut self) -> Criteria {
        let (one, other) = (self.byte(), self.byte());
        Criteria(one, (other < 64).then_some(other))
    }

    fn wish(&mut self) -> Wish {
        let bits = u16::from_le_bytes([self.byte(), self.byte()]);
        let has = |bit: u32| bits >> bit & 1 != 0;
        Wish {
            stream: Some(self.stream()).filter(|_| has(0)),
            from: Some(self.byte()).filter(|_| has(1)),
            after: has(2),
            to: Some(self.byte()).filter(|_| has(3)),
            from_revision: Some(self.byte()).filter(|_| has(4)),
            to_revision: Some(self.byte()).filter(|_| has(5)),
            since: Some(self.signed()).filter(|_| has(6)),
            until: Some(self.signed()).filter(|_| has(7)),
            first: Some(self.few()).filter(|_| has(8)),
            last: Some(self.few()).filter(|_| has(9)),
            backwards: has(10),
            criteria: Some(self.criteria()).filter(|_| has(11)),
            view: Some(self.byte()).filter(|_| has(12)),
        }
    }
}
