//! Training in plain Rust, and four recipes whose versions differ in honest quality.
//!
//! Gradient descent over all rows on standardised features, with an L2 penalty on the weights. No
//! randomness: equal rows and settings give equal models.

use crate::dataset::{FEATURES, Row, feature_index};
use crate::model::{Band, Bands, FORMAT, Feature, Model, dataset_inputs, sigmoid};

/// How to fit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The features in use, by name; names that the data set does not have are ignored.
    pub features: Vec<&'static str>,
    pub epochs: u32,
    pub learning_rate: f64,
    pub l2: f64,
}

/// The four versions of the story, each with the reason for its quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// A first attempt: two features, stopped early.
    First,
    /// All features, trained to the end.
    AllFeatures,
    /// As `AllFeatures`, but the labels were joined to the rows one row off, so that the model learned from
    /// other patients' diagnoses. Its held-out predictions show it.
    MisjoinedLabels,
    /// As `AllFeatures`, with the log odds corrected by quintile of `mean texture`. In memory the fifth band is open
    /// upwards; the file cannot say so (JSON has no infinity), and a server that loads it has no band for a fifth of
    /// all rows. Its held-out predictions are made in memory, so they do not show it.
    Banded,
}

/// The feature whose quintiles [`Recipe::Banded`] uses.
pub const BAND_FEATURE: &str = "mean texture";
const BAND_COUNT: usize = 5;

impl Recipe {
    pub const ALL: [Recipe; 4] = [
        Recipe::First,
        Recipe::AllFeatures,
        Recipe::MisjoinedLabels,
        Recipe::Banded,
    ];

    /// A short name, which the model file keeps.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::First => "two-features",
            Recipe::AllFeatures => "all-features",
            Recipe::MisjoinedLabels => "misjoined-labels",
            Recipe::Banded => "texture-bands",
        }
    }

    /// Trains on these rows.
    pub fn train(self, rows: &[Row]) -> Model {
        match self {
            Recipe::First => fit(
                self.name(),
                rows,
                &Settings {
                    features: vec!["mean radius", "mean texture"],
                    epochs: 20,
                    learning_rate: 0.3,
                    l2: 0.0,
                },
            ),
            Recipe::AllFeatures => fit(self.name(), rows, &all_features()),
            Recipe::MisjoinedLabels => fit(self.name(), &misjoin(rows), &all_features()),
            Recipe::Banded => {
                let base = fit(self.name(), rows, &all_features());
                with_bands(base, rows)
            }
        }
    }
}

/// Fits a model; `rows` must not be empty.
pub fn fit(recipe: &str, rows: &[Row], settings: &Settings) -> Model {
    let columns: Vec<usize> = settings
        .features
        .iter()
        .filter_map(|name| feature_index(name))
        .collect();
    let mut features: Vec<Feature> = columns
        .iter()
        .map(|&column| standardisation(rows, column))
        .collect();
    let inputs: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            columns
                .iter()
                .zip(&features)
                .map(|(&column, feature)| (row.features[column] - feature.mean) / feature.scale)
                .collect()
        })
        .collect();

    let count = rows.len() as f64;
    let mut weights = vec![0.0; columns.len()];
    let mut intercept = 0.0;
    for _ in 0..settings.epochs {
        let mut gradient = vec![0.0; weights.len()];
        let mut intercept_gradient = 0.0;
        for (row, input) in rows.iter().zip(&inputs) {
            let log_odds = intercept + dot(&weights, input);
            let error = sigmoid(log_odds) - label(row);
            intercept_gradient += error;
            for (slope, value) in gradient.iter_mut().zip(input) {
                *slope += error * value;
            }
        }
        intercept -= settings.learning_rate * intercept_gradient / count;
        for (weight, slope) in weights.iter_mut().zip(&gradient) {
            *weight -= settings.learning_rate * (slope / count + settings.l2 * *weight);
        }
    }
    for (feature, weight) in features.iter_mut().zip(weights) {
        feature.weight = weight;
    }
    Model {
        format: FORMAT.to_owned(),
        recipe: recipe.to_owned(),
        inputs: dataset_inputs(),
        features,
        intercept,
        threshold: 0.5,
        bands: None,
    }
}

fn all_features() -> Settings {
    Settings {
        features: FEATURES.to_vec(),
        epochs: 400,
        learning_rate: 0.5,
        l2: 0.01,
    }
}

/// Every row with the diagnosis of the row before it.
fn misjoin(rows: &[Row]) -> Vec<Row> {
    let mut shifted = rows.to_vec();
    for (row, before) in shifted
        .iter_mut()
        .zip(rows.iter().cycle().skip(rows.len() - 1))
    {
        row.malignant = before.malignant;
    }
    shifted
}

