//! Parses the command line, runs the verb, gives the exit code: 0 done, 1 failed, 2 wrong use.

use std::process::ExitCode;

fn main() -> ExitCode {
    panseo::cli::main()
}
