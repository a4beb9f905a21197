# shellcheck shell=bash
# What the parts share: words for people, the folder's lock, ports, waiting for a condition.

say() { printf 'stack: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Only one `stack` changes the folder at a time. Servers do not inherit the lock: they are started with 9>&-.
locked() {
  exec 9>"$STACK_DIR/lock"
  flock -w 300 9 || fail "another 'stack' has been at work in $STACK_DIR for 5 minutes"
}

unlocked() { exec 9>&-; }

# A free port of loopback, below those that the system gives to outgoing connections and that the deployer gives
# to model servers: while a server is stopped, nobody takes its place.
free_port() {
  python3 - <<'PY'
import random, socket, sys
for port in random.sample(range(15000, 20000), 500):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
else:
    sys.exit("no free port between 15000 and 20000")
PY
}

# Whether somebody listens on this port.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# port_of NAME: the port that was chosen for it, once and for all unless somebody else has taken it since.
port_of() { cat "$RUN/$1.port" 2>/dev/null || true; }

choose_port() {
  local port
  port=$(port_of "$1")
  if [[ -z $port ]] || listens "$port"; then free_port >"$RUN/$1.port"; fi
}

# wait_for SECONDS WHAT LOG COMMAND…: until the command succeeds; else says what is missing, and where the log is.
wait_for() {
  local seconds=$1 what=$2 log=$3 end
  shift 3
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      show_log "$log"
      fail "$what: not within $seconds s; the log is $log"
    fi
    sleep 0.1
  done
}

show_log() {
  [[ -f $1 ]] || return 0
  say "the end of $1:"
  tail -n 30 "$1" >&2
}
