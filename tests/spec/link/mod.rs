//! Parts 2.6, 2.7.3 to 2.7.7: links, credit, deliveries, settlement.

mod attach;
mod credit;
mod delivery;
mod detach;
mod disposition;
mod drain;
mod settle;
mod state;
