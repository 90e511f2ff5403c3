//! The columns of one row as a message carries them: checked once, then walked without a copy and without a list.

use crate::codec::wire::Reader;
use crate::codec::wire::WireError;

/// One value of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column<'a> {
    /// NULL.
    Null,
    /// Not sent, for it is large, stored apart (TOAST) and unchanged: the row there already holds it.
    Unchanged,
    /// The value as its type writes it.
    Text(&'a [u8]),
    /// The value as its type sends it.
    Binary(&'a [u8]),
}

impl<'a> Column<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        match reader.u8()? {
            b't' => Ok(Self::Text(value(reader)?)),
            b'n' => Ok(Self::Null),
            b'u' => Ok(Self::Unchanged),
            b'b' => Ok(Self::Binary(value(reader)?)),
            _ => Err(WireError::Foreign { what: "the kind of a column's value" }),
        }
    }
}

impl std::fmt::Debug for Column<'_> {
    /// Without the value, which belongs in no log line (L6).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Text(value) => write!(f, "Text({} bytes)", value.len()),
            Self::Binary(value) => write!(f, "Binary({} bytes)", value.len()),
        }
    }
}

fn value<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let bytes = usize::try_from(reader.i32_be()?);
    reader.take(bytes.map_err(|_| WireError::Foreign { what: "the length of a value" })?)
}

/// The values of a row in the order of its relation's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: u16,
    body: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Reads and checks a tuple; afterwards `reader` stands behind it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let count = reader.u16_be()?;
        let start = *reader;
        for _ in 0..count {
            Column::read(reader)?;
        }
        let mut body = start;
        let body = body.take(start.len().saturating_sub(reader.len()))?;
        Ok(Self { count, body })
    }

    /// A tuple of bytes that [`Column::read`] has accepted or that were written for it.
    pub(crate) const fn trusted(count: u16, body: &'a [u8]) -> Self {
        Self { count, body }
    }

    /// How many values.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The values on the wire, without their number.
    pub(crate) const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The values.
    pub const fn columns(&self) -> Columns<'a> {
        Columns { left: self.count, reader: Reader::new(self.body) }
    }
}

impl std::fmt::Debug for Tuple<'_> {
    /// Without the values, which belong in no log line (L6).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tuple").field("count", &self.count).field("bytes", &self.body.len()).finish()
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = Column<'a>;
    type IntoIter = Columns<'a>;

    fn into_iter(self) -> Columns<'a> {
        self.columns()
    }
}

/// Walks the values of a row.
#[derive(Clone)]
pub struct Columns<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    fn next(&mut self) -> Option<Column<'a>> {
        self.left = self.left.checked_sub(1)?;
        Column::read(&mut self.reader).ok() // never an error: `Tuple::read` has read them all
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Columns<'_> {}

impl std::fmt::Debug for Columns<'_> {
    /// Without the values, which belong in no log line (L6).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Columns").field("left", &self.left).finish_non_exhaustive()
    }
}
