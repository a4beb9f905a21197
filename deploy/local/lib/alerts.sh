# shellcheck shell=bash
# Prometheus' own tool, which tests the alerting rules.

PROMTOOL=$DOWNLOADS/prometheus/usr/bin/promtool

promtool() {
  if command -v "$PROMTOOL" >/dev/null; then "$PROMTOOL" "$@"; else command promtool "$@"; fi
}

# Unpacked and not installed: the Debian package starts a server.
promtool_install() {
  if [[ -x $PROMTOOL ]] || command -v /usr/bin/promtool >/dev/null; then return 0; fi
  say "promtool: fetching the Debian package prometheus"
  local part=$DOWNLOADS/prometheus.part log=$LOGS/prometheus-install.log
  rm -rf -- "$part"
  mkdir -p "$part"
  if ! (cd "$part" && apt-get -q download prometheus) >>"$log" 2>&1; then
    # Without lists of packages, or with old ones: whatever is installed renews them.
    debian_packages ca-certificates
    (cd "$part" && logged "$log" "fetching Prometheus" apt-get -q download prometheus)
  fi
  logged "$log" "unpacking Prometheus" dpkg-deb -x "$part"/prometheus_*.deb "$part"
  mv "$part" "$DOWNLOADS/prometheus"
}

# Each alert fires when it should, and only then.
test_alerts() {
  say "tests: alerts"
  promtool_install
  promtool test rules "$CHECKOUT/deploy/alerts/slipway.rules.test.yaml"
}
