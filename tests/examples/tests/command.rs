//! The model server as a process: where it finds its model, how it starts, and how it stops.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use slipway_examples::dataset::Dataset;
use slipway_examples::train::Recipe;

struct Server {
    child: Child,
    address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(model_dir: &Path, arguments: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_model-server"))
            .args(arguments)
            .env("MODEL_DIR", model_dir)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .parse()
            .unwrap();
        Server {
            child,
            address,
            _stdout: stdout,
        }
    }

    fn status(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder_with_model(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = Recipe::First.train(Dataset::wisconsin().rows());
    std::fs::write(dir.path().join(name), model.to_json()).unwrap();
    dir
}

#[test]
fn finds_its_model_by_role_and_ends_on_sigterm() {
    for name in ["model.json", "model"] {
        let dir = folder_with_model(name);
        let mut server = Server::start(dir.path(), &[]);
        let model = "/v2/models/tumor";
        assert_eq!(server.status(model), 200);
        while server.status("/v2/health/ready") != 200 {
            std::thread::yield_now();
        }
        assert_eq!(server.terminate(), Some(0));
    }
}

#[test]
fn starts_late_or_never_when_asked_to() {
    let dir = folder_with_model("model");
    let mut server = Server::start(dir.path(), &["--never-ready"]);
    assert_eq!(server.status("/v2/health/live"), 200);
    assert_eq!(server.status("/v2/health/ready"), 503);
    assert_eq!(server.terminate(), Some(0));

    let server = Server::start(dir.path(), &["--ready-after-ms", "300"]);
    assert_eq!(server.status("/v2/health/ready"), 503);
    while server.status("/v2/health/ready") != 200 {
        std::thread::yield_now();
    }
}

#[test]
fn a_model_that_does_not_load_ends_it_with_the_reason() {
    let broken = tempfile::tempdir().unwrap();
    std::fs::write(broken.path().join("model"), b"{\"format\": \"ex").unwrap();
    let empty = tempfile::tempdir().unwrap();
    for (dir, reason) in [
        (broken.path(), "not a model file"),
        (empty.path(), "neither model.json"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_model-server"))
            .args(["--port", "0"])
            .env("MODEL_DIR", dir)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
}
