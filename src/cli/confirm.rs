//! Asking before something is lost for good.
//!
//! Invariant: without `--yes`, and without a person who types the name, nothing is done. A script is never asked: it
//! gets a usage error at once.

use std::io::{BufRead, IsTerminal as _};

use super::Failure;

/// Ends well if the person means it. `name` is what they have to type.
pub(super) fn confirm(what: &str, name: &str, yes: bool) -> Result<(), Failure> {
    let input = std::io::stdin();
    let terminal = input.is_terminal() && std::io::stderr().is_terminal();
    decide(what, name, yes, terminal.then(|| input.lock()))
}

/// `person`: whoever can be asked, if there is somebody.
pub(super) fn decide(what: &str, name: &str, yes: bool, person: Option<impl BufRead>) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let Some(mut person) = person else {
        return Err(Failure::usage(format!("this would {what}, for good; nothing was done"))
            .hint("--yes says that it is meant"));
    };
    eprint!("This will {what}, for good. Type {name} to do it: ");
    let mut answer = String::new();
    person
        .read_line(&mut answer)
        .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    if answer.trim() == name { Ok(()) } else { Err(Failure::new("not confirmed; nothing was done")) }
}
