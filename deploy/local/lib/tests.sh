# shellcheck shell=bash
# Every test that needs real servers.

# What stores its data: their whole suites run again, on PostgreSQL.
ON_POSTGRES=(slipway-platform slipway-registry slipway-evaluator slipway-deployer slipway-failure-detector)

run_tests() {
  local component before=() started=()
  for component in postgres kafka; do
    if pid_of "$component" >/dev/null; then before+=("$component"); else started+=("$component"); fi
  done
  up
  ((${#before[@]} == 0)) || say "${before[*]}: up before, so left up afterwards"
  eval "$(environment)"
  local code=0
  # Whoever interrupts the tests does not want the servers either.
  ((${#started[@]} == 0)) || trap 'down "${started[@]}"; exit 130' INT TERM
  cd "$CHECKOUT" || return
  tests "$@" || code=$?
  if ((code)); then
    say "the tests failed ($code); logs of the servers: $LOGS; settings and logs of each story: $STACK_DIR/stories"
  fi
  ((${#started[@]} == 0)) || down "${started[@]}"
  return "$code"
}

tests() {
  local packages=() package
  if (($# == 0)); then
    for package in "${ON_POSTGRES[@]}"; do packages+=(-p "$package"); done
    say "tests: the services and what they share, on PostgreSQL"
    cargo test --locked "${packages[@]}" --lib --bins --tests -- --include-ignored || return
  fi
  say "tests: stories on the whole stack"
  cargo test --locked -p slipway-tests --test stack -- --test-threads=2 "$@"
}
