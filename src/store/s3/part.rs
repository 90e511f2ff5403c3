//! Parts of objects as S3 speaks of them: what to ask for, and whether the answer is that.

use crate::store::error::StoreErrorKind;
use crate::store::{OBJECT_BYTES_MAX, Part};

/// How a part is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// By a GET with this `Range`, or none.
    Get(Option<String>),
    /// By the object's size first: no range says "nothing", and one that is too large is not worth a request.
    Size,
}

/// What to ask for.
pub(crate) fn ask(part: Part) -> Ask {
    let sound = |bytes: u64| (1..=OBJECT_BYTES_MAX).contains(&bytes);
    match part {
        Part::Whole => Ask::Get(None),
        Part::Range { at, bytes } if sound(bytes) => match at.checked_add(bytes - 1) {
            // Servers count in signed numbers.
            Some(last) if i64::try_from(last).is_ok() => Ask::Get(Some(format!("bytes={at}-{last}"))),
            Some(_) | None => Ask::Size,
        },
        Part::First { bytes } if sound(bytes) => Ask::Get(Some(format!("bytes=0-{}", bytes - 1))),
        Part::Last { bytes } if sound(bytes) => Ask::Get(Some(format!("bytes=-{bytes}"))),
        Part::Range { .. } | Part::First { .. } | Part::Last { .. } => Ask::Size,
    }
}

/// What an answer says that its body is: where it starts, how long it is, and how large the object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    at: u64,
    /// How many bytes must come.
    pub(crate) bytes: u64,
    size: u64,
}

impl Extent {
    /// From `Content-Length` and `Content-Range`; `None` if they are missing or contradict each other.
    pub(crate) fn read(length: Option<i64>, range: Option<&str>) -> Option<Self> {
        let bytes = u64::try_from(length?).ok()?;
        let Some(range) = range else { return Some(Self { at: 0, bytes, size: bytes }) };
        let (place, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = place.split_once('-')?;
        let (at, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
        let fits = last.checked_sub(at)?.checked_add(1)? == bytes && last < size;
        fits.then_some(Self { at, bytes, size })
    }

    /// Whether it is what was asked for: an answer with other bytes, or fewer, must not pass (L4).
    pub(crate) fn answers(self, part: Part) -> Result<(), Unlike> {
        match part.within(self.size) {
            Err(kind) => Err(Unlike::Contract(kind)),
            Ok(wanted) if wanted == (self.at, self.bytes) => Ok(()),
            Ok(_) => Err(Unlike::OtherBytes),
        }
    }
}

/// Why an answer is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlike {
    /// The object does not hold it, or nobody could read it.
    Contract(StoreErrorKind),
    /// The store gives other bytes.
    OtherBytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_asked_for_or_is_refused() {
        let range = |at, bytes| Part::Range { at, bytes };
        let short = Err(Unlike::Contract(StoreErrorKind::Short { size: 100 }));
        let other = Err(Unlike::OtherBytes);
        #[rustfmt::skip]
        let cases = [
            // asked                        length     Content-Range           verdict  why
            (Part::Whole,                   Some(100), None,                   Ok(()),  "all of it"),
            (range(10, 5),                  Some(5),   Some("bytes 10-14/100"), Ok(()), "the range"),
            (range(10, 5),                  Some(5),   Some("bytes 11-15/100"), other,  "off by one"),
            (range(10, 5),                  Some(100), None,                   other,   "a server that knows no ranges"),
            (range(98, 5),                  Some(2),   Some("bytes 98-99/100"), short,  "the object ends before"),
            (Part::First { bytes: 200 },    Some(100), Some("bytes 0-99/100"), Ok(()),  "smaller than asked"),
            (Part::First { bytes: 200 },    Some(100), None,                   Ok(()),  "and said without a range"),
            (Part::Last { bytes: 10 },      Some(10),  Some("bytes 90-99/100"), Ok(()), "the end"),
            (Part::Last { bytes: 10 },      Some(10),  Some("bytes 0-9/100"),  other,   "the wrong end"),
        ];
        for (part, length, range, verdict, why) in cases {
            assert_eq!(Extent::read(length, range).unwrap().answers(part), verdict, "{why}");
        }
        let nonsense = [
            (None, None, "no length"),
            (Some(-1), None, "less than nothing"),
            (Some(5), Some("bytes 10-15/100"), "six bytes that are said to be five"),
            (Some(5), Some("bytes 98-102/100"), "behind the end"),
            (Some(5), Some("bytes 10-14/*"), "a size that is not told"),
            (Some(5), Some("5"), "no range at all"),
        ];
        for (length, range, why) in nonsense {
            assert_eq!(Extent::read(length, range), None, "{why}");
        }
    }

    #[test]
    fn what_no_range_can_say_is_settled_by_the_size() {
        for part in [
            Part::Range { at: 5, bytes: 0 },
            Part::Range { at: u64::MAX, bytes: 5 },
            Part::Range { at: 0, bytes: OBJECT_BYTES_MAX + 1 },
            Part::First { bytes: 0 },
            Part::Last { bytes: u64::MAX },
        ] {
            assert_eq!(ask(part), Ask::Size, "{part:?}");
        }
        assert_eq!(ask(Part::Range { at: 3, bytes: 4 }), Ask::Get(Some("bytes=3-6".to_owned())));
    }
}
