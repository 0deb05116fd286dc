//! `verdict completions`: what a shell needs to complete the command line.
//!
//! Invariant: made from the command line's own definition, so that it is never out of date.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, Failure, print_line};

/// Print what your shell needs to complete this command line
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
                        verdict completions bash > ~/.local/share/bash-completion/completions/verdict\n  \
                        verdict completions zsh > ~/.zfunc/_verdict\n  \
                        verdict completions fish > ~/.config/fish/completions/verdict.fish")]
pub(super) struct Args {
    /// Your shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    print_line(script(args.shell).trim_end())
}

pub(super) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "verdict", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
