//! What a verb says: answers on standard output, everything else on standard error; text for people, JSON for machines.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::cli::args::{Args, Verb};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::daemon::chain;

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    json: bool,
}

impl Out {
    /// As the command line asks.
    pub const fn new(args: &Args) -> Self {
        Self { json: args.json }
    }

    /// Draws nothing.
    #[cfg(test)]
    pub(crate) const fn silent() -> Self {
        Self { json: true }
    }

    /// Whether answers are JSON.
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Answers: `value` for machines, `text` for people.
    pub fn answer(self, value: &impl Serialize, text: &str) {
        let json = if self.json { serde_json::to_string_pretty(value).ok() } else { None };
        let answer = json.as_deref().unwrap_or(text);
        let mut stdout = std::io::stdout().lock();
        // A reader that went away (`holdfast list | head`) has read what it wanted.
        let _gone = writeln!(stdout, "{}", answer.trim_end());
    }

    /// Says what went wrong: one error, with its causes.
    pub fn failure(self, failure: &Failure) {
        let text = chain(&*failure.error);
        let mut stderr = std::io::stderr().lock();
        let _gone = if self.json {
            let error = serde_json::json!({ "error": text, "exit": failure.exit.code() });
            writeln!(stderr, "{error}")
        } else {
            writeln!(stderr, "holdfast: {text}")
        };
    }
}

/// Says something that is no answer and no failure.
pub fn warn(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _gone = writeln!(stderr, "holdfast: warning: {text}");
}

/// Says how far long work is, where no bar can be drawn.
pub fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _gone = writeln!(stderr, "holdfast: {text}");
}

/// Whether somebody can be asked.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Goes on only if a person agrees, here or by `--yes` on the command line. Without a terminal nobody can be asked.
pub fn confirm(agreed: bool, sentence: &str) -> Result<(), Failure> {
    if agreed {
        return Ok(());
    }
    if !is_interactive() {
        return Err(Failure::text(Exit::Usage, format!("{sentence}; without a terminal this needs --yes")));
    }
    let mut stderr = std::io::stderr().lock();
    let asked = write!(stderr, "holdfast: {sentence}. Go on? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let answered = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
    if answered.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::text(Exit::Failed, "not agreed to; nothing was changed"))
    }
}

/// Log lines go to standard error; the daemon says more than a verb that answers.
pub fn begin_logging(args: &Args) {
    let daemon = matches!(args.verb, Verb::Run(_));
    let level = match (args.quiet, args.verbose, daemon) {
        (true, _, _) => "error",
        (false, 0, true) => "holdfast=info,warn",
        (false, 0, false) => "warn",
        (false, 1, _) => "holdfast=debug,info",
        (false, _, _) => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let colour = std::io::stderr().is_terminal();
    let begun =
        if args.json { builder.json().with_ansi(false).try_init() } else { builder.with_ansi(colour).try_init() };
    if begun.is_err() {
        warn("logging was begun twice");
    }
}
