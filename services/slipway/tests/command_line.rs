//! The real program: exit codes, and `slipway up` with commands against it.

#![allow(clippy::unwrap_used)]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::{Up, code, json, slipway, stderr};

#[test]
fn usage_errors_are_2_and_an_unreachable_service_is_1() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(code(&slipway(dir.path(), &["--help"])), 0);
    assert_eq!(code(&slipway(dir.path(), &["--version"])), 0);
    assert_eq!(code(&slipway(dir.path(), &["launch"])), 2);
    assert_eq!(code(&slipway(dir.path(), &["model", "get", "Tumor"])), 2);
    assert_eq!(
        code(&slipway(
            dir.path(),
            &["rules", "apply", "--file", "/nowhere"]
        )),
        2
    );
    let away = slipway(
        dir.path(),
        &["model", "get", "dev/tumor", "--registry", "127.0.0.1:1"],
    );
    assert_eq!(code(&away), 1);
    assert!(stderr(&away).contains("slipway up"), "{}", stderr(&away));
    let away = slipway(
        dir.path(),
        &[
            "model",
            "get",
            "dev/tumor",
            "--registry",
            "127.0.0.1:1",
            "--output",
            "json",
        ],
    );
    let error: Value = serde_json::from_str(&stderr(&away)).unwrap();
    assert_eq!(error["error"]["code"], "UNAVAILABLE");
}

#[test]
fn a_model_and_a_version_are_registered_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path());
    assert!(
        up.ready["registry"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    let run = |arguments: &[&str]| slipway(dir.path(), arguments);

    let created = run(&[
        "model",
        "create",
        "dev/tumor",
        "--label",
        "team=a",
        "--output",
        "json",
    ]);
    assert_eq!(code(&created), 0, "{}", stderr(&created));
    assert_eq!(json(&created)["name"], "workspaces/dev/models/tumor");
    let again = run(&["model", "create", "dev/tumor"]);
    assert_eq!(code(&again), 1);
    assert!(
        stderr(&again).contains("exists already"),
        "{}",
        stderr(&again)
    );

    std::fs::write(dir.path().join("model.json"), vec![b'x'; 700_000]).unwrap();
    let arguments = [
        "version",
        "create",
        "dev/tumor",
        "--artifact",
        "model=model.json",
        "--tag",
        "plant=a",
    ];
    for number in 1..=2 {
        let created = run(&[&arguments[..], &["--output", "json"]].concat());
        assert_eq!(code(&created), 0, "{}", stderr(&created));
        assert_eq!(json(&created)["number"], number.to_string());
        assert_eq!(json(&created)["artifacts"][0]["sizeBytes"], "700000");
    }
    let list = run(&["version", "list", "dev/tumor"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(text.starts_with("VERSION"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains('\u{1b}'), "no colours but on a terminal");
    let list = run(&[
        "version",
        "list",
        "dev/tumor",
        "--filter",
        "number = 2",
        "--output",
        "json",
    ]);
    assert_eq!(json(&list)["versions"].as_array().unwrap().len(), 1);

    assert_eq!(
        code(&run(&[
            "alias",
            "set",
            "dev/tumor@champion",
            "dev/tumor:1",
            "--expect",
            "none"
        ])),
        0
    );
    let moved = run(&[
        "alias",
        "set",
        "dev/tumor@champion",
        "dev/tumor:2",
        "--expect",
        "none",
    ]);
    assert_eq!(code(&moved), 1);
    assert_eq!(
        json(&run(&[
            "version",
            "get",
            "dev/tumor@champion",
            "--output",
            "json"
        ]))["number"],
        "1"
    );
    let wrong = run(&["version", "list", "dev/tumor", "--filter", "colour = red"]);
    assert_eq!(code(&wrong), 1);
    assert!(stderr(&wrong).contains("filter:"), "{}", stderr(&wrong));

    assert_eq!(up.stop(Signal::TERM), 0);
    assert!(!dir.path().join(".slipway/addresses.json").exists());
}

#[test]
fn a_second_control_plane_in_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path());
    let second = slipway(dir.path(), &["up", "--free-ports"]);
    assert_eq!(code(&second), 1, "{}", stderr(&second));
    assert!(
        stderr(&second).contains("--data-dir"),
        "{}",
        stderr(&second)
    );
    assert_eq!(up.stop(Signal::INT), 0);
}

#[test]
fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let up = slipway(
        dir.path(),
        &[
            "up",
            "--free-ports",
            "--registry-listen",
            &address.to_string(),
        ],
    );
    assert_eq!(code(&up), 2);
    assert!(
        stderr(&up).contains(&format!("port {}", address.port())),
        "{}",
        stderr(&up)
    );
}
