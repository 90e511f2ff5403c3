//! What a segment must repeat so that it can be read alone: known to the source, asked for by the writer.

use crate::codec::footer::Subject;
use crate::codec::segment::Flags;
use crate::model::Record;

/// A source's knowledge about its own records. The writer asks it as records pass.
pub trait Context: Send {
    /// A segment begins; nothing has been repeated in it yet.
    fn begin(&mut self);
    /// `record` is next. Appends what must stand before it in this segment; those are of kind
    /// [`crate::model::Kind::Context`].
    fn before(&mut self, record: &Record, repeat: &mut Vec<Record>);
    /// The segment ends: what it touched, and whether it holds a mark.
    fn end(&mut self) -> (Vec<Subject>, Flags);
}

/// The context of a source whose records need none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContext;

impl Context for NoContext {
    fn begin(&mut self) {}

    fn before(&mut self, _record: &Record, _repeat: &mut Vec<Record>) {}

    fn end(&mut self) -> (Vec<Subject>, Flags) {
        (Vec::new(), Flags::default())
    }
}
