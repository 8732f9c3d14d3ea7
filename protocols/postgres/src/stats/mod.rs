//! Which statements are carried out most: a bounded table by fingerprint, for admin `/postgres/statements` and the console.
//!
//! Not counters: those are the session's, and go to Prometheus, where a statement would be one label too many. Each worker has
//! a table of its own, which it never locks while it counts; once a second it lays a copy where the control side can read it.
//!
//! Start at [`StatementTables`], which the process has, and [`WorkerStatements`], which counts.

mod render;
mod shared;
mod table;
mod times;

pub use render::{Order, UnknownOrder, to_json, to_text};
pub use shared::{StatementTables, WorkerStatements};
pub use table::{Call, StatementStats, StatementTable, TableLimits};
pub use times::Times;
