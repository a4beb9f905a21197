//! Tests of whole procedures: validity and power by seeded simulation, and the laws that counts must obey.

mod simulation;
mod tables;
