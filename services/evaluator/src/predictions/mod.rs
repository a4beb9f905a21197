//! Reading predictions: a stream of bytes in bounded memory becomes rows of label, prediction, score,
//! row id and groups, or a typed fault that names the line and the column.
//!
//! Nothing here knows where the bytes come from ([`source::Source`]) and nothing waits: the caller runs
//! it on a thread of its own. Memory is one chunk, one line of at most `line_bytes_max`, and one row.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`source`] | chunks of bytes, checked against size and digest |
//! | [`lines`] | lines of bounded length, numbered |
//! | [`csv`], [`json_lines`] | the wanted columns of each record |
//! | [`row`] | what the columns of a record mean |
//! | [`fault`] | everything that can be wrong with a file |

pub mod csv;
pub mod fault;
pub mod json_lines;
pub mod lines;
pub mod row;
pub mod slots;
pub mod source;

pub use fault::{Problem, ReadError};
pub use row::{Columns, Row, RowReader};
pub use source::{Source, SourceError, Verified};

#[cfg(test)]
mod tests;
