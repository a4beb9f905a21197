-- What the deployer owns. Times are microseconds UTC. Documents are JSON of the domain's types, beside the
-- columns that are searched.

CREATE TABLE environments (
    name TEXT NOT NULL PRIMARY KEY,
    description TEXT NOT NULL,
    evidence TEXT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- `settings` is what people set, with `generation`; `serving` is what decisions change, with
-- `serving_generation`. `routes_version` is the value of the signal `routes` when they last changed.
CREATE TABLE endpoints (
    name TEXT NOT NULL PRIMARY KEY,
    environment TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    generation BIGINT NOT NULL,
    serving TEXT NOT NULL,
    serving_generation BIGINT NOT NULL,
    last_revision BIGINT NOT NULL,
    routes_version BIGINT NOT NULL,
    pin_expires_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX endpoints_by_environment ON endpoints (environment, name);
CREATE INDEX endpoints_by_model ON endpoints (model);
CREATE INDEX endpoints_by_routes ON endpoints (routes_version);
CREATE INDEX endpoints_by_pin ON endpoints (pin_expires_at);

-- `facts` never changes.
CREATE TABLE revisions (
    endpoint TEXT NOT NULL,
    number BIGINT NOT NULL,
    version TEXT NOT NULL,
    version_digest TEXT NOT NULL,
    facts TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT NOT NULL,
    addresses TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (endpoint, number)
);
CREATE INDEX revisions_by_digest ON revisions (endpoint, version_digest);
CREATE INDEX revisions_by_state ON revisions (state);

CREATE TABLE revision_tags (
    endpoint TEXT NOT NULL,
    tag TEXT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (endpoint, tag)
);

-- Every generation that there was. Never changed but for `applied_at`.
CREATE TABLE traffic (
    endpoint TEXT NOT NULL,
    generation BIGINT NOT NULL,
    targets TEXT NOT NULL,
    pin TEXT,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    rollout TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    applied_at BIGINT,
    PRIMARY KEY (endpoint, generation)
);

-- The newest generation of an endpoint, until every proxy has accepted it.
CREATE TABLE traffic_awaited (
    endpoint TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);

-- `state` is the machine's; `about` is who asked for it and on what evidence. `tick_at` is the deadline that
-- the timer turns into a Tick; `followed` the traffic generation that proxies or the failure-detector are
-- asked about.
CREATE TABLE rollouts (
    name TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    environment TEXT NOT NULL,
    candidate BIGINT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    about TEXT NOT NULL,
    phase TEXT NOT NULL,
    ended BIGINT NOT NULL,
    tick_at BIGINT,
    followed BIGINT,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX rollouts_by_endpoint ON rollouts (endpoint, ended, name);
CREATE INDEX rollouts_by_environment ON rollouts (environment, name);
CREATE INDEX rollouts_by_tick ON rollouts (tick_at);
CREATE INDEX rollouts_by_end ON rollouts (ended, name);

CREATE TABLE blocks (
    name TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    version_digest TEXT NOT NULL,
    revision TEXT NOT NULL,
    version TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    lifted_at BIGINT,
    lifted_by_kind TEXT NOT NULL,
    lifted_by_name TEXT NOT NULL,
    lift_reason TEXT NOT NULL
);
CREATE INDEX blocks_by_endpoint ON blocks (endpoint, name);

CREATE TABLE rules (
    name TEXT NOT NULL PRIMARY KEY,
    event_type TEXT NOT NULL,
    rule TEXT NOT NULL,
    generation BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Why each rule did or did not act on an event.
CREATE TABLE explanations (
    event_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    matched BIGINT NOT NULL,
    acted BIGINT NOT NULL,
    code TEXT NOT NULL,
    text TEXT NOT NULL,
    rollout TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    PRIMARY KEY (event_id, rule, endpoint)
);
CREATE INDEX explanations_by_time ON explanations (decided_at);

-- Alerts that fire, as far as the failure-detector told.
CREATE TABLE alerts (
    name TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    revision TEXT NOT NULL,
    started_at BIGINT NOT NULL
);
CREATE INDEX alerts_by_endpoint ON alerts (endpoint);

-- Append-only.
CREATE TABLE audit (
    sequence BIGINT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    text TEXT NOT NULL,
    cause TEXT NOT NULL
);
CREATE INDEX audit_by_resource ON audit (resource, sequence);

-- What a worker has to do. The same work asked for again while it is being done raises `version`, so that
-- it is done once more.
CREATE TABLE work (
    id TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    rollout TEXT NOT NULL,
    body TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX work_by_time ON work (not_before);

-- Counters that rise in the transaction of a change, so that whoever waits for such changes sees it.
CREATE TABLE signals (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO signals (name, value) VALUES ('routes', 1);
INSERT INTO signals (name, value) VALUES ('rollouts', 1);
INSERT INTO signals (name, value) VALUES ('work', 1);
INSERT INTO signals (name, value) VALUES ('audit', 0);