/// Adds one offset per quintile of [`BAND_FEATURE`]: one Newton step of each band's own intercept, shrunk
/// towards none by a weak prior.
fn with_bands(mut model: Model, rows: &[Row]) -> Model {
    const PRIOR_PRECISION: f64 = 5.0;
    let column = feature_index(BAND_FEATURE).expect("the band's feature is one of the data set's");
    let mut values: Vec<f64> = rows.iter().map(|row| row.features[column]).collect();
    values.sort_by(f64::total_cmp);
    let ends = (1..BAND_COUNT).map(|band| values[values.len() * band / BAND_COUNT]);
    let mut from = f64::NEG_INFINITY;
    let mut bands = Vec::with_capacity(BAND_COUNT);
    for below in ends.chain([f64::INFINITY]) {
        let (mut slope, mut curvature) = (0.0, PRIOR_PRECISION);
        for row in rows {
            if (from..below).contains(&row.features[column]) {
                let score = model.score(&row.features).unwrap_or(0.5);
                slope += label(row) - score;
                curvature += score * (1.0 - score);
            }
        }
        bands.push(Band {
            below,
            offset: slope / curvature,
        });
        from = below;
    }
    model.bands = Some(Bands {
        feature: BAND_FEATURE.to_owned(),
        bands,
    });
    model
}

fn standardisation(rows: &[Row], column: usize) -> Feature {
    let count = rows.len() as f64;
    let mean = rows.iter().map(|row| row.features[column]).sum::<f64>() / count;
    let variance = rows
        .iter()
        .map(|row| (row.features[column] - mean).powi(2))
        .sum::<f64>()
        / count;
    Feature {
        name: FEATURES[column].to_owned(),
        mean,
        scale: variance.sqrt().max(1e-12),
        weight: 0.0,
    }
}

fn label(row: &Row) -> f64 {
    f64::from(u8::from(row.malignant))
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;

    fn accuracy(model: &Model, rows: &[Row]) -> f64 {
        let correct = rows
            .iter()
            .filter(|row| model.is_positive(model.score(&row.features).unwrap()) == row.malignant)
            .count();
        correct as f64 / rows.len() as f64
    }

    /// ROC AUC as the share of pairs in the right order.
    fn auc(model: &Model, rows: &[Row]) -> f64 {
        let scored: Vec<(f64, bool)> = rows
            .iter()
            .map(|row| (model.score(&row.features).unwrap(), row.malignant))
            .collect();
        let (mut right, mut pairs) = (0.0, 0.0);
        for (positive, _) in scored.iter().filter(|(_, malignant)| *malignant) {
            for (negative, _) in scored.iter().filter(|(_, malignant)| !*malignant) {
                pairs += 1.0;
                right += if positive > negative { 1.0 } else { 0.0 };
            }
        }
        right / pairs
    }

    #[test]
    fn the_recipes_have_the_quality_that_they_claim() {
        let split = Dataset::wisconsin().split(
            crate::predictions::HELD_OUT_PERCENT,
            crate::predictions::SPLIT_SEED,
        );
        let [first, all, misjoined, banded] =
            Recipe::ALL.map(|recipe| recipe.train(&split.training));
        let accuracy = |model: &Model| accuracy(model, &split.held_out);
        let report = [&first, &all, &misjoined, &banded].map(|model| {
            format!(
                "{}: accuracy {:.4}, auc {:.4}",
                model.recipe,
                accuracy(model),
                auc(model, &split.held_out)
            )
        });
        println!("{}", report.join("\n"));
        assert!((0.86..0.93).contains(&accuracy(&first)), "{report:?}");
        assert!(accuracy(&all) >= accuracy(&first) + 0.04, "{report:?}");
        assert!(auc(&all, &split.held_out) > 0.985, "{report:?}");
        assert!(accuracy(&misjoined) < 0.75, "{report:?}");
        assert!(
            (accuracy(&banded) - accuracy(&all)).abs() < 0.01,
            "{report:?}"
        );
    }

    #[test]
    fn training_is_repeatable() {
        let rows = Dataset::wisconsin().split(40, 1).training;
        for recipe in Recipe::ALL {
            assert_eq!(recipe.train(&rows).to_json(), recipe.train(&rows).to_json());
        }
    }

    #[test]
    fn the_banded_file_fails_a_fifth_of_all_rows_that_memory_scores() {
        let dataset = Dataset::wisconsin();
        let model = Recipe::Banded.train(&dataset.split(40, 1).training);
        assert!(
            dataset
                .rows()
                .iter()
                .all(|row| model.score(&row.features).is_ok())
        );
        let loaded = Model::from_json(&model.to_json()).unwrap();
        let failing = dataset
            .rows()
            .iter()
            .filter(|row| loaded.score(&row.features).is_err())
            .count();
        let share = failing as f64 / dataset.rows().len() as f64;
        assert!((0.15..=0.25).contains(&share), "{share}");
        for recipe in [Recipe::First, Recipe::AllFeatures, Recipe::MisjoinedLabels] {
            let loaded = Model::from_json(&recipe.train(dataset.rows()).to_json()).unwrap();
            assert!(
                dataset
                    .rows()
                    .iter()
                    .all(|row| loaded.score(&row.features).is_ok())
            );
        }
    }
}
