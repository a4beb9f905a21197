//! Messages of the Open Inference Protocol v2, and what is refused in a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Model, ScoreError};

/// The name of the one input.
pub const INPUT: &str = "features";
/// The most rows of one request.
pub const MAX_ROWS: usize = 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InferRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub inputs: Vec<Input>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub shape: Vec<u64>,
    pub datatype: String,
    /// Flat in row-major order, or nested by the shape.
    pub data: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferResponse {
    pub model_name: String,
    pub model_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub outputs: Vec<Output>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    pub name: String,
    pub shape: Vec<u64>,
    pub datatype: String,
    pub data: Vec<Value>,
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The caller's mistake; says which field.
    BadRequest(String),
    /// The model's own; says what it cannot do.
    ModelFault(String),
}

/// One row as a request body.
pub fn request_body(row: &[f64]) -> Vec<u8> {
    let request = InferRequest {
        id: None,
        inputs: vec![Input {
            name: INPUT.to_owned(),
            shape: vec![1, row.len() as u64],
            datatype: "FP64".to_owned(),
            data: Value::from(row.to_vec()),
        }],
    };
    serde_json::to_vec(&request).expect("a request is plain data")
}

/// Answers one request; all rows or none.
pub fn infer(
    model: &Model,
    name: &str,
    version: &str,
    body: &[u8],
) -> Result<InferResponse, Refusal> {
    let request: InferRequest =
        serde_json::from_slice(body).map_err(|error| bad(format!("the body: {error}")))?;
    let values = rows(model, &request)?;
    let count = (values.len() / model.inputs.len()) as u64;
    let mut scores = Vec::with_capacity(values.len() / model.inputs.len());
    let mut labels = Vec::with_capacity(scores.capacity());
    for row in values.chunks_exact(model.inputs.len()) {
        let score = model.score(row).map_err(|error| match error {
            ScoreError::Columns { .. } => bad(format!("inputs[0].shape: {error}")),
            ScoreError::NoBand { .. } | ScoreError::NotFinite => {
                Refusal::ModelFault(error.to_string())
            }
        })?;
        scores.push(Value::from(score));
        labels.push(Value::from(u8::from(model.is_positive(score))));
    }
    let output = |name: &str, datatype: &str, data| Output {
        name: name.to_owned(),
        shape: vec![count],
        datatype: datatype.to_owned(),
        data,
    };
    Ok(InferResponse {
        model_name: name.to_owned(),
        model_version: version.to_owned(),
        id: request.id,
        outputs: vec![
            output("malignant", "INT64", labels),
            output("score", "FP64", scores),
        ],
    })
}

fn rows(model: &Model, request: &InferRequest) -> Result<Vec<f64>, Refusal> {
    let [input] = request.inputs.as_slice() else {
        return Err(bad(format!(
            "inputs: expected one input named {INPUT:?}, found {}",
            request.inputs.len()
        )));
    };
    if input.name != INPUT {
        return Err(bad(format!(
            "inputs[0].name: unknown input {:?}, expected {INPUT:?}",
            input.name
        )));
    }
    if !matches!(input.datatype.as_str(), "FP64" | "FP32") {
        return Err(bad(format!(
            "inputs[0].datatype: {:?} is neither FP64 nor FP32",
            input.datatype
        )));
    }
    let columns = model.inputs.len() as u64;
    let count = match input.shape.as_slice() {
        [count, found] if *found == columns && (1..=MAX_ROWS as u64).contains(count) => *count,
        shape => {
            return Err(bad(format!(
                "inputs[0].shape: expected [rows, {columns}] with 1 to {MAX_ROWS} rows, found {shape:?}"
            )));
        }
    };
    let expected = (count * columns) as usize;
    let mut values = Vec::with_capacity(expected);
    flatten(&input.data, &mut values, expected)?;
    if values.len() == expected {
        Ok(values)
    } else {
        Err(bad(format!(
            "inputs[0].data: the shape asks for {expected} numbers, found {}",
            values.len()
        )))
    }
}

fn flatten(data: &Value, values: &mut Vec<f64>, expected: usize) -> Result<(), Refusal> {
    let Value::Array(items) = data else {
        return Err(bad(
            "inputs[0].data: expected an array of numbers".to_owned()
        ));
    };
    for item in items {
        if item.is_array() {
            flatten(item, values, expected)?;
            continue;
        }
        let Some(value) = item.as_f64() else {
            return Err(bad(format!(
                "inputs[0].data[{}]: {item} is not a number",
                values.len()
            )));
        };
        if values.len() == expected {
            return Err(bad(format!(
                "inputs[0].data: the shape asks for {expected} numbers, found more"
            )));
        }
        values.push(value);
    }
    Ok(())
}

fn bad(message: String) -> Refusal {
    Refusal::BadRequest(message)
}
