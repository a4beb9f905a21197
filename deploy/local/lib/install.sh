# shellcheck shell=bash
# Debian packages, where what they bring is not there yet.

# debian_packages NAME…: installs them, as root or by sudo without a password; else says what to do.
debian_packages() {
  local log=$LOGS/packages.log as_root=()
  if ((EUID != 0)); then
    as_root=(sudo -n)
    sudo -n true 2>/dev/null ||
      fail "missing: the Debian packages $*; install them (apt-get install $*), or run this as root once"
  fi
  say "installing the Debian packages $*"
  if ! {
    "${as_root[@]}" apt-get -q update &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
        apt-get -q -y -o Dpkg::Options::=--force-confold install "$@"
  } >>"$log" 2>&1 </dev/null; then
    show_log "$log"
    fail "the Debian packages $* could not be installed; the log is $log"
  fi
}

# logged LOG WHAT COMMAND…: runs it with its output in the log, which is shown when it fails.
logged() {
  local log=$1 what=$2
  shift 2
  if ! "$@" >>"$log" 2>&1 </dev/null; then
    show_log "$log"
    fail "$what failed; the log is $log"
  fi
}
