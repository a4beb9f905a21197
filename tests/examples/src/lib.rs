//! A real, small machine-learning example: data, training, a model server and users.
//!
//! - [`dataset`]: the Wisconsin breast-cancer data, and its split into training and held-out rows.
//! - [`train`]: logistic regression, and four recipes whose versions differ in honest quality.
//! - [`model`]: the model, its file format, and how it scores a row.
//! - [`model_server`]: serves a model file by the Open Inference Protocol v2.
//! - [`predictions`]: held-out predictions as the CSV that an evaluation reads.
//! - [`load`]: many users who send inference requests and keep their cookies.
//!
//! Nothing here knows Slipway's services: the model server is what a team would bring, and the load
//! is what its users would send.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dataset;
pub mod load;
pub mod model;
pub mod model_server;
pub mod predictions;
pub mod train;
