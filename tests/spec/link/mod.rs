//! Parts 2.6, 2.7.3 to 2.7.7: links, credit, deliveries, settlement.

mod attach;
mod credit;
mod detach;
mod drain;
mod delivery;
mod disposition;
mod settle;
