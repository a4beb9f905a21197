# shellcheck shell=bash
# Servers as processes: started detached, known by pid and start time, so that no other process that has got
# the same pid since is ever taken for one of them.

# started_at PID: when it started, in ticks since the machine did (field 22, after a name with anything in it).
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  # A zombie has ended; only its parent does not know yet.
  [[ $stat != Z* ]] || return 1
  cut -d' ' -f20 <<<"$stat"
}

# start_process NAME COMMAND…: in the background, in a session of its own, with its output in its log; the log of
# the run before is kept beside it.
start_process() {
  local name=$1
  shift
  [[ ! -f $LOGS/$name.log ]] || mv "$LOGS/$name.log" "$LOGS/$name.before.log"
  setsid "$@" >>"$LOGS/$name.log" 2>&1 </dev/null 9>&- &
  local pid=$!
  printf '%s %s\n' "$pid" "$(started_at "$pid" || echo 0)" >"$RUN/$name.pid"
}

# pid_of NAME: its pid, while it is still the process that was started.
pid_of() {
  local pid started
  read -r pid started 2>/dev/null <"$RUN/$1.pid" || return 1
  [[ $(started_at "$pid") == "$started" ]] || return 1
  printf '%s\n' "$pid"
}

has_ended() { ! pid_of "$1"; }

# ended_or COMMAND…: for waiting: a server that has ended will not answer any more.
answers_or_ended() {
  local name=$1
  shift
  "$@" || has_ended "$name"
}

# wait_until_serving NAME SECONDS COMMAND…: until the command succeeds; a server that ends before is a failure.
wait_until_serving() {
  local name=$1 seconds=$2
  shift 2
  wait_for "$seconds" "$name does not answer" "$LOGS/$name.log" answers_or_ended "$name" "$@"
  if has_ended "$name" >/dev/null; then
    show_log "$LOGS/$name.log"
    fail "$name ended at once; the log is $LOGS/$name.log"
  fi
}

# stop_process NAME SIGNAL SECONDS: asks it to end, and makes it end when it does not.
stop_process() {
  local name=$1 signal=$2 seconds=$3 pid
  if ! pid=$(pid_of "$name"); then
    rm -f "$RUN/$name.pid"
    return 0
  fi
  say "stopping $name (pid $pid, $signal)"
  kill -s "$signal" "$pid" 2>/dev/null || true
  local end=$((SECONDS + seconds))
  until has_ended "$name" >/dev/null; do
    if ((SECONDS >= end)); then
      say "$name did not stop within $seconds s, so it is killed; its log is $LOGS/$name.log"
      kill -s KILL "$pid" 2>/dev/null || true
      wait_for 10 "the end of $name" "$LOGS/$name.log" has_ended "$name"
    fi
    sleep 0.05
  done
  rm -f "$RUN/$name.pid"
}

# status_line NAME VERSION ADDRESS
status_line() {
  local pid state=stopped
  if pid=$(pid_of "$1"); then state=running; else pid=-; fi
  printf '%-10s %-9s %-8s %-18s %s\n' "$1" "${2:--}" "$pid" "${3:--}" "$state"
}
