//! Good files in every spelling give the same rows; bad ones give the fault that names the place.

use proptest::prelude::*;

use super::fault::{File, Problem, ReadError};
use super::row::{Columns, Row, RowReader};
use super::source::{InMemory, Source, SourceError, Verified};
use crate::domain::suite::{Format, PredictionsSpec, SuiteSpec};

const LINE_MAX: usize = 200;

fn spec() -> PredictionsSpec {
    PredictionsSpec {
        prediction_column: Some("prediction".into()),
        score_column: Some("score".into()),
        id_column: Some("id".into()),
        ..SuiteSpec::with_defaults().predictions
    }
}

type Read = (bool, bool, Option<f64>, String, Vec<String>);

fn read_by(
    spec: &PredictionsSpec,
    bytes: &[u8],
    chunk: usize,
    format: Option<Format>,
) -> Result<Vec<Read>, ReadError> {
    let columns = Columns::new(spec, &["sex".to_owned()], true);
    let source = InMemory::chunked(bytes, chunk);
    let mut reader = RowReader::open(File::Candidate, source, format, columns, LINE_MAX)?;
    let (mut row, mut rows) = (Row::default(), Vec::new());
    while reader.next_row(&mut row)? {
        let id = String::from_utf8_lossy(&row.id).into_owned();
        rows.push((row.label, row.prediction, row.score, id, row.extra.clone()));
    }
    Ok(rows)
}

fn read(text: &str) -> Result<Vec<Read>, ReadError> {
    read_by(&spec(), text.as_bytes(), 7, None)
}

fn problem(text: &str) -> (Problem, String) {
    match read(text) {
        Err(ReadError::Problem { problem, .. }) => {
            let words = problem.to_string();
            (problem, words)
        }
        other => panic!("no problem: {other:?}"),
    }
}

const HEADER: &str = "id,label,prediction,score,sex\n";

fn with_header(rows: &str) -> String {
    format!("{HEADER}{rows}")
}

#[test]
fn csv_and_json_lines_give_the_same_rows() {
    let csv = read(
        "id,label,prediction,score,sex\r\n1,0,1,0.7,f\r\n\r\n2,1,0,1e-3,\"m, or \"\"x\"\"\"\r\n",
    )
    .unwrap();
    let json = read(
        "{\"sex\":\"f\",\"id\":1,\"label\":0,\"prediction\":true,\"score\":0.7,\"more\":[1,{\"a\":2}]}\n\n\
         {\"id\":\"2\",\"label\":1.0,\"prediction\":0,\"score\":0.001,\"sex\":\"m, or \\\"x\\\"\"}",
    )
    .unwrap();
    assert_eq!(csv, json);
    assert_eq!(
        csv[1],
        (
            true,
            false,
            Some(0.001),
            "2".into(),
            vec!["m, or \"x\"".into()]
        )
    );
}

#[test]
fn a_byte_order_mark_spaces_and_more_columns_do_no_harm() {
    let rows = read("\u{feff}x, label ,prediction,score,sex,id\n9, 1 ,1, 0.5 ,f,a\n").unwrap();
    assert_eq!(
        rows,
        [(true, true, Some(0.5), "a".into(), vec!["f".into()])]
    );
}

#[test]
fn a_quoted_field_may_hold_line_ends() {
    let rows = read(&with_header("\"a\nb\",1,1,0.5,f\nc,0,0,0.5,m\n")).unwrap();
    assert_eq!((rows[0].3.as_str(), rows[1].3.as_str()), ("a\nb", "c"));
}

#[test]
fn without_a_prediction_column_the_score_decides() {
    let spec = PredictionsSpec {
        prediction_column: None,
        decision_threshold: 0.3,
        ..spec()
    };
    let text = "id,label,score,sex\na,1,0.3,f\nb,1,0.29,f\n";
    let rows = read_by(&spec, text.as_bytes(), 1000, Some(Format::Csv)).unwrap();
    assert_eq!((rows[0].1, rows[1].1), (true, false));
}

#[test]
fn missing_columns_are_all_named_with_what_is_there() {
    let (_, words) = problem("id,label,sex\n1,1,f\n");
    assert_eq!(
        words,
        "line 1 has no column `prediction`, `score`; it has `id`, `label`, `sex`"
    );
    let (found, _) = problem("{\"id\":1,\"label\":1,\"prediction\":1,\"sex\":\"f\"}\n");
    assert_eq!(found.code(), "MISSING_COLUMN");
    let (found, _) = problem("id,label,label,prediction,score,sex\n");
    assert_eq!(found.code(), "DUPLICATE_COLUMN");
}

