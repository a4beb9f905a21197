//! Checks everything that a client says of a new version.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use slipway_platform::{
    Violations,
    names::{self, VersionName, WorkspaceName},
};
use slipway_proto::registry::v1::{Lineage, Signature, TensorSpec, Version};

use crate::domain::{
    labels,
    manifest::{ARTIFACTS_MAX, Manifest},
    text,
};

const METRICS_MAX: usize = 256;
const METRIC_NAME_MAX: usize = 128;
const TENSORS_MAX: usize = 256;
const TENSOR_NAME_MAX: usize = 256;
const DIMENSIONS_MAX: usize = 16;
const DATASETS_MAX: usize = 64;
const REFERENCE_MAX: usize = 512;
const PARENTS_MAX: usize = 16;
const PARAMETERS_BYTES_MAX: usize = 64 * 1024;
const URI_MAX: usize = 2_048;
/// The data types of the Open Inference Protocol, version 2.
const DATATYPES: &[&str] = &[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
    "BF16", "FP32", "FP64", "BYTES",
];

/// The manifest and the parents of a new version; everything else is only checked.
pub fn parse(
    version: &Version,
    workspace: Option<&WorkspaceName>,
    violations: &mut Violations,
) -> Option<(Manifest, Vec<VersionName>)> {
    check_set_by_server(version, violations);
    let entries = version
        .artifacts
        .iter()
        .map(|a| (a.role.as_str(), a.artifact.as_str(), a.file_name.as_str()));
    let manifest = Manifest::parse("version.artifacts", workspace, entries, violations);
    check_metrics(version, violations);
    if let Some(signature) = &version.signature {
        check_signature(signature, violations);
    }
    let parents = match &version.lineage {
        Some(lineage) => check_lineage(lineage, violations),
        None => Some(Vec::new()),
    };
    labels::check("version.tags", &version.tags, violations);
    text::check(
        "version.description",
        &version.description,
        text::DESCRIPTION_MAX,
        violations,
    );
    manifest.zip(parents)
}

fn check_set_by_server(version: &Version, violations: &mut Violations) {
    let by_server = [
        ("name", version.name.is_empty()),
        ("number", version.number == 0),
        ("digest", version.digest.is_empty()),
        ("state", version.state == 0),
        ("state_reason", version.state_reason.is_empty()),
        ("create_time", version.create_time.is_none()),
        ("update_time", version.update_time.is_none()),
        ("etag", version.etag.is_empty()),
    ];
    let refused = "is set by the server; leave it empty";
    for (field, empty) in by_server {
        violations.require(empty, format!("version.{field}"), refused);
    }
    for (i, artifact) in version.artifacts.iter().take(ARTIFACTS_MAX).enumerate() {
        violations.require(
            artifact.digest.is_empty(),
            format!("version.artifacts[{i}].digest"),
            refused,
        );
        violations.require(
            artifact.size_bytes == 0,
            format!("version.artifacts[{i}].size_bytes"),
            refused,
        );
    }
}

fn check_metrics(version: &Version, violations: &mut Violations) {
    let field = "version.training_metrics";
    check_count(
        field,
        version.training_metrics.len(),
        METRICS_MAX,
        violations,
    );
    let mut metrics: Vec<_> = version.training_metrics.iter().collect();
    metrics.sort_by_key(|(name, _)| *name);
    for (name, value) in metrics.into_iter().take(METRICS_MAX) {
        let shown: String = name
            .chars()
            .filter(|c| !c.is_control())
            .take(METRIC_NAME_MAX)
            .collect();
        let field = format!("{field}[{shown}]");
        text::check_required(&field, name, METRIC_NAME_MAX, violations);
        violations.require(value.is_finite(), field, "must be a finite number");
    }
}

