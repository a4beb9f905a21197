//! Values that may be references to secrets: `env:NAME` and `file:PATH`, resolved when they are needed.

use slipway_platform::config::Secret;
use tokio::io::AsyncReadExt;

/// A file that holds a secret is not larger than this.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Whether the value only says where the secret is.
pub fn is_reference(value: &str) -> bool {
    value.starts_with("env:") || value.starts_with("file:")
}

/// The secret itself. The error names the reference, never a value.
pub async fn resolve(value: &Secret) -> Result<Secret, String> {
    let value = value.expose();
    if let Some(name) = value.strip_prefix("env:") {
        return match std::env::var(name) {
            Ok(found) => Ok(Secret::new(found.trim())),
            Err(_) => Err(format!("the environment variable {name} is not set")),
        };
    }
    if let Some(path) = value.strip_prefix("file:") {
        let unreadable = |error: std::io::Error| format!("the file {path} cannot be read: {error}");
        let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .await
            .map_err(unreadable)?;
        return Ok(Secret::new(text.trim()));
    }
    Ok(Secret::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn references_are_resolved_and_missing_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "whsec_abc\n").unwrap();
        let reference = Secret::new(format!("file:{}", path.display()));
        assert_eq!(resolve(&reference).await.unwrap().expose(), "whsec_abc");
        assert_eq!(
            resolve(&Secret::new("plain")).await.unwrap().expose(),
            "plain"
        );
        let error = resolve(&Secret::new("env:SLIPWAY_TEST_NOT_SET"))
            .await
            .unwrap_err();
        assert!(error.contains("SLIPWAY_TEST_NOT_SET"));
        assert!(resolve(&Secret::new("file:/does/not/exist")).await.is_err());
    }
}
