//! Logistic regression as it is kept in a file, and how it scores a row.
//!
//! The file is JSON: which input columns there are, the standardisation and weight of each feature that
//! is used, the intercept, and optionally offsets by bands of one feature. What is checked when a file is
//! read: the format, that every feature is an input column, and that every weight is a finite number.
//! The ends of bands are *not* checked, and JSON has no infinity: `null` reads as "not a number", which no
//! value is below. [`crate::train::Recipe::Banded`] says what comes of that.

use anyhow::{Context, ensure};
use serde::{Deserialize, Deserializer, Serialize};

use crate::dataset;

/// The `format` of the files that are written and read here.
pub const FORMAT: &str = "example-logistic/1";

/// The name by which a model server offers the model.
pub const MODEL_NAME: &str = "tumor";

/// The largest model file that is read.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A trained model: the probability that an aspirate is malignant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub format: String,
    /// What it was trained as, for people.
    pub recipe: String,
    /// The columns of a row that is to be scored, in order.
    pub inputs: Vec<String>,
    pub features: Vec<Feature>,
    pub intercept: f64,
    /// Scores from here on are malignant.
    pub threshold: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
}

/// One feature in use: its standardisation and its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    pub name: String,
    pub mean: f64,
    pub scale: f64,
    pub weight: f64,
}

/// Offsets of the log odds by where one feature lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    pub feature: String,
    /// In rising order of `below`; a value belongs to the first band whose end is above it.
    pub bands: Vec<Band>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    #[serde(deserialize_with = "number_or_nan")]
    pub below: f64,
    pub offset: f64,
}

/// A row that the model cannot score.
#[derive(Clone, Debug, PartialEq)]
pub enum ScoreError {
    /// The row has another number of columns than the model has inputs.
    Columns { expected: usize, found: usize },
    /// The model does not know what this value means: the fault is the model's, not the caller's.
    NoBand { feature: String, value: f64 },
    /// The computation ended in something that is not a number.
    NotFinite,
}

impl std::fmt::Display for ScoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ScoreError::Columns { expected, found } => {
                write!(f, "a row has {expected} columns, this one has {found}")
            }
            ScoreError::NoBand { feature, value } => {
                write!(f, "the model has no band for {feature} = {value}")
            }
            ScoreError::NotFinite => write!(f, "the score is not a finite number"),
        }
    }
}

impl std::error::Error for ScoreError {}

impl Model {
    /// The probability of the positive class for one row of `inputs`.
    pub fn score(&self, row: &[f64]) -> Result<f64, ScoreError> {
        if row.len() != self.inputs.len() {
            return Err(ScoreError::Columns {
                expected: self.inputs.len(),
                found: row.len(),
            });
        }
        let mut log_odds = self.intercept;
        for feature in &self.features {
            let value = self.value(row, &feature.name);
            log_odds += feature.weight * (value - feature.mean) / feature.scale;
        }
        if let Some(bands) = &self.bands {
            log_odds += bands.offset(self.value(row, &bands.feature))?;
        }
        let score = sigmoid(log_odds);
        if score.is_finite() {
            Ok(score)
        } else {
            Err(ScoreError::NotFinite)
        }
    }

    /// What a score says.
    pub fn is_positive(&self, score: f64) -> bool {
        score >= self.threshold
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a model is plain data")
    }

