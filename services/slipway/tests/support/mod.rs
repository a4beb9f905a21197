//! The real program, and `slipway up` in a directory of its own.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Runs a command to its end.
pub fn slipway(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `slipway up` on free ports, in a directory of its own.
pub struct Up {
    child: Child,
    /// The line that said where everything listens.
    pub ready: Value,
}

impl Up {
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// Starts it again where it listened before.
    pub fn start_again(dir: &Path, before: &Value) -> Self {
        let at = |name: &str| {
            let url = before[name].as_str().unwrap();
            url.strip_prefix("http://").unwrap().to_owned()
        };
        let listen: Vec<String> = [
            ("registry", "--registry-listen"),
            ("evaluator", "--evaluator-listen"),
            ("deployer", "--deployer-listen"),
            ("failure_detector", "--failure-detector-listen"),
        ]
        .into_iter()
        .flat_map(|(name, flag)| [flag.to_owned(), at(name)])
        .collect();
        Self::start_with(dir, &listen)
    }

    fn start_with(dir: &Path, more: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .args(["up", "--free-ports", "--output", "json", "--log", "warn"])
            .args(more)
            .current_dir(dir)
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            ready: serde_json::from_str(&line).unwrap(),
        }
    }

    pub fn stop(mut self, signal: Signal) -> i32 {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
