//! Every bound of the system (L8) with its unit, tied together by assertions that the compiler checks.

use std::time::Duration;

/// Plain bytes of records in one frame; a record that is larger continues in the next.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// The sealed size at which a segment is cut, unless configured otherwise.
pub const SEGMENT_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// The largest object of a log that a reader accepts: a cut may overshoot by one frame, a footer and a header.
pub const SEGMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Sealed bytes of segments that may be on their way to the store at once.
pub const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Puts of segments that may be on their way at once.
pub const IN_FLIGHT_PUTS_MAX: usize = 4;
/// What the daemon may hold in memory altogether.
pub const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A clear header with all its wraps.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;
/// One ranged read from the end that holds trailer and footer of nearly every segment.
pub const TAIL_READ_BYTES: u64 = 64 * 1024;
/// Names in one page of a listing.
pub const LIST_PAGE_KEYS_MAX: usize = 1000;
/// Segments between two checkpoints.
pub const CHECKPOINT_EVERY_SLOTS: u64 = 256;
/// Segments that one checkpoint lists at most, and that wait for one while the store takes none.
pub const CHECKPOINT_SLOTS_MAX: usize = 16 * 1024;
/// One read from a server's socket.
pub const SOCKET_READ_BYTES: usize = 128 * 1024;
/// Read from a source's socket ahead of the encoder, and once more in the queue between them.
pub const READ_AHEAD_BYTES: usize = 1024 * 1024;
/// Bytes of one wire record; a longer message is passed on in pieces of this size.
pub const PIECE_BYTES_MAX: usize = 128 * 1024;
/// Age at which a segment is cut, unless configured otherwise.
pub const SEGMENT_AGE_DEFAULT: Duration = Duration::from_secs(1);
/// Time between heartbeats, unless configured otherwise.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(30);
/// The part of one base object that is filled before it is sealed and put.
pub const BASE_PART_BYTES: usize = 8 * 1024 * 1024;
/// A data key is renewed at this age at the latest; else when the day ends.
pub const DATA_KEY_SOFT_LIFE: Duration = Duration::from_hours(24);
/// Under a data key of this age nothing is sealed any more: an outage of the key service may last so long.
pub const DATA_KEY_HARD_LIFE: Duration = Duration::from_hours(72);
/// The wait before a key service that did not renew a data key is asked again.
pub const DATA_KEY_RENEW_AGAIN: Duration = Duration::from_mins(1);
/// The wait before a store that did not take a checkpoint is given one again.
pub const CHECKPOINT_AGAIN: Duration = Duration::from_mins(1);
/// Data keys that are kept open, so that a reader asks the key service once for each.
pub const OPENED_KEYS_MAX: usize = 1024;

const _: () = {
    assert!(DATA_KEY_SOFT_LIFE.as_secs() < DATA_KEY_HARD_LIFE.as_secs(), "a renewal may fail for a while");
    assert!(PIECE_BYTES_MAX + 64 <= FRAME_BYTES_MAX, "a piece with its header fits into an empty frame");
    assert!(SEGMENT_BYTES_DEFAULT + 4 * FRAME_BYTES_MAX <= SEGMENT_BYTES_MAX, "a cut may overshoot");
    assert!(CHECKPOINT_SLOTS_MAX * 128 < SEGMENT_BYTES_MAX, "a checkpoint is no larger than a segment");
    assert!(2 * SEGMENT_BYTES_MAX <= IN_FLIGHT_BYTES_MAX, "one segment fills while another is put");
    assert!(2 * IN_FLIGHT_BYTES_MAX <= MEMORY_BYTES_MAX, "plain and sealed may both be held");
};
