//! Parts 2.5 and 2.7.2, 2.7.8: sessions, their windows and their state in flow frames.

mod begin_end;
mod flow;
mod window;
