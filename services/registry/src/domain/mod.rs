//! What the registry decides, without I/O: the digest of a version, the state of a version, the movements
//! of an alias, and what labels may be.

pub mod alias;
pub mod labels;
pub mod manifest;
pub mod state;
pub mod text;
