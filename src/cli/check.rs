//! `verdict check`: asks the store what it thinks of a data directory, and says so.
//!
//! Invariant: changes nothing. What is checked, and how, is the store's business.

use std::path::PathBuf;

use super::{Failure, print_line};
use crate::store::{self, StoreError};

const WHICH: &str = "the directory is the one given to `verdict serve --data`, ./verdict-data by default";

/// Check a data directory, and say what is in it and what is wrong with it
///
/// Reads the journal and the index and compares them; changes nothing. The broker must not be running on it.
/// Exit code 0: all is well. 1: something is wrong, or it could not be checked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory, as given to `verdict serve --data`
    #[arg(value_name = "DIR", default_value = "./verdict-data")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if !args.dir.is_dir() {
        return Err(Failure::new(format!("{} is not a directory", args.dir.display())).hint(WHICH));
    }
    let dir = args.dir.display();
    let places = ["journal", "index", "lock"];
    if !places.iter().any(|place| args.dir.join(place).exists()) {
        return Err(Failure::new(format!("{dir} holds no data of a broker")).hint(WHICH));
    }
    let report = store::check::check(&args.dir).map_err(|why| {
        let failure = Failure::new(format!("cannot check {dir}: {why}"));
        match why {
            StoreError::Locked(_) => {
                Failure::new(why.to_string()).hint("stop that one first, or check a copy")
            }
            _ => failure,
        }
    })?;
    print_line(report.to_string().trim_end())?;
    if report.is_ok() { Ok(()) } else { Err(Failure::told()) }
}
