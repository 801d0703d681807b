//! Numbers and texts in bytes: little-endian, and whole numbers of varying length, seven bits a byte, the lowest first
//! (LEB128). What is read is checked against what is there; nothing here panics, whatever the bytes are.

/// Reads from the front of some bytes. Each method says none when too few are left.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'b>(pub(crate) &'b [u8]);

impl<'b> Fields<'b> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.u64().map(u64::cast_signed)
    }

    /// A whole number, in as few bytes as it takes: another spelling of it is not one.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            return Some(first.into());
        }
        self.long_varint(first)
    }

    fn long_varint(&mut self, first: u8) -> Option<u64> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (byte != 0).then_some(number);
            }
        }
        None
    }

    pub(crate) fn varint_as<N: TryFrom<u64>>(&mut self) -> Option<N> {
        self.varint()?.try_into().ok()
    }

    /// A text of up to 255 bytes after its length.
    pub(crate) fn short(&mut self) -> Option<&'b str> {
        let len = self.u8()?;
        std::str::from_utf8(self.take(len.into())?).ok()
    }
}

pub(crate) fn put_varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    to.push(low_byte(number));
}

fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// `text` has at most 255 bytes, as every [`Name`](crate::Name) has.
pub(crate) fn put_short(text: &str, to: &mut Vec<u8>) {
    to.push(u8::try_from(text.len()).expect("a name has at most 255 bytes"));
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number reads back as it was written, and only in the bytes in which it was written.
    #[test]
    fn numbers_round_trip() {
        let mut numbers = vec![0, 1, 127, 128, 300, 16_383, 16_384, u64::MAX - 1, u64::MAX];
        numbers.extend((0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1]));
        for number in numbers {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            let mut fields = Fields(&bytes);
            assert_eq!((fields.varint(), fields.0.len()), (Some(number), 0));
            for cut in 0..bytes.len() {
                assert_eq!(Fields(&bytes[..cut]).varint(), None, "{number} cut after {cut}");
            }
        }
    }

    /// A number has one spelling: longer ones, and what is larger than 64 bits, are refused.
    #[test]
    fn other_spellings_are_refused() {
        assert_eq!(Fields(&[0x80, 0x00]).varint(), None);
        assert_eq!(Fields(&[0xff, 0x00]).varint(), None);
        assert_eq!(Fields(&[0xff; 10]).varint(), None);
        assert_eq!(Fields(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]).varint(), None);
        assert_eq!(Fields(&[0x80, 0x02]).varint_as::<u8>(), None, "256 is no byte");
    }

    /// What is not there, or no text, is not read.
    #[test]
    fn what_is_cut_is_not_read() {
        let mut bytes = Vec::new();
        put_short("näme", &mut bytes);
        assert_eq!(Fields(&bytes).short(), Some("näme"));
        assert_eq!(Fields(&bytes[..bytes.len() - 1]).short(), None);
        assert_eq!(Fields(&[1, 0xff]).short(), None);
        assert_eq!((Fields(&[0; 3]).u32(), Fields(&[0; 7]).u64(), Fields(&[]).u8()), (None, None, None));
    }
}
