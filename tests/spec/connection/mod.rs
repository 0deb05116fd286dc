//! Parts 2.2 to 2.4 and 2.7.1, 2.7.9: headers, frames, open and close, idle time-outs.

mod client;
mod defaults;
mod framing;
mod idle;
mod limits;
mod open_close;
mod version;
