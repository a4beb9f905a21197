# shellcheck shell=bash
# Apache Kafka, one node in KRaft mode: broker and controller in one process, fetched by Maven as kafka/pom.xml
# names it. Topics are never created by the way, as in a production cluster.

KAFKA_VERSION=$(sed -n '/<artifactId>kafka_2/{n;s/.*<version>\(.*\)<.*/\1/p;}' "$HERE/kafka/pom.xml")
KAFKA_JARS=$DOWNLOADS/kafka-$KAFKA_VERSION
KAFKA_DIR=$STACK_DIR/kafka
KAFKA_PASSWORD=$KAFKA_DIR/password

kafka_install() {
  local missing=()
  command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
  if [[ ! -d $KAFKA_JARS ]]; then command -v mvn >/dev/null || missing+=(maven); fi
  ((${#missing[@]} == 0)) || debian_packages "${missing[@]}"
  [[ -d $KAFKA_JARS ]] && return 0
  say "kafka: fetching version $KAFKA_VERSION"
  rm -rf -- "$KAFKA_JARS.part"
  logged "$LOGS/kafka-install.log" "fetching Kafka" \
    mvn -B -q -f "$HERE/kafka/pom.xml" dependency:copy-dependencies \
    -DoutputDirectory="$KAFKA_JARS.part" -DincludeScope=runtime
  # Whole or not at all: a copy that broke off is fetched again.
  mv "$KAFKA_JARS.part" "$KAFKA_JARS"
}

# The settings of the one node. Nothing waits for more members: there are none. The listener SASL lets nobody in but
# the user slipway.
kafka_properties() {
  local port=$1 controller=$2 sasl=$3 login=org.apache.kafka.common.security.plain.PlainLoginModule
  cat <<SETTINGS
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=$login required user_slipway="$(<"$KAFKA_PASSWORD")";
log.dirs=$KAFKA_DIR/data
auto.create.topics.enable=false
num.partitions=3
default.replication.factor=1
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
SETTINGS
}

kafka_logging() {
  cat <<'SETTINGS'
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
SETTINGS
}

kafka_start() {
  local pid properties=$KAFKA_DIR/server.properties logging=$KAFKA_DIR/log4j2.properties
  if pid=$(pid_of kafka); then
    say "kafka runs already (pid $pid, 127.0.0.1:$(port_of kafka))"
    return 0
  fi
  choose_port kafka
  choose_port kafka-controller
  choose_port kafka-sasl
  mkdir -p "$KAFKA_DIR"
  # Of this stack alone.
  [[ -s $KAFKA_PASSWORD ]] || (umask 077 && random_word >"$KAFKA_PASSWORD")
  # Not into a file that is there, with whatever mode it has.
  rm -f -- "$properties"
  (umask 077 && kafka_properties "$(port_of kafka)" "$(port_of kafka-controller)" "$(port_of kafka-sasl)" >"$properties")
  kafka_logging >"$logging"
  local options=(-Dlog4j2.configurationFile="$logging" -cp "$KAFKA_JARS/*")
  if [[ ! -f $KAFKA_DIR/data/meta.properties ]]; then
    say "kafka: formatting its storage in $KAFKA_DIR/data"
    logged "$LOGS/kafka.log" "formatting Kafka's storage" java "${options[@]}" kafka.tools.StorageTool \
      format --ignore-formatted --cluster-id "$(random_word)" --config "$properties"
  fi
  say "kafka: starting on 127.0.0.1:$(port_of kafka)"
  # One small node on a machine that has other things to do: a small heap, and no collector that wants cores.
  start_process kafka java -Xms256m -Xmx448m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true "${options[@]}" kafka.Kafka "$properties"
  wait_until_serving kafka 90 kafka_answers
}

# 16 bytes in base64 that a file name may have.
random_word() { head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c 1-22; }

# It listens before it has read its storage and may lead partitions; its log says when it has and may.
kafka_answers() { listens "$(port_of kafka)" && grep -q 'Kafka Server started' "$LOGS/kafka.log"; }

kafka_stop() { stop_process kafka TERM 60; }

kafka_kill() { stop_process kafka KILL 20; }

kafka_status() {
  local version='' address=''
  [[ ! -d $KAFKA_JARS ]] || version=$KAFKA_VERSION
  [[ -z $(port_of kafka) ]] || address=127.0.0.1:$(port_of kafka)
  status_line kafka "$version" "$address"
}

kafka_env() {
  [[ -n $(port_of kafka) ]] || return 0
  printf 'export SLIPWAY_STACK_KAFKA=%q\n' "127.0.0.1:$(port_of kafka)"
  printf 'export SLIPWAY_STACK_KAFKA_CLASSPATH=%q\n' "$KAFKA_JARS/*"
  # A Kafka that was started before there was such a listener has to be restarted.
  [[ -n $(port_of kafka-sasl) ]] || return 0
  printf 'export SLIPWAY_STACK_KAFKA_SASL=%q\n' "127.0.0.1:$(port_of kafka-sasl)"
  printf 'export SLIPWAY_STACK_KAFKA_PASSWORD_FILE=%q\n' "$KAFKA_PASSWORD"
}
