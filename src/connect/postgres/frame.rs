//! Bytes from the server, cut into messages and, where a message is large, into pieces of one, without copying.
//!
//! ```text
//!   0     1              5
//!   | tag | length u32   | body: length - 4 bytes |      big-endian
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::connect::error::WireError;
use crate::model::Piece;
use crate::model::limits::{PIECE_BYTES_MAX, SOCKET_READ_BYTES};

/// A message that is held whole; only COPY data may be larger, and that comes in pieces.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// No message of PostgreSQL is larger (its `MaxAllocSize` is one GiB less a byte); a larger length is a broken wire.
const LENGTH_MAX: usize = 1024 * 1024 * 1024;
const HEADER_BYTES: usize = 5;
/// `CopyData`.
pub(super) const COPY_DATA: u8 = b'd';

/// One message.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

/// One message, or a piece of COPY data.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) tag: u8,
    pub(super) piece: Piece,
    pub(super) body: Bytes,
}

/// What was read and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: BytesMut,
    /// Bytes of the message in pieces that have not been taken.
    rest: usize,
}

impl Inbox {
    /// Where to read into; there is room for a good read.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity().saturating_sub(self.buffer.len()) < SOCKET_READ_BYTES / 4 {
            self.buffer.reserve(SOCKET_READ_BYTES);
        }
        &mut self.buffer
    }

    /// The next whole message, if all of it is here.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((tag, length)) = self.header()? else { return Ok(None) };
        if length > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLarge { bytes: length, bytes_max: MESSAGE_BYTES_MAX });
        }
        Ok(self.body(length).map(|body| Frame { tag, body }))
    }

    /// The next message, or the next piece of COPY data that is larger than a piece. The first piece has room for
    /// `head` bytes more, so that what follows a head comes in even pieces.
    pub(super) fn fragment(&mut self, head: usize) -> Result<Option<Fragment>, WireError> {
        if self.rest > 0 {
            let want = self.rest.min(PIECE_BYTES_MAX);
            if self.buffer.len() < want {
                return Ok(None);
            }
            self.rest = self.rest.saturating_sub(want);
            let piece = if self.rest == 0 { Piece::Last } else { Piece::Middle };
            return Ok(Some(Fragment { tag: COPY_DATA, piece, body: self.buffer.split_to(want).freeze() }));
        }
        let first = head.saturating_add(PIECE_BYTES_MAX);
        match self.header()? {
            Some((COPY_DATA, length)) if length > first => Ok(self.body(first).map(|body| {
                self.rest = length.saturating_sub(first);
                Fragment { tag: COPY_DATA, piece: Piece::First, body }
            })),
            Some(_) => {
                Ok(self.frame()?.map(|frame| Fragment { tag: frame.tag, piece: Piece::Whole, body: frame.body }))
            }
            None => Ok(None),
        }
    }

    fn header(&self) -> Result<Option<(u8, usize)>, WireError> {
        if self.rest > 0 {
            return Err(WireError::Malformed("a message was looked for inside another"));
        }
        let Some((&[tag, a, b, c, d], _)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]).checked_sub(4).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= LENGTH_MAX && tag.is_ascii_alphanumeric());
        Ok(Some((tag, length.ok_or(WireError::Malformed("a header that is none"))?)))
    }

    fn body(&mut self, bytes: usize) -> Option<Bytes> {
        if self.buffer.len() < HEADER_BYTES.saturating_add(bytes) {
            return None;
        }
        self.buffer.advance(HEADER_BYTES);
        Some(self.buffer.split_to(bytes).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, body) in messages {
            bytes.push(*tag);
            bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            bytes.extend(body);
        }
        bytes
    }

    #[test]
    fn a_large_message_comes_in_even_pieces_after_its_head() {
        let body: Vec<u8> = (0..2 * PIECE_BYTES_MAX + 25 + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut inbox = Inbox::default();
        let (mut pieces, mut seen) = (Vec::new(), Vec::new());
        for chunk in wire(&[(COPY_DATA, body.clone()), (b'C', vec![0])]).chunks(1000) {
            inbox.room().extend_from_slice(chunk);
            while let Some(fragment) = inbox.fragment(25).unwrap() {
                pieces.push((fragment.tag, fragment.piece, fragment.body.len()));
                if fragment.tag == COPY_DATA {
                    seen.extend_from_slice(&fragment.body);
                }
            }
        }
        let expected = [
            (COPY_DATA, Piece::First, PIECE_BYTES_MAX + 25),
            (COPY_DATA, Piece::Middle, PIECE_BYTES_MAX),
            (COPY_DATA, Piece::Last, 7),
            (b'C', Piece::Whole, 1),
        ];
        assert_eq!(pieces, expected);
        assert_eq!(seen, body);
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_bytes_were_cut(
            messages in prop::collection::vec((prop::sample::select(vec![b'd', b'C', b'N', b'Z']), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            cuts in prop::collection::vec(1_usize..200, 1..50),
        ) {
            let bytes = wire(&messages);
            let (mut inbox, mut out, mut rest, mut at) = (Inbox::default(), Vec::new(), bytes.as_slice(), 0);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts[at % cuts.len()].min(rest.len()));
                (rest, at) = (later, at + 1);
                inbox.room().extend_from_slice(now);
                while let Some(frame) = inbox.frame().unwrap() {
                    out.push((frame.tag, frame.body.to_vec()));
                }
            }
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn any_bytes_at_all_are_messages_or_an_error(bytes: Vec<u8>, head in 0_usize..30) {
            let mut inbox = Inbox::default();
            inbox.room().extend_from_slice(&bytes);
            while let Ok(Some(_)) = inbox.fragment(head) {}
        }
    }
}
