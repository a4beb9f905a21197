-- What the failure-detector keeps. Times are microseconds UTC; documents are protobuf bytes.

-- One row per subject under judgement: its evidence, checkpointed every second.
CREATE TABLE watches (
    watch_key TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX watches_updated ON watches (updated_at);

-- Decisions that a candidate is degraded, with everything that they rest on. Never changed.
CREATE TABLE decisions (
    id TEXT NOT NULL PRIMARY KEY,
    watch_key TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    revision TEXT NOT NULL,
    code TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX decisions_decided ON decisions (decided_at);

-- Alerts. While one is open, open_key keeps a second one of the same anomaly out.
CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    environment TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    revision TEXT NOT NULL,
    code TEXT NOT NULL,
    state TEXT NOT NULL,
    open_key TEXT UNIQUE,
    silenced_until BIGINT,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    generation BIGINT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX alerts_endpoint ON alerts (environment, endpoint, id);
CREATE INDEX alerts_silenced ON alerts (silenced_until) WHERE silenced_until IS NOT NULL;

-- Notification channels, their secrets included.
CREATE TABLE channels (
    id TEXT NOT NULL PRIMARY KEY,
    updated_at BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    document BYTES NOT NULL
);

-- Notifications on their way: the queue, and for a while what became of them.
CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'QUEUED';
CREATE INDEX deliveries_channel ON deliveries (channel, id);
CREATE INDEX deliveries_created ON deliveries (created_at);
