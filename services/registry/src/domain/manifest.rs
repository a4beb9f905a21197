//! The manifest of a version: its artifacts by role, and the digest over them.
//!
//! The digest is what evaluations and approvals are bound to, so it must not depend on the order in which
//! a client lists artifacts, nor on anything that may change later.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use slipway_platform::{
    Violations,
    names::{ArtifactName, Digest, Id, WorkspaceName},
};

/// Most artifacts of one version.
pub const ARTIFACTS_MAX: usize = 64;
/// Longest file name, in bytes: what common file systems hold.
const FILE_NAME_MAX: usize = 255;

/// One artifact under the role that it plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is for: `model`, `predictions`, `code`.
    pub role: String,
    /// The bytes.
    pub artifact: ArtifactName,
    /// The file name as given; empty means the role.
    pub file_name: String,
}

impl Entry {
    /// The file name that the artifact takes.
    pub fn effective_file_name(&self) -> &str {
        if self.file_name.is_empty() {
            &self.role
        } else {
            &self.file_name
        }
    }
}

/// The artifacts of one version, in the order of their roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    /// Parses (role, artifact, file name) triples, noting every problem under `field[i]`: roles and file
    /// names must be unique, and artifacts must be of `workspace`.
    pub fn parse<'a>(
        field: &str,
        workspace: Option<&WorkspaceName>,
        entries: impl ExactSizeIterator<Item = (&'a str, &'a str, &'a str)>,
        violations: &mut Violations,
    ) -> Option<Manifest> {
        let count = entries.len();
        if count == 0 || count > ARTIFACTS_MAX {
            violations.push(
                field,
                format!("has {count} artifacts; 1 to {ARTIFACTS_MAX} are allowed"),
            );
            return None;
        }
        let mut parsed = Vec::with_capacity(count);
        let mut file_names = BTreeMap::new();
        for (i, (role, artifact, file_name)) in entries.enumerate() {
            let at = |name: &str| format!("{field}[{i}].{name}");
            let entry = parse_entry(at, workspace, role, artifact, file_name, violations);
            let Some(entry) = entry else { continue };
            if let Some(other) = file_names.insert(entry.effective_file_name().to_owned(), i) {
                violations.push(
                    at("file_name"),
                    format!("is the same as that of {field}[{other}]"),
                );
            }
            parsed.push(entry);
        }
        parsed.sort_by(|a, b| a.role.cmp(&b.role));
        for pair in parsed.windows(2) {
            if pair[0].role == pair[1].role {
                violations.push(field, format!("the role {} appears twice", pair[0].role));
            }
        }
        (parsed.len() == count).then_some(Manifest { entries: parsed })
    }

    /// The entries, in the order of their roles.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The digest of the version: sha256 over one line per artifact, in the order of roles:
    /// `{role} {digest} {file name}\n`, where the file name is the role when none was given.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for entry in &self.entries {
            let line = format!(
                "{} {} {}\n",
                entry.role,
                entry.artifact.id(),
                entry.effective_file_name()
            );
            hash.update(line.as_bytes());
        }
        Digest::from_sha256(&hash.finalize().into())
    }
}

fn parse_entry(
    at: impl Fn(&str) -> String,
    workspace: Option<&WorkspaceName>,
    role: &str,
    artifact: &str,
    file_name: &str,
    violations: &mut Violations,
) -> Option<Entry> {
    let id = slipway_platform::names::parse::<Id>(&at("role"), role, violations);
    let name =
        slipway_platform::names::parse::<ArtifactName>(&at("artifact"), artifact, violations);
    let file_name_ok = file_name.is_empty() || is_file_name(file_name);
    violations.require(
        file_name_ok,
        at("file_name"),
        "must be a single file name without slashes or control characters, not . or .., of at most 255 bytes",
    );
    let (id, name) = (id?, name?);
    if workspace.is_some_and(|workspace| workspace != name.workspace()) {
        violations.push(
            at("artifact"),
            "is of another workspace than the model; promote it or upload it there",
        );
        return None;
    }
    file_name_ok.then(|| Entry {
        role: id.to_string(),
        artifact: name,
        file_name: file_name.to_owned(),
    })
}

fn is_file_name(name: &str) -> bool {
    name.len() <= FILE_NAME_MAX
        && !matches!(name, "." | "..")
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn artifact(n: u8) -> String {
        format!(
            "workspaces/dev/artifacts/sha256:{}",
            format!("{n:02x}").repeat(32)
        )
    }

    /// Role, artifact and file name.
    type Given<'a> = (&'a str, &'a str, &'a str);

    fn parse(entries: &[Given]) -> Result<Manifest, Violations> {
        let workspace = "workspaces/dev".parse().unwrap();
        let mut violations = Violations::new();
        let manifest = Manifest::parse(
            "a",
            Some(&workspace),
            entries.iter().copied(),
            &mut violations,
        );
        if violations.is_empty() {
            Ok(manifest.unwrap())
        } else {
            Err(violations)
        }
    }

    #[test]
    fn the_digest_is_what_sha256sum_says_of_the_lines() {
        let manifest = parse(&[
            ("predictions", &artifact(2), "p.csv"),
            ("model", &artifact(1), ""),
        ])
        .unwrap();
        let text = format!(
            "model sha256:{} model\npredictions sha256:{} p.csv\n",
            "01".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(
            manifest.digest(),
            Digest::from_sha256(&Sha256::digest(text.as_bytes()).into())
        );
    }

    #[test]
    fn problems_are_named_by_their_field() {
        let foreign = artifact(1).replace("dev", "prod");
        let cases: [(&[Given], &str); 9] = [
            (&[], "a"),
            (&[("Model", &artifact(1), "")], "a[0].role"),
            (&[("model", "artifacts/x", "")], "a[0].artifact"),
            (&[("model", &foreign, "")], "a[0].artifact"),
            (&[("model", &artifact(1), "../x")], "a[0].file_name"),
            (&[("model", &artifact(1), "..")], "a[0].file_name"),
            (&[("model", &artifact(1), "a\nb")], "a[0].file_name"),
            (
                &[("model", &artifact(1), "x"), ("model", &artifact(2), "y")],
                "a",
            ),
            (
                &[("model", &artifact(1), "code"), ("code", &artifact(2), "")],
                "a[1].file_name",
            ),
        ];
        for (entries, field) in cases {
            let violations = parse(entries).unwrap_err();
            assert_eq!(violations.0[0].field, field, "{entries:?}: {violations}");
        }
    }

    proptest! {
        #[test]
        fn the_digest_depends_on_the_content_and_not_on_the_order(
            roles in proptest::collection::btree_set("[a-z]{1,6}", 1..8),
            rotation in 0_usize..8,
            changed in 0_usize..8,
        ) {
            let list: Vec<(String, String)> =
                roles.iter().enumerate().map(|(i, role)| (role.clone(), artifact(i as u8))).collect();
            let view = |list: &[(String, String)]| {
                let entries: Vec<_> = list.iter().map(|(r, a)| (r.as_str(), a.as_str(), "")).collect();
                parse(&entries).unwrap().digest()
            };
            let digest = view(&list);
            let mut other = list.clone();
            other.rotate_left(rotation % list.len());
            prop_assert_eq!(&view(&other), &digest);
            let at = changed % list.len();
            other[at].1 = artifact(0xff);
            prop_assert_ne!(&view(&other), &digest);
        }
    }
}
