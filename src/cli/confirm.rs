//! Asking before something is lost for good.
//!
//! Invariant: without `--yes`, and without a person who types the name, nothing is done. A script is never asked: it
//! gets a usage error at once.

use std::io::{self, IsTerminal as _};

use super::Failure;

/// Ends well if the person means it. `name` is what they have to type.
pub(super) async fn confirm(what: &str, name: &str, yes: bool) -> Result<(), Failure> {
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    decide(what, name, yes, terminal.then(typed)).await
}

/// What the person types. They may take their time: heartbeats go on meanwhile.
async fn typed() -> io::Result<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    });
    read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// `person`: whoever can be asked, if there is somebody.
pub(super) async fn decide(
    what: &str,
    name: &str,
    yes: bool,
    person: Option<impl Future<Output = io::Result<String>>>,
) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let Some(person) = person else {
        return Err(Failure::usage(format!("this would {what}, for good; nothing was done"))
            .hint("--yes says that it is meant"));
    };
    eprint!("This will {what}, for good. Type {name} to do it: ");
    let answer = person.await.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    if answer.trim() == name { Ok(()) } else { Err(Failure::new("not confirmed; nothing was done")) }
}
