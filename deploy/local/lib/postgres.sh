# shellcheck shell=bash
# PostgreSQL from Debian's package, with a cluster of its own. It refuses root, so root runs it as another user.

POSTGRES_USER=slipway-stack

# The newest version that is installed.
postgres_bin() {
  local folders
  folders=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [[ -x $folders/postgres ]] || return 1
  printf '%s\n' "$folders"
}

postgres_install() {
  if ! postgres_bin >/dev/null; then
    # The package would start a server of its own for the whole machine, which nobody has asked for.
    if ((EUID == 0)) && [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
      mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    debian_packages postgresql
  fi
  if ((EUID == 0)) && ! id "$POSTGRES_USER" >/dev/null 2>&1; then
    say "creating the user $POSTGRES_USER, since PostgreSQL refuses root"
    logged "$LOGS/packages.log" "creating the user $POSTGRES_USER" \
      useradd --system --no-create-home --shell /usr/sbin/nologin "$POSTGRES_USER"
  fi
}

# As the user of PostgreSQL; the process stays the same, so that its pid is known.
as_postgres() {
  if ((EUID == 0)); then
    setpriv --reuid "$POSTGRES_USER" --regid "$POSTGRES_USER" --clear-groups -- "$@"
  else
    "$@"
  fi
}

# In the stack's folder, where its user can reach it (a checkout in /root cannot be).
postgres_dir() {
  if ((EUID != 0)) || ! id "$POSTGRES_USER" >/dev/null 2>&1 || as_postgres test -x "$STACK_DIR"; then
    printf '%s\n' "$STACK_DIR/postgres"
  else
    printf '/var/tmp/slipway-stack-%s\n' "$(cksum <<<"$STACK_DIR" | cut -d' ' -f1)"
  fi
}

postgres_start() {
  local bin data pid
  bin=$(postgres_bin) && data=$(postgres_dir)
  if pid=$(pid_of postgres); then
    say "postgres runs already (pid $pid, 127.0.0.1:$(port_of postgres))"
    return 0
  fi
  choose_port postgres
  if [[ ! -f $data/PG_VERSION ]]; then
    say "postgres: creating a database cluster in $data"
    rm -rf -- "$data"
    install -d -m 700 "$data"
    if ((EUID == 0)); then chown "$POSTGRES_USER:" "$data"; fi
    (cd / && logged "$LOGS/postgres.log" "initdb" as_postgres "$bin/initdb" -D "$data" -U slipway \
      --auth=trust --encoding=UTF8 --locale=C.UTF-8)
  fi
  say "postgres: starting on 127.0.0.1:$(port_of postgres)"
  # `start_process` needs a program, not a function.
  local as=()
  if ((EUID == 0)); then as=(setpriv --reuid "$POSTGRES_USER" --regid "$POSTGRES_USER" --clear-groups --); fi
  # Many replicas of five services, each with a pool: more connections than the default of 100.
  start_process postgres "${as[@]}" "$bin/postgres" -D "$data" \
    -c listen_addresses=127.0.0.1 -c port="$(port_of postgres)" -c unix_socket_directories= \
    -c max_connections=500 -c shared_buffers=128MB -c log_line_prefix='%m [%p] %a '
  wait_until_serving postgres 60 "$bin/pg_isready" -q -h 127.0.0.1 -p "$(port_of postgres)"
  if ! postgres_sql postgres "SELECT 1 FROM pg_database WHERE datname = 'slipway'" | grep -q 1; then
    postgres_sql postgres 'CREATE DATABASE slipway' >/dev/null
  fi
}

# postgres_sql DATABASE STATEMENT
postgres_sql() {
  "$(postgres_bin)/psql" -X -A -t -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(port_of postgres)" \
    -U slipway -d "$1" -c "$2"
}

# SIGINT is PostgreSQL's "fast": open transactions are rolled back, and the data is written.
postgres_stop() { stop_process postgres INT 60; }

# SIGQUIT is "immediate": nothing is written, and the next start recovers as after a crash.
postgres_kill() { stop_process postgres QUIT 20; }

postgres_url() { printf 'postgres://slipway@127.0.0.1:%s/slipway' "$(port_of postgres)"; }

postgres_status() {
  local version='' address=''
  if version=$(postgres_bin); then version=$("$version/postgres" --version | grep -oE '[0-9]+(\.[0-9]+)*' | head -n 1); fi
  [[ -z $(port_of postgres) ]] || address=127.0.0.1:$(port_of postgres)
  status_line postgres "$version" "$address"
}

postgres_env() {
  [[ -n $(port_of postgres) ]] || return 0
  printf 'export %s=%q\n' \
    SLIPWAY_STACK_POSTGRES "$(postgres_url)" \
    SLIPWAY_TEST_POSTGRES "$(postgres_url)"
}
