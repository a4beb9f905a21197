//! What the driver starts in these tests.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// The variable that makes this binary a server, and says how it behaves.
pub(super) const MODE: &str = "SLIPWAY_TEST_MODE";

#[test]
fn serves_when_asked() {
    let Ok(mode) = std::env::var(MODE) else {
        return;
    };
    match mode.as_str() {
        "exits" => std::process::exit(3),
        "sleeps" => loop {
            std::thread::park();
        },
        "stubborn" => ignore_sigterm(),
        "chatty" => {
            std::thread::spawn(|| {
                loop {
                    eprintln!("{}", "a line of log ".repeat(20));
                }
            });
        }
        "parent" => {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "driver::process::tests::helper::serves_when_asked",
                    "--exact",
                ])
                .env(MODE, "sleeps")
                .spawn()
                .unwrap();
            std::fs::write("child", child.id().to_string()).unwrap();
            std::thread::spawn(move || child.wait());
        }
        _ => {}
    }
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        answer(stream.unwrap(), &mode);
    }
}

fn answer(mut stream: TcpStream, mode: &str) {
    let mut head = [0; 1024];
    let length = stream.read(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/");
    let (status, body) = match path {
        "/ready" if mode == "never" => ("503 Service Unavailable", String::new()),
        "/crash" => std::process::exit(7),
        "/pid" => ("200 OK", std::process::id().to_string()),
        "/model" => (
            "200 OK",
            std::fs::read_to_string("model.bin").unwrap_or_default(),
        ),
        "/env" => (
            "200 OK",
            std::env::vars()
                .map(|(key, value)| format!("{key}={value}\n"))
                .collect(),
        ),
        _ => ("200 OK", String::new()),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// A handler that does nothing takes the place of the default, which ends the process.
fn ignore_sigterm() {
    let (installed, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut signals =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
            installed.send(()).unwrap();
            while signals.recv().await.is_some() {
                eprintln!("SIGTERM is ignored");
            }
        });
    });
    wait.recv().unwrap();
}
