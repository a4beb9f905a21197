//! Statistics of Slipway's judgements: pure functions and small accumulators, no I/O, no clock, and
//! randomness only from a seed that the caller gives and records.
//!
//! Two families live here. *Fixed samples*: what an evaluation says of a set of predictions, with
//! intervals, comparisons on the same rows and group fairness. *Streams*: [`sequential`], what may be
//! looked at after every observation.
//!
//! Three rules hold throughout. A metric without a value is [`measure::Undefined`] with the reason,
//! never 0. No interval has zero width because the rows happened to be perfect. Every accumulator has
//! bounded memory, and says how far off its bound can make the result.
//!
//! | module | what it answers |
//! | --- | --- |
//! | [`confusion`] | accuracy, precision, recall, F1 from counts |
//! | [`rank`], [`auc`] | area under the ROC curve of any number of rows |
//! | [`mean`] | log loss and other means of per-row losses |
//! | [`proportion`] | intervals of shares, their differences and ratios |
//! | [`bootstrap`] | seeded resampling |
//! | [`paired`] | candidate against baseline on the same rows |
//! | [`multiplicity`] | several tests at once |
//! | [`parity`] | selection rates between groups |
//! | [`normal`] | quantiles and tails |

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auc;
pub mod bootstrap;
pub mod confusion;
pub mod mean;
pub mod measure;
pub mod multiplicity;
pub mod normal;
pub mod paired;
pub mod parity;
pub mod proportion;
pub mod rank;
pub mod sequential;
