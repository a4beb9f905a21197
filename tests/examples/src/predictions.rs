//! Held-out predictions as the CSV that an evaluation reads.
//!
//! Columns: `row` (the row's number in the data set), `label` (1 is malignant), `prediction`, `score` (the
//! probability of malignant) and `size_band` (`small` or `large`, by the median of `mean radius` over all rows).

use anyhow::Context;

use crate::dataset::{Dataset, Row, Split, feature_index};
use crate::model::Model;

/// How much of the data set is held out.
pub const HELD_OUT_PERCENT: usize = 50;
/// The seed of the split.
pub const SPLIT_SEED: u64 = 1;

/// The header of the CSV.
pub const COLUMNS: [&str; 5] = ["row", "label", "prediction", "score", "size_band"];

/// The split that training and evaluation agree on.
pub fn standard_split(dataset: &Dataset) -> Split {
    dataset.split(HELD_OUT_PERCENT, SPLIT_SEED)
}

/// The border between `small` and `large`.
pub fn median_radius(dataset: &Dataset) -> f64 {
    let column = feature_index("mean radius").expect("mean radius is a feature");
    let mut values: Vec<f64> = dataset
        .rows()
        .iter()
        .map(|row| row.features[column])
        .collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Scores these rows with the model as it is in memory.
pub fn to_csv(model: &Model, rows: &[Row], median_radius: f64) -> anyhow::Result<Vec<u8>> {
    let column = feature_index("mean radius").context("mean radius is not a feature")?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        let score = model
            .score(&row.features)
            .with_context(|| format!("row {}", row.id))?;
        let band = if row.features[column] < median_radius {
            "small"
        } else {
            "large"
        };
        writer.write_record([
            row.id.to_string(),
            u8::from(row.malignant).to_string(),
            u8::from(model.is_positive(score)).to_string(),
            format!("{score:.6}"),
            band.to_owned(),
        ])?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Recipe;

    #[test]
    fn every_held_out_row_is_written_once_with_its_label_and_group() {
        let dataset = Dataset::wisconsin();
        let split = standard_split(&dataset);
        let model = Recipe::Banded.train(&split.training);
        let bytes = to_csv(&model, &split.held_out, median_radius(&dataset)).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), split.held_out.len());
        for (record, row) in records.iter().zip(&split.held_out) {
            assert_eq!(record[0], row.id.to_string());
            assert_eq!(&record[1] == "1", row.malignant);
            let score: f64 = record[3].parse().unwrap();
            assert!((0.0..=1.0).contains(&score));
        }
        let large = records
            .iter()
            .filter(|record| &record[4] == "large")
            .count();
        assert!(large > records.len() / 4 && large < records.len() * 3 / 4);
    }

    #[test]
    fn a_row_that_cannot_be_scored_is_an_error_and_not_a_gap() {
        let dataset = Dataset::wisconsin();
        let model = Recipe::Banded.train(dataset.rows());
        let loaded = Model::from_json(&model.to_json()).unwrap();
        let error = to_csv(&loaded, dataset.rows(), 13.0).unwrap_err();
        assert!(format!("{error:#}").contains("no band for mean texture"));
    }
}
