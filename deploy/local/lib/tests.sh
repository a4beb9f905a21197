# shellcheck shell=bash
# Every test that needs real servers.

# What stores its data: their whole suites run again, on PostgreSQL.
ON_POSTGRES=(slipway-platform slipway-registry slipway-evaluator slipway-deployer slipway-failure-detector)
# What plain `cargo test` leaves out.
ONLY_ON_POSTGRES=(--test postgres --test postgres_faults --test replicas --test replica_faults)

run_tests() {
  local component before=()
  # Read by the trap, when this function is over.
  started=()
  for component in postgres kafka; do
    if pid_of "$component" >/dev/null; then before+=("$component"); else started+=("$component"); fi
  done
  # Whoever interrupts the tests, or cannot start all servers, does not want the others either. Within a trap a bare
  # `return` gives the status from before it, so what `down` calls says which it means.
  trap 'trap "" INT TERM; ((${#started[@]} == 0)) || down "${started[@]}"' EXIT
  trap 'exit 130' INT TERM
  up
  ((${#before[@]} == 0)) || say "${before[*]}: up before, so left up afterwards"
  eval "$(environment)"
  local code=0
  cd "$CHECKOUT" || return
  tests "$@" || code=$?
  if ((code)); then
    say "the tests failed ($code); logs of the servers: $LOGS; settings and logs of each story: $STACK_DIR/stories"
  fi
  exit "$code"
}

# Everything is selected as `cargo test --workspace` selects it, so that what that has built is used again.
tests() {
  if (($# == 0)); then
    test_alerts || return
    say "tests: the services and what they share, on PostgreSQL"
    suites "${ON_POSTGRES[@]}" || return
    cargo test --workspace --locked "${ONLY_ON_POSTGRES[@]}" || return
  fi
  say "tests: stories on the whole stack"
  cargo test --workspace --locked --test stack -- --test-threads=2 "$@"
}

# The tests of these packages, each in its package's folder as Cargo runs it.
suites() {
  local built programs folder program
  built=$(cargo test --workspace --locked --lib --bins --tests --no-run --message-format=json) || return
  programs=$(programs_of "$@" <<<"$built") || return
  while IFS=$'\t' read -r folder program; do
    say "${program##*/}"
    (cd "$folder" && "$program" </dev/null) || return
  done <<<"$programs"
}

# Reads Cargo's messages; writes the folder and the test program of each target of these packages. Fails when one of
# them has none.
programs_of() {
  python3 -c '
import json, os, sys
missing = set(sys.argv[1:])
for message in map(json.loads, sys.stdin):
    if message.get("executable") and message["profile"]["test"]:
        folder = os.path.dirname(message["manifest_path"])
        package = "slipway-" + os.path.basename(folder)
        if package in sys.argv[1:]:
            missing.discard(package)
            print(folder, message["executable"], sep="\t")
if missing:
    sys.exit("no tests were built of " + ", ".join(sorted(missing)))
' "$@"
}
