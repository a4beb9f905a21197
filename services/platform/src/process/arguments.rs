//! The command line that every program of a service has.

use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// To be told about the command line.
    Help,
    /// To be told the version.
    Version,
    /// To run, or to check the settings and end.
    Run(Options),
}

/// How to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// The settings file.
    pub(super) config: Option<PathBuf>,
    /// Read and check the settings, and end.
    pub(super) check: bool,
    /// Listen on addresses that are not loopback.
    pub(super) insecure: bool,
}

pub(super) const HELP: &str = "\
      --config FILE  a settings file; what it leaves out has its default
      --check        read and check the settings, and end
      --insecure     listen on an address that is not loopback, without TLS and authentication
      --version      show the version
      --help         show this";

/// Reads the arguments after the program's name.
pub(super) fn parse(given: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options::default();
    let mut given = given.into_iter();
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--version" | "-V" => return Ok(Asked::Version),
            "--check" => options.check = true,
            "--insecure" => options.insecure = true,
            "--config" => {
                options.config = Some(given.next().ok_or("--config needs a file")?.into())
            }
            other => match other.strip_prefix("--config=") {
                Some(file) => options.config = Some(file.into()),
                None => return Err(format!("{other:?} is unknown; --help shows what there is")),
            },
        }
    }
    Ok(Asked::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_argument_is_read_and_an_unknown_one_is_not() {
        let options = Options {
            config: Some("a.toml".into()),
            check: true,
            insecure: true,
        };
        assert_eq!(
            parsed("--insecure --config a.toml --check"),
            Ok(Asked::Run(options))
        );
        assert!(matches!(parsed("--config=a"), Ok(Asked::Run(o)) if o.config == Some("a".into())));
        assert_eq!(parsed("--check --help"), Ok(Asked::Help));
        assert_eq!(parsed("--version"), Ok(Asked::Version));
        for wrong in ["--config", "--chek", "file.toml"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
