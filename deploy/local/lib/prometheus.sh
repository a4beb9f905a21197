# shellcheck shell=bash
# Prometheus and its tool, out of the Debian package. They are only unpacked here: the installed package would start a
# server, and each one is started by who needs it, with settings of its own.

PROMETHEUS=$DOWNLOADS/prometheus/usr/bin

prometheus_install() {
  [[ ! -x $PROMETHEUS/prometheus ]] || return 0
  say "prometheus: fetching the Debian package"
  local part=$DOWNLOADS/prometheus.part log=$LOGS/prometheus-install.log
  rm -rf -- "$part"
  mkdir -p "$part"
  if ! (cd "$part" && apt-get -q download prometheus) >>"$log" 2>&1; then
    # Without lists of packages, or with old ones.
    ((EUID == 0)) || sudo -n true 2>/dev/null || {
      show_log "$log"
      fail "the Debian package prometheus cannot be fetched; run apt-get update as root, or this as root once"
    }
    # Whatever is installed renews the lists.
    debian_packages ca-certificates
    (cd "$part" && logged "$log" "fetching Prometheus" apt-get -q download prometheus)
  fi
  logged "$log" "unpacking Prometheus" dpkg-deb -x "$part"/prometheus_*.deb "$part"
  rm -rf -- "$DOWNLOADS/prometheus"
  mv "$part" "$DOWNLOADS/prometheus"
}

prometheus_start() { :; }

prometheus_stop() { :; }

prometheus_status() {
  local version=- state='not installed'
  if [[ -x $PROMETHEUS/prometheus ]]; then
    version=$("$PROMETHEUS/prometheus" --version 2>&1 | sed -n '1s/^prometheus, version \([^ +]*\).*/\1/p')
    state=installed
  fi
  printf '%-10s %-9s %-8s %-18s %s\n' prometheus "$version" - - "$state"
}

prometheus_env() {
  [[ -x $PROMETHEUS/prometheus ]] || return 0
  printf 'export SLIPWAY_STACK_PROMETHEUS=%q\n' "$PROMETHEUS/prometheus"
}

# Each alert fires when it should, and not before.
test_alerts() {
  say "tests: alerts"
  "$PROMETHEUS/promtool" test rules "$CHECKOUT/deploy/alerts/slipway.rules.test.yaml"
}
