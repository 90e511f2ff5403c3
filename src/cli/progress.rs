//! Progress on long work: a bar on a terminal, nothing elsewhere; the answer at the end says what was done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::out::Out;
use crate::source::postgres::base::BaseProgress;

/// A bar of bytes.
pub struct BytesBar {
    bar: ProgressBar,
}

impl BytesBar {
    /// A bar that says what it is of; hidden where answers are JSON or nobody looks.
    pub fn new(out: Out, of: &str) -> Self {
        let target = if out.is_json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style).with_message(of.to_owned());
        Self { bar }
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

impl BaseProgress for BytesBar {
    fn begins(&self, bytes: u64) {
        self.bar.set_length(bytes);
    }

    fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

/// A count of objects and bytes whose end is not known.
pub struct CountBar {
    bar: ProgressBar,
}

impl CountBar {
    /// A count that says what it is of; hidden where answers are JSON or nobody looks.
    pub fn new(out: Out, of: &str) -> Self {
        let target = if out.is_json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{spinner} {msg}: {prefix} objects, {bytes} {bytes_per_sec}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style).with_message(of.to_owned());
        Self { bar }
    }

    /// So many objects and bytes were looked at.
    pub fn at(&self, objects: u64, bytes: u64) {
        self.bar.set_prefix(objects.to_string());
        self.bar.set_position(bytes);
    }

    /// Takes it away.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
