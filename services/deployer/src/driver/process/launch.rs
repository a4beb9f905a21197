//! How a process is started: its command, its environment, its port, its own process group. Nothing ties it
//! to the deployer: its output goes to a file, and no signal is set for the deployer's end.

use std::collections::{BTreeSet, HashSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::process::{Child, Command};
use uuid::Uuid;

use super::super::{DriverError, ProcessSpec, RevisionRun, secrets};
use super::config::ProcessConfig;
use super::identity::TOKEN_VARIABLE;
use super::layout::ModelDir;
use super::log;

/// Ports that are given away and not yet given back.
#[derive(Debug, Default)]
pub(super) struct Ports {
    taken: Mutex<HashSet<u16>>,
}

/// A port on loopback that nobody else is given while this is held.
#[derive(Debug)]
pub(super) struct Port {
    pub number: u16,
    ports: Arc<Ports>,
}

impl Ports {
    /// The port `wanted` if it is free, else any free one of the range.
    pub fn take(
        self: &Arc<Self>,
        config: &ProcessConfig,
        wanted: Option<u16>,
    ) -> Result<Port, DriverError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (least, count) = (
            u32::from(config.port_min),
            u32::from(config.port_max - config.port_min) + 1,
        );
        // Deployers that begin at different places rarely try the same port at the same moment.
        let begin = u32::try_from(Uuid::new_v4().as_u128() % u128::from(count)).unwrap_or(0);
        let range =
            (0..count).filter_map(|step| u16::try_from(least + (begin + step) % count).ok());
        let number = wanted
            .into_iter()
            .chain(range)
            .find(|port| !taken.contains(port) && is_free(*port));
        let Some(number) = number else {
            let (least, most) = (config.port_min, config.port_max);
            return Err(DriverError::unavailable(format!(
                "no port between {least} and {most} is free"
            )));
        };
        taken.insert(number);
        Ok(Port {
            number,
            ports: self.clone(),
        })
    }

    /// The port of a process that has it already.
    pub fn hold(self: &Arc<Self>, number: u16) -> Port {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number);
        Port {
            number,
            ports: self.clone(),
        }
    }
}

impl Port {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
    }
}

/// Whether a process could listen on this port of loopback now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Everything that a start needs besides the revision.
pub(super) struct Launch<'a> {
    pub config: &'a ProcessConfig,
    pub model_dir: &'a ModelDir,
    pub log: &'a Path,
    pub port: u16,
    pub token: &'a str,
}

/// Starts the process.
pub(super) fn launch(
    run: &RevisionRun,
    spec: &ProcessSpec,
    how: &Launch<'_>,
) -> Result<Child, DriverError> {
    let arguments = arguments(run, spec, how)?;
    let (program, arguments) = arguments
        .split_first()
        .filter(|(program, _)| !program.is_empty())
        .ok_or_else(|| DriverError::failed("the command is empty"))?;
    let output = log::open(how.log).and_then(|file| Ok((file.try_clone()?, file)));
    let (stdout, stderr) = output
        .map_err(|error| DriverError::unavailable(format!("cannot open the log: {error}")))?;

    let mut command = Command::new(resolve_program(program)?);
    command
        .args(arguments)
        .current_dir(&how.model_dir.dir)
        .process_group(0)
        .kill_on_drop(false);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    command.env_clear();
    let inherited: BTreeSet<_> = how.config.inherited_env.iter().collect();
    command.envs(
        inherited
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?))),
    );
    command.envs(secrets::resolve(&spec.env)?);
    command.env("PORT", how.port.to_string());
    command.env("MODEL_DIR", &how.model_dir.dir);
    command.env("SLIPWAY_REVISION", run.revision.to_string());
    command.env(TOKEN_VARIABLE, how.token);
    command
        .spawn()
        .map_err(|error| DriverError::failed(format!("cannot start {program}: {error}")))
}

/// The command with `{port}`, `{revision}`, `{model_dir}` and `{role}` for each role replaced, in one pass:
/// what was put in is not looked at again. Other braces stay, since an argument may be JSON.
fn arguments(
    run: &RevisionRun,
    spec: &ProcessSpec,
    how: &Launch<'_>,
) -> Result<Vec<String>, DriverError> {
    let value = |name: &str| match name {
        "port" => Some(how.port.to_string()),
        "revision" => Some(run.revision.to_string()),
        "model_dir" => Some(how.model_dir.dir.to_string_lossy().into_owned()),
        role => how
            .model_dir
            .files
            .get(role)
            .map(|path| path.to_string_lossy().into_owned()),
    };
    let replaced: Vec<_> = spec
        .command
        .iter()
        .map(|argument| replace(argument, value))
        .collect();
    match replaced.iter().find(|argument| argument.contains('\0')) {
        Some(_) => Err(DriverError::failed("the command has a zero byte")),
        None => Ok(replaced),
    }
}

fn replace(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        match inner
            .find('}')
            .and_then(|close| Some((value(&inner[..close])?, close)))
        {
            Some((value, close)) => {
                out.push_str(&value);
                rest = &inner[close + 1..];
            }
            None => {
                out.push('{');
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A program with a slash is relative to the deployer's folder, not to the one that the process runs in.
fn resolve_program(program: &str) -> Result<PathBuf, DriverError> {
    if !program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    std::path::absolute(program)
        .map_err(|error| DriverError::failed(format!("cannot find {program}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_kept() {
        let value = |name: &str| match name {
            "port" => Some("8080".to_owned()),
            "model" => Some("/m/{port}".to_owned()),
            _ => None,
        };
        assert_eq!(replace("--port={port}", value), "--port=8080");
        assert_eq!(replace("{model}:{port}", value), "/m/{port}:8080");
        assert_eq!(
            replace(r#"{"a":{port},"b":{c}}"#, value),
            r#"{"a":8080,"b":{c}}"#
        );
        assert_eq!(replace("{port", value), "{port");
    }

    #[test]
    fn a_port_is_given_once_until_it_is_given_back() {
        let ports = Arc::new(Ports::default());
        let config = ProcessConfig {
            port_min: 28_100,
            port_max: 28_163,
            ..Default::default()
        };
        let first = ports.take(&config, None).unwrap();
        let second = ports.take(&config, Some(first.number)).unwrap();
        assert_ne!(first.number, second.number);
        let number = first.number;
        drop(first);
        assert_eq!(ports.take(&config, Some(number)).unwrap().number, number);
    }
}
