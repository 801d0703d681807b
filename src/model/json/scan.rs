//! Reading JSON without keeping any of it. Every step either goes on behind what it read, or says that it is no JSON.

use std::cmp::Ordering;

/// Objects and arrays within each other, as many as `serde_json` reads.
const DEEPEST: u32 = 127;

/// The bytes at which a text in quotes ends, goes on with an escape, or is no JSON.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        stops[control] = true;
        control += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

/// The payload is no JSON text.
pub(super) struct NotJson;

/// A text, and how far it has been read.
pub(super) struct Scanner<'p> {
    text: &'p str,
    at: usize,
    depth: u32,
}

/// What is between two quotes: well-formed, still escaped.
#[derive(Clone, Copy)]
pub(super) struct Quoted<'p> {
    text: &'p str,
    escaped: bool,
}

impl<'p> Scanner<'p> {
    /// None when it is not UTF-8.
    pub(super) fn new(payload: &'p [u8]) -> Option<Self> {
        Some(Self { text: std::str::from_utf8(payload).ok()?, at: 0, depth: 0 })
    }

    /// The first byte of what comes next, behind blanks.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, NotJson> {
        self.blanks();
        self.byte().ok_or(NotJson)
    }

    /// Only blanks may follow.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(NotJson) }
    }

    /// Goes into an object, and tells whether there is a key.
    #[inline]
    pub(super) fn enter_object(&mut self) -> Result<bool, NotJson> {
        self.enter(b'{', b'}')
    }

    /// Goes into an array, and tells whether there is a value.
    #[inline]
    pub(super) fn enter_array(&mut self) -> Result<bool, NotJson> {
        self.enter(b'[', b']')
    }

    /// After a value in an object: whether a key follows. If not, the object has been left.
    #[inline]
    pub(super) fn more_of_object(&mut self) -> Result<bool, NotJson> {
        self.more(b'}')
    }

    /// After a value in an array: whether another one follows. If not, the array has been left.
    #[inline]
    pub(super) fn more_of_array(&mut self) -> Result<bool, NotJson> {
        self.more(b']')
    }

    #[inline]
    fn enter(&mut self, open: u8, close: u8) -> Result<bool, NotJson> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(NotJson);
        }
        let empty = self.peek()? == close;
        if empty {
            self.leave();
        }
        Ok(!empty)
    }

    #[inline]
    fn more(&mut self, close: u8) -> Result<bool, NotJson> {
        let next = self.peek()?;
        if next == close {
            self.leave();
            return Ok(false);
        }
        self.take(b',')?;
        Ok(true)
    }

    #[inline]
    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// A key and its colon.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Quoted<'p>, NotJson> {
        let key = self.text()?;
        self.take(b':')?;
        Ok(key)
    }

    /// A text in quotes.
    pub(super) fn text(&mut self) -> Result<Quoted<'p>, NotJson> {
        self.take(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            self.at += rest.iter().position(|byte| STOPS[usize::from(*byte)]).ok_or(NotJson)?;
            match self.text.as_bytes()[self.at] {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    let (_, length) = unescape(&self.text[self.at..]).ok_or(NotJson)?;
                    self.at += length;
                }
                _ => return Err(NotJson),
            }
        }
        self.at += 1;
        Ok(Quoted { text: &self.text[start..self.at - 1], escaped })
    }

    /// A number, as it is written.
    pub(super) fn number(&mut self) -> Result<&'p str, NotJson> {
        self.blanks();
        let start = self.at;
        let _negative = self.take_if(b'-');
        if !self.take_if(b'0') {
            self.digits()?;
        }
        if self.take_if(b'.') {
            self.digits()?;
        }
        if self.take_if(b'e') || self.take_if(b'E') {
            let _signed = self.take_if(b'+') || self.take_if(b'-');
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    #[inline]
    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    /// Reads a value, whatever it is. Not recursive: each level that it is in takes a bit.
    pub(super) fn skip(&mut self) -> Result<(), NotJson> {
        let outside = self.depth;
        // The lowest bit is of the innermost level, and set for an object. There are fewer levels than bits.
        let mut objects = 0_u128;
        loop {
            let first = self.peek()?;
            let inside = match first {
                b'{' => self.enter_object()?,
                b'[' => self.enter_array()?,
                _ => self.skip_scalar(first)?,
            };
            if inside {
                objects = (objects << 1) | u128::from(first == b'{');
            } else if !self.skip_ends(outside, &mut objects)? {
                return Ok(());
            }
            if objects & 1 == 1 {
                self.key()?;
            }
        }
    }

    /// After a value: leaves what ends with it, and tells whether there is a next one inside of `outside`.
    fn skip_ends(&mut self, outside: u32, objects: &mut u128) -> Result<bool, NotJson> {
        while self.depth > outside {
            let more = if *objects & 1 == 1 { self.more_of_object()? } else { self.more_of_array()? };
            if more {
                return Ok(true);
            }
            *objects >>= 1;
        }
        Ok(false)
    }

    /// Nothing is inside of it.
    fn skip_scalar(&mut self, first: u8) -> Result<bool, NotJson> {
        match first {
            b'"' => self.text().map(drop)?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number().map(drop)?,
        }
        Ok(false)
    }

    fn word(&mut self, word: &str) -> Result<(), NotJson> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn take(&mut self, wanted: u8) -> Result<(), NotJson> {
        self.blanks();
        if self.take_if(wanted) { Ok(()) } else { Err(NotJson) }
    }

    #[inline]
    fn take_if(&mut self, wanted: u8) -> bool {
        let is = self.byte() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

impl Quoted<'_> {
    /// By the characters that are meant.
    pub(super) fn compare(self, other: &str) -> Ordering {
        if self.escaped { Unescaped(self.text).cmp(other.chars()) } else { self.text.cmp(other) }
    }
}

/// The characters of a well-formed text.
struct Unescaped<'p>(&'p str);

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let (next, length) = match self.0.chars().next()? {
            '\\' => unescape(self.0)?,
            plain => (plain, plain.len_utf8()),
        };
        self.0 = &self.0[length..];
        Some(next)
    }
}

/// The character that the escape at the beginning of `text` means, and the bytes it takes.
fn unescape(text: &str) -> Option<(char, usize)> {
    let short = match text.as_bytes().get(1)? {
        b'u' => return unescape_unit(text),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        same @ (b'"' | b'\\' | b'/') => char::from(*same),
        _ => return None,
    };
    Some((short, 2))
}

/// An escape by its number: a unit of UTF-16, or two of them.
fn unescape_unit(text: &str) -> Option<(char, usize)> {
    let first = unit(text)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = unit(text.get(6..)?)?;
    let both = char::decode_utf16([u16::try_from(first).ok()?, u16::try_from(second).ok()?]).next()?;
    Some((both.ok()?, 12))
}

/// The number of `\uXXXX`.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    // A sign would be read as well.
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}
