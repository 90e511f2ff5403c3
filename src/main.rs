//! The door: reads the command line, runs one verb, prints one error with its causes, and gives the exit code.

use std::process::ExitCode;

use holdfast::cli;

fn main() -> ExitCode {
    cli::main(std::env::args_os()).into()
}
