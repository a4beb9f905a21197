-- The embedded event log. Only ever SQLite, which numbers `position` by itself and never reuses one.
CREATE TABLE event_log (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    event_key TEXT NOT NULL,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    subject TEXT NOT NULL,
    time BIGINT NOT NULL,
    traceparent TEXT,
    data BYTES NOT NULL,
    appended_at BIGINT NOT NULL
);

CREATE INDEX event_log_by_topic ON event_log (topic, position);
CREATE INDEX event_log_by_age ON event_log (appended_at);

CREATE TABLE event_log_groups (
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (consumer, topic)
);