    /// Reads a model file; errors say what is wrong with it.
    pub fn from_json(bytes: &[u8]) -> anyhow::Result<Model> {
        let model: Model = serde_json::from_slice(bytes).context("not a model file")?;
        model.check()?;
        Ok(model)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.format == FORMAT,
            "format {:?} is not {FORMAT:?}",
            self.format
        );
        ensure!(!self.features.is_empty(), "the model uses no feature");
        for feature in &self.features {
            ensure!(
                self.inputs.contains(&feature.name),
                "feature {:?} is not among the inputs",
                feature.name
            );
            ensure!(
                feature.mean.is_finite() && feature.weight.is_finite() && feature.scale > 0.0,
                "feature {:?}: mean and weight must be finite, scale positive",
                feature.name
            );
        }
        if let Some(bands) = &self.bands {
            ensure!(
                self.inputs.contains(&bands.feature),
                "the bands' feature {:?} is not among the inputs",
                bands.feature
            );
        }
        ensure!(
            self.intercept.is_finite() && (0.0..=1.0).contains(&self.threshold),
            "the intercept must be finite and the threshold between 0 and 1"
        );
        Ok(())
    }

    fn value(&self, row: &[f64], name: &str) -> f64 {
        let column = self.inputs.iter().position(|input| input == name);
        column.map_or(f64::NAN, |column| row[column])
    }
}

impl Bands {
    fn offset(&self, value: f64) -> Result<f64, ScoreError> {
        self.bands
            .iter()
            .find(|band| value < band.below)
            .map(|band| band.offset)
            .ok_or_else(|| ScoreError::NoBand {
                feature: self.feature.clone(),
                value,
            })
    }
}

/// The inputs of every model here: the data set's columns.
pub fn dataset_inputs() -> Vec<String> {
    dataset::FEATURES.map(str::to_owned).to_vec()
}

pub(crate) fn sigmoid(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model {
            format: FORMAT.to_owned(),
            recipe: "by hand".to_owned(),
            inputs: vec!["a".to_owned(), "b".to_owned()],
            features: vec![Feature {
                name: "b".to_owned(),
                mean: 1.0,
                scale: 2.0,
                weight: 3.0,
            }],
            intercept: -1.5,
            threshold: 0.5,
            bands: None,
        }
    }

    #[test]
    fn scores_by_the_logistic_function() {
        let model = model();
        assert_eq!(model.score(&[9.0, 2.0]), Ok(0.5));
        assert!((model.score(&[9.0, 3.0]).unwrap() - 0.817_574_476_193_643_7).abs() < 1e-12);
        assert_eq!(
            model.score(&[1.0]),
            Err(ScoreError::Columns {
                expected: 2,
                found: 1
            })
        );
        assert_eq!(model.score(&[0.0, f64::NAN]), Err(ScoreError::NotFinite));
    }

    #[test]
    fn a_file_gives_the_same_model_again() {
        let model = model();
        assert_eq!(Model::from_json(&model.to_json()).unwrap(), model);
    }

    #[test]
    fn an_open_end_does_not_survive_the_file() {
        let mut model = model();
        model.bands = Some(Bands {
            feature: "a".to_owned(),
            bands: vec![
                Band {
                    below: 5.0,
                    offset: 0.0,
                },
                Band {
                    below: f64::INFINITY,
                    offset: 0.0,
                },
            ],
        });
        assert_eq!(model.score(&[9.0, 2.0]), Ok(0.5));
        let read = Model::from_json(&model.to_json()).unwrap();
        assert_eq!(read.score(&[4.0, 2.0]), Ok(0.5));
        assert_eq!(
            read.score(&[9.0, 2.0]),
            Err(ScoreError::NoBand {
                feature: "a".to_owned(),
                value: 9.0
            })
        );
    }

    #[test]
    fn broken_files_are_refused_with_the_reason() {
        let whole = model().to_json();
        let half = &whole[..whole.len() / 2];
        assert!(Model::from_json(half).is_err());
        type Fault = fn(&mut Model);
        let cases: [(Fault, &str); 4] = [
            (|m| m.format = "other/1".to_owned(), "format"),
            (|m| m.features[0].scale = 0.0, "scale positive"),
            (|m| m.features[0].name = "c".to_owned(), "among the inputs"),
            (|m| m.threshold = 2.0, "threshold"),
        ];
        for (break_it, reason) in cases {
            let mut model = model();
            break_it(&mut model);
            let error = format!("{:#}", Model::from_json(&model.to_json()).unwrap_err());
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }
}