#[test]
fn every_fault_names_line_and_column() {
    let bad = |row: &str| {
        let (problem, words) = problem(&with_header(&format!("1,0,0,0.1,f\n{row}\n")));
        assert!(words.starts_with("line 3"), "{words}");
        (problem.code(), words)
    };
    assert_eq!(
        bad("2,0,0,NaN,f"),
        (
            "NOT_A_NUMBER",
            "line 3, column `score`: \"NaN\" is not a finite number".into()
        )
    );
    assert_eq!(bad("2,0,0,inf,f").0, "NOT_A_NUMBER");
    assert_eq!(bad("2,0,0,high,f").0, "NOT_A_NUMBER");
    assert_eq!(bad("2,0,0,1.5,f").0, "OUT_OF_RANGE");
    assert_eq!(bad("2,0,0,-0.1,f").0, "OUT_OF_RANGE");
    assert_eq!(bad("2,0,0,,f").0, "MISSING_VALUE");
    assert_eq!(bad(",0,0,0.5,f").0, "MISSING_VALUE");
    assert_eq!(
        bad("2,2,0,0.5,f"),
        (
            "NOT_BINARY",
            "line 3, column `label`: \"2\" is neither 0 nor 1".into()
        )
    );
    assert_eq!(bad("2,0,malignant,0.5,f").0, "NOT_BINARY");
    assert_eq!(
        bad("2,0,0,0.5"),
        ("RAGGED_ROW", "line 3 has 4 fields, the header has 5".into())
    );
    assert_eq!(bad("2,0,0,0.5,f,more").0, "RAGGED_ROW");
    assert_eq!(bad("2,0,0,0.5,\"f").0, "BROKEN_QUOTE");
    assert_eq!(bad("2,0,0,\"0.5\"x,f").0, "BROKEN_QUOTE");
    assert_eq!(bad(&"x".repeat(LINE_MAX + 1)).0, "LINE_TOO_LONG");
}

#[test]
fn faults_of_json_lines_name_the_line() {
    let row = |score: &str| {
        format!("{{\"id\":1,\"label\":1,\"prediction\":1,\"score\":{score},\"sex\":\"f\"}}\n")
    };
    let bad = |score: &str| problem(&format!("{}{}", row("0.5"), row(score)));
    let (found, words) = bad("NaN");
    assert_eq!(found.code(), "NOT_JSON");
    assert!(
        words.starts_with("line 2 is not a JSON object: expected"),
        "{words}"
    );
    assert_eq!(bad("null").0.code(), "MISSING_VALUE");
    assert_eq!(bad("[1]").0.code(), "NOT_A_NUMBER");
    assert_eq!(bad("7").0.code(), "OUT_OF_RANGE");
    let (found, _) = problem(&format!("{}[1,2]\n", row("0.5")));
    assert_eq!(found.code(), "NOT_JSON");
}

#[test]
fn a_quoted_field_without_end_is_cut_off_at_the_limit() {
    let endless = with_header(&format!("\"{}", "x\n".repeat(LINE_MAX)));
    assert_eq!(problem(&endless).0.code(), "LINE_TOO_LONG");
}

#[test]
fn nothing_at_all_is_no_rows() {
    assert_eq!(problem("").0.code(), "NO_ROWS");
    assert_eq!(read(HEADER), Ok(Vec::new()));
}

fn drain(mut source: impl Source) -> Result<usize, SourceError> {
    let mut bytes = 0;
    while let Some(chunk) = source.next_chunk()? {
        bytes += chunk.len();
    }
    Ok(bytes)
}

#[test]
fn bytes_that_are_not_the_registered_ones_never_reach_the_end() {
    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let verified = |bytes: &[u8], size| Verified::new(InMemory::chunked(bytes, 2), size, DIGEST);
    assert_eq!(drain(verified(b"abc", 3)), Ok(3));
    let cut = Problem::SizeMismatch {
        found: 2,
        expected: 3,
    };
    assert_eq!(drain(verified(b"ab", 3)), Err(SourceError::Problem(cut)));
    let long = Problem::SizeMismatch {
        found: 4,
        expected: 3,
    };
    assert_eq!(drain(verified(b"abcd", 3)), Err(SourceError::Problem(long)));
    let changed = drain(verified(b"abd", 3));
    assert!(matches!(
        changed,
        Err(SourceError::Problem(Problem::DigestMismatch { .. }))
    ));
}

proptest! {
    #[test]
    fn chunks_do_not_change_what_is_read(
        rows in proptest::collection::vec((any::<bool>(), any::<bool>(), 0.0..=1.0f64, "[a-z ,\"\n]{1,8}"), 0..20),
        chunk in 1usize..64,
        crlf in any::<bool>(),
    ) {
        let mut text = HEADER.to_owned();
        for (label, prediction, score, sex) in &rows {
            let quoted = sex.replace('"', "\"\"");
            let (label, prediction) = (u8::from(*label), u8::from(*prediction));
            text.push_str(&format!("r,{label},{prediction},{score},\"{quoted}\""));
            text.push_str(if crlf { "\r\n" } else { "\n" });
        }
        let expected: Vec<Read> = rows.into_iter()
            .map(|(l, p, s, sex)| (l, p, Some(s), "r".into(), vec![sex.trim().to_owned()])).collect();
        prop_assert_eq!(read_by(&spec(), text.as_bytes(), chunk, None).unwrap(), expected);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), chunk in 1usize..50) {
        let mut text = HEADER.as_bytes().to_vec();
        text.extend(&bytes);
        let _ = read_by(&spec(), &text, chunk, None);
        let _ = read_by(&spec(), &bytes, chunk, Some(Format::JsonLines));
        let _ = read_by(&spec(), &bytes, chunk, None);
    }
}
