-- Tables of every service's database: outgoing events, seen events, answered requests.

-- Rows that are locked until commit and give gapless numbers: ('outbox') is the outbox's own order.
CREATE TABLE slipway_counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO slipway_counters (name, value) VALUES ('outbox', 0);

-- The newest sequence of each topic and key.
CREATE TABLE slipway_outbox_keys (
    topic TEXT NOT NULL,
    event_key TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (topic, event_key)
);

CREATE TABLE slipway_outbox (
    position BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    topic TEXT NOT NULL,
    event_key TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    subject TEXT NOT NULL,
    time BIGINT NOT NULL,
    traceparent TEXT,
    data BYTES NOT NULL,
    published_at BIGINT
);

CREATE INDEX slipway_outbox_waiting ON slipway_outbox (position) WHERE published_at IS NULL;
CREATE INDEX slipway_outbox_published ON slipway_outbox (published_at) WHERE published_at IS NOT NULL;

-- Which events had their effect, per consumer group.
CREATE TABLE slipway_inbox (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, source, id)
);

CREATE INDEX slipway_inbox_received ON slipway_inbox (received_at);

-- The newest sequence that a consumer group has seen of each source, topic and key.
CREATE TABLE slipway_inbox_sequences (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    topic TEXT NOT NULL,
    event_key TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (consumer, source, topic, event_key)
);

-- Answers to requests that carried a request id.
CREATE TABLE slipway_requests (
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BYTES NOT NULL,
    response BYTES NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (method, request_id)
);

CREATE INDEX slipway_requests_recorded ON slipway_requests (recorded_at);
