//! A checked cursor over bytes: integers, strings and lengths, where a missing or a surplus byte is an error.
//!
//! Writing needs no counterpart: `bytes::BufMut` does it.

/// Bytes that are not what their format promises. Nothing in it repeats what the bytes said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Bytes are missing.
    #[error("{want} bytes expected, {have} there")]
    Short {
        /// What was asked for.
        want: usize,
        /// What was left.
        have: usize,
    },
    /// A tag, a number or a text that the format does not have.
    #[error("not {what}")]
    Foreign {
        /// What should have been there, with its article.
        what: &'static str,
    },
    /// Bytes remain where the format ends.
    #[error("{surplus} bytes too many")]
    TooLong {
        /// How many.
        surplus: usize,
    },
}

/// Reads a slice from its beginning to its end. What was read stays borrowed from the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader<'a> {
    left: &'a [u8],
}

macro_rules! integers {
    ($($le:ident $be:ident $int:ty),+) => {
        $(
            #[doc = concat!("The next `", stringify!($int), "`, least significant byte first.")]
            pub const fn $le(&mut self) -> Result<$int, WireError> {
                match self.array() {
                    Ok(bytes) => Ok(<$int>::from_le_bytes(bytes)),
                    Err(error) => Err(error),
                }
            }

            #[doc = concat!("The next `", stringify!($int), "`, most significant byte first.")]
            pub const fn $be(&mut self) -> Result<$int, WireError> {
                match self.array() {
                    Ok(bytes) => Ok(<$int>::from_be_bytes(bytes)),
                    Err(error) => Err(error),
                }
            }
        )+
    };
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// How many bytes are left.
    pub const fn len(&self) -> usize {
        self.left.len()
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next `N` bytes.
    pub const fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.left.split_first_chunk::<N>() {
            Some((bytes, left)) => {
                self.left = left;
                Ok(*bytes)
            }
            None => Err(WireError::Short { want: N, have: self.left.len() }),
        }
    }

    /// The next `count` bytes.
    pub const fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        match self.left.split_at_checked(count) {
            Some((bytes, left)) => {
                self.left = left;
                Ok(bytes)
            }
            None => Err(WireError::Short { want: count, have: self.left.len() }),
        }
    }

    /// The next byte.
    pub const fn u8(&mut self) -> Result<u8, WireError> {
        match self.left.split_first() {
            Some((byte, left)) => {
                self.left = left;
                Ok(*byte)
            }
            None => Err(WireError::Short { want: 1, have: 0 }),
        }
    }

    integers!(
        u16_le u16_be u16, u32_le u32_be u32, u64_le u64_be u64, u128_le u128_be u128,
        i16_le i16_be i16, i32_le i32_be i32, i64_le i64_be i64
    );

    /// The bytes up to the next zero byte, which is read and left out.
    pub fn cstr(&mut self) -> Result<&'a [u8], WireError> {
        let missing = WireError::Foreign { what: "a text that ends in a zero byte" };
        let end = memchr::memchr(0, self.left).ok_or(missing)?;
        let text = self.take(end)?;
        self.u8()?;
        Ok(text)
    }

    /// The UTF-8 text up to the next zero byte, which is read and left out.
    pub fn cstr_utf8(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.cstr()?).map_err(|_| WireError::Foreign { what: "a text in UTF-8" })
    }

    /// Everything that is left.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.left;
        self.left = &[];
        rest
    }

    /// Ends the reading: an error if bytes remain.
    pub const fn finish(self) -> Result<(), WireError> {
        if self.left.is_empty() { Ok(()) } else { Err(WireError::TooLong { surplus: self.left.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_and_any_cut_is_short(a: u16, b: i64, text in "[^\0]*", cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            bytes::BufMut::put_u16(&mut bytes, a);
            bytes::BufMut::put_i64_le(&mut bytes, b);
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
            let read = |bytes: &[u8]| {
                let mut reader = Reader::new(bytes);
                let read = (reader.u16_be()?, reader.i64_le()?, reader.cstr_utf8()?.to_owned());
                reader.finish().map(|()| read)
            };
            prop_assert_eq!(read(&bytes), Ok((a, b, text)));
            prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(7);
            prop_assert_eq!(read(&bytes), Err(WireError::TooLong { surplus: 1 }));
        }
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32_le(), Err(WireError::Short { want: 4, have: 3 }));
        assert_eq!(reader.take(4), Err(WireError::Short { want: 4, have: 3 }));
        assert_eq!(reader.cstr(), Err(WireError::Foreign { what: "a text that ends in a zero byte" }));
        assert_eq!(reader.take(2), Ok(&[1, 2][..]), "so the bytes are still there");
        assert_eq!((reader.rest(), reader.finish()), (&[3][..], Ok(())));
    }
}
