//! Secret references: a value `env:NAME` or `file:PATH` stands for what is found there when a process
//! starts. What was found goes to the process and nowhere else; errors name the reference only.

use std::collections::BTreeMap;
use std::io::Read;

use super::DriverError;

/// No credential is longer, and a wrong path must not fill the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The environment with every reference replaced by what it stands for.
pub(super) fn resolve(
    env: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, DriverError> {
    resolve_with(env, |name| std::env::var(name).ok())
}

fn resolve_with(
    env: &BTreeMap<String, String>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, DriverError> {
    let resolve_one = |(key, value): (&String, &String)| {
        if key.is_empty() || key.contains(['=', '\0']) {
            return Err(DriverError::failed(format!(
                "{key:?} is no name of an environment variable"
            )));
        }
        let value = if let Some(name) = value.strip_prefix("env:") {
            lookup(name).ok_or_else(|| {
                DriverError::failed(format!(
                    "{key} refers to the environment variable {name}, which is not set"
                ))
            })?
        } else if let Some(path) = value.strip_prefix("file:") {
            read(path).map_err(|why| {
                DriverError::failed(format!("{key} refers to the file {path}: {why}"))
            })?
        } else {
            value.clone()
        };
        if value.contains('\0') {
            return Err(DriverError::failed(format!(
                "the value of {key} has a zero byte"
            )));
        }
        Ok((key.clone(), value))
    };
    env.iter().map(resolve_one).collect()
}

/// The file's text without its last line end.
fn read(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.kind().to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.kind().to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than {FILE_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
    Ok(text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text)
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &str) -> Result<String, DriverError> {
        let env = BTreeMap::from([("TOKEN".to_owned(), value.to_owned())]);
        let lookup = |name: &str| (name == "HF_TOKEN").then(|| "s3cret".to_owned());
        resolve_with(&env, lookup).map(|mut all| all.remove(0).1)
    }

    #[test]
    fn references_are_replaced_and_other_values_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "from-file\n").unwrap();
        assert_eq!(one("plain"), Ok("plain".to_owned()));
        assert_eq!(one("environment"), Ok("environment".to_owned()));
        assert_eq!(one("env:HF_TOKEN"), Ok("s3cret".to_owned()));
        assert_eq!(
            one(&format!("file:{}", path.display())),
            Ok("from-file".to_owned())
        );
    }

    #[test]
    fn what_is_missing_is_named_without_any_value() {
        let why = one("env:OTHER").unwrap_err().to_string();
        assert!(
            why.contains("TOKEN") && why.contains("OTHER") && !why.contains("s3cret"),
            "{why}"
        );
        assert!(one("file:/no/such/file").is_err());
        assert!(one("file:/").is_err());
    }

    #[test]
    fn hostile_names_and_sizes_are_refused() {
        let bad_name = BTreeMap::from([("A=B".to_owned(), "x".to_owned())]);
        assert!(resolve_with(&bad_name, |_| None).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        std::fs::write(&path, vec![b'a'; 65 * 1024]).unwrap();
        assert!(one(&format!("file:{}", path.display())).is_err());
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(one(&format!("file:{}", path.display())).is_err());
        assert!(one("a\0b").is_err());
    }
}