fn check_signature(signature: &Signature, violations: &mut Violations) {
    for (field, tensors) in [
        ("inputs", &signature.inputs),
        ("outputs", &signature.outputs),
    ] {
        let field = format!("version.signature.{field}");
        check_count(&field, tensors.len(), TENSORS_MAX, violations);
        let mut names = BTreeSet::new();
        for (i, tensor) in tensors.iter().take(TENSORS_MAX).enumerate() {
            let at = format!("{field}[{i}]");
            violations.require(
                names.insert(&tensor.name),
                format!("{at}.name"),
                "appears twice",
            );
            check_tensor(&at, tensor, violations);
        }
    }
}

fn check_tensor(at: &str, tensor: &TensorSpec, violations: &mut Violations) {
    text::check_required(
        &format!("{at}.name"),
        &tensor.name,
        TENSOR_NAME_MAX,
        violations,
    );
    violations.require(
        DATATYPES.contains(&tensor.datatype.as_str()),
        format!("{at}.datatype"),
        format!("must be one of {}", DATATYPES.join(", ")),
    );
    check_count(
        &format!("{at}.shape"),
        tensor.shape.len(),
        DIMENSIONS_MAX,
        violations,
    );
    violations.require(
        tensor.shape.iter().all(|dimension| *dimension >= -1),
        format!("{at}.shape"),
        "dimensions must be sizes, or -1 for a free one",
    );
}

fn check_lineage(lineage: &Lineage, violations: &mut Violations) -> Option<Vec<VersionName>> {
    let at = |field: &str| format!("version.lineage.{field}");
    text::check(
        &at("code_revision"),
        &lineage.code_revision,
        REFERENCE_MAX,
        violations,
    );
    check_count(
        &at("datasets"),
        lineage.datasets.len(),
        DATASETS_MAX,
        violations,
    );
    for (i, dataset) in lineage.datasets.iter().take(DATASETS_MAX).enumerate() {
        text::check_required(
            &at(&format!("datasets[{i}]")),
            dataset,
            REFERENCE_MAX,
            violations,
        );
    }
    if let Some(parameters) = &lineage.parameters {
        check_parameters(&at("parameters"), parameters, violations);
    }
    let uri_ok = lineage.run_uri.is_empty() || is_uri(&lineage.run_uri);
    violations.require(
        uri_ok,
        at("run_uri"),
        "must be a URI of at most 2,048 characters, such as https://…",
    );
    check_count(
        &at("parents"),
        lineage.parents.len(),
        PARENTS_MAX,
        violations,
    );
    let parents = lineage.parents.iter().take(PARENTS_MAX).enumerate();
    let parents: Vec<_> = parents
        .map(|(i, parent)| names::parse(&at(&format!("parents[{i}]")), parent, violations))
        .collect();
    parents.into_iter().collect()
}

fn check_parameters(field: &str, parameters: &Struct, violations: &mut Violations) {
    let bytes = parameters.encoded_len();
    violations.require(
        bytes <= PARAMETERS_BYTES_MAX,
        field,
        format!("has {bytes} bytes; at most {PARAMETERS_BYTES_MAX} are allowed"),
    );
    // A message that was decoded is not nested deeper than the decoder's limit.
    violations.require(
        parameters.fields.values().all(is_json),
        field,
        "must hold JSON values only: every value set, every number finite",
    );
}

fn is_json(value: &Value) -> bool {
    match &value.kind {
        None => false,
        Some(Kind::NumberValue(number)) => number.is_finite(),
        Some(Kind::StructValue(inner)) => inner.fields.values().all(is_json),
        Some(Kind::ListValue(list)) => list.values.iter().all(is_json),
        Some(Kind::NullValue(_) | Kind::StringValue(_) | Kind::BoolValue(_)) => true,
    }
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    text.len() <= URI_MAX
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
        && !rest.is_empty()
        && text.bytes().all(|b| b.is_ascii_graphic())
}

fn check_count(field: &str, count: usize, count_max: usize, violations: &mut Violations) {
    violations.require(
        count <= count_max,
        field,
        format!("has {count} entries; at most {count_max} are allowed"),
    );
}
