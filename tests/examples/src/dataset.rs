//! The Wisconsin diagnostic breast-cancer data, and a split that never changes.
//!
//! Rows are ranked by a hash of their number, class by class, so the same seed gives the same split on
//! every machine and with every version of every library.

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

/// The number of features of a row.
pub const FEATURE_COUNT: usize = 30;

/// The features in the order of the file: ten measures as mean, standard error and worst value.
pub const FEATURES: [&str; FEATURE_COUNT] = [
    "mean radius",
    "mean texture",
    "mean perimeter",
    "mean area",
    "mean smoothness",
    "mean compactness",
    "mean concavity",
    "mean concave points",
    "mean symmetry",
    "mean fractal dimension",
    "radius error",
    "texture error",
    "perimeter error",
    "area error",
    "smoothness error",
    "compactness error",
    "concavity error",
    "concave points error",
    "symmetry error",
    "fractal dimension error",
    "worst radius",
    "worst texture",
    "worst perimeter",
    "worst area",
    "worst smoothness",
    "worst compactness",
    "worst concavity",
    "worst concave points",
    "worst symmetry",
    "worst fractal dimension",
];

const WISCONSIN: &str = include_str!("../data/breast_cancer.csv");

/// One aspirate.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The row's number in the file, from 1.
    pub id: u32,
    pub features: [f64; FEATURE_COUNT],
    /// The positive class.
    pub malignant: bool,
}

/// All rows of the data set, in the order of the file.
#[derive(Clone, Debug)]
pub struct Dataset {
    rows: Vec<Row>,
}

/// Two disjoint parts of a data set.
#[derive(Clone, Debug)]
pub struct Split {
    pub training: Vec<Row>,
    pub held_out: Vec<Row>,
}

/// The column of a feature.
pub fn feature_index(name: &str) -> Option<usize> {
    FEATURES.iter().position(|feature| *feature == name)
}

impl Dataset {
    /// The embedded data set.
    pub fn wisconsin() -> Dataset {
        Dataset::parse(WISCONSIN).expect("the embedded file is whole, as a test checks")
    }

    /// Reads `rows,features,class 0,class 1` and then one line per row: the features and the class.
    /// Errors name the line.
    pub fn parse(text: &str) -> anyhow::Result<Dataset> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut records = reader.records();
        let head = records.next().context("the file is empty")??;
        let expected: usize = parse_field(&head, 0).context("line 1")?;
        ensure!(
            parse_field::<usize>(&head, 1).context("line 1")? == FEATURE_COUNT,
            "line 1: expected {FEATURE_COUNT} features"
        );
        let mut rows = Vec::with_capacity(expected);
        for (index, record) in records.enumerate() {
            let row = parse_row(index, &record?).with_context(|| format!("line {}", index + 2))?;
            rows.push(row);
        }
        ensure!(
            rows.len() == expected,
            "line 1 promises {expected} rows, there are {}",
            rows.len()
        );
        Ok(Dataset { rows })
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Holds out `held_out_percent` of each class; equal arguments give equal splits.
    pub fn split(&self, held_out_percent: usize, seed: u64) -> Split {
        let mut split = Split {
            training: Vec::new(),
            held_out: Vec::new(),
        };
        for malignant in [true, false] {
            let mut class: Vec<&Row> = self
                .rows
                .iter()
                .filter(|row| row.malignant == malignant)
                .collect();
            class.sort_by_key(|row| rank(seed, row.id));
            let cut = class.len() * held_out_percent.min(100) / 100;
            split.held_out.extend(class[..cut].iter().copied().cloned());
            split.training.extend(class[cut..].iter().copied().cloned());
        }
        // Without this the classes would come one after the other.
        split.held_out.sort_by_key(|row| rank(seed, row.id));
        split.training.sort_by_key(|row| rank(seed, row.id));
        split
    }
}

fn rank(seed: u64, id: u32) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(id.to_le_bytes());
    hash.finalize().into()
}

fn parse_row(index: usize, record: &csv::StringRecord) -> anyhow::Result<Row> {
    ensure!(
        record.len() == FEATURE_COUNT + 1,
        "expected {} fields, found {}",
        FEATURE_COUNT + 1,
        record.len()
    );
    let mut features = [0.0_f64; FEATURE_COUNT];
    for (column, feature) in features.iter_mut().enumerate() {
        *feature = parse_field(record, column)?;
        ensure!(
            feature.is_finite(),
            "{} is not a finite number",
            FEATURES[column]
        );
    }
    let malignant = match &record[FEATURE_COUNT] {
        "0" => true,
        "1" => false,
        other => bail!("class {other:?} is neither 0 nor 1"),
    };
    Ok(Row {
        id: u32::try_from(index + 1)?,
        features,
        malignant,
    })
}

fn parse_field<T: std::str::FromStr>(
    record: &csv::StringRecord,
    column: usize,
) -> anyhow::Result<T> {
    let text = record
        .get(column)
        .with_context(|| format!("field {} is missing", column + 1))?;
    text.parse()
        .ok()
        .with_context(|| format!("field {}: {text:?} is not a number", column + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_the_published_one() {
        let digest = hex::encode(Sha256::digest(WISCONSIN));
        assert!(include_str!("../data/README.md").contains(&digest));
        let dataset = Dataset::wisconsin();
        assert_eq!(dataset.rows().len(), 569);
        assert_eq!(dataset.rows().iter().filter(|r| r.malignant).count(), 212);
        assert_eq!(dataset.rows()[0].features[0], 17.99);
        assert!(dataset.rows()[0].malignant);
    }

    #[test]
    fn a_split_is_disjoint_complete_stratified_and_repeatable() {
        let dataset = Dataset::wisconsin();
        let split = dataset.split(40, 7);
        assert_eq!(split.held_out.len(), 212 * 40 / 100 + 357 * 40 / 100);
        assert_eq!(split.training.len() + split.held_out.len(), 569);
        let held_out: std::collections::BTreeSet<u32> =
            split.held_out.iter().map(|row| row.id).collect();
        assert!(split.training.iter().all(|row| !held_out.contains(&row.id)));
        assert_eq!(dataset.split(40, 7).held_out, split.held_out);
        assert_ne!(dataset.split(40, 8).held_out, split.held_out);
    }

    #[test]
    fn broken_files_are_refused_with_the_line() {
        let line = vec!["1.5"; FEATURE_COUNT].join(",");
        let cases = [
            ("".to_owned(), "empty"),
            ("2,31,a,b\n".to_owned(), "line 1: expected 30"),
            (format!("1,30,a,b\n{line},2\n"), "neither 0 nor 1"),
            (format!("1,30,a,b\n{line}\n"), "expected 31 fields"),
            (format!("2,30,a,b\n{line},1\n"), "promises 2 rows"),
            (format!("1,30,a,b\nNaN{},1\n", &line[3..]), "not a finite"),
            (format!("1,30,a,b\nx{},1\n", &line[3..]), "not a number"),
        ];
        for (text, reason) in cases {
            let error = format!("{:#}", Dataset::parse(&text).unwrap_err());
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }
}
