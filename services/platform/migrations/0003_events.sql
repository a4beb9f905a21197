-- Numbers of publication, and what consumers could not handle.

-- 1, 2, 3 … in the order of publication, given in the transaction that marks a row as published. Without
-- gaps, so that who has seen one number knows whether anything came in between.
ALTER TABLE slipway_outbox ADD COLUMN published BIGINT;

-- Up to here rows were published in the order of their positions, which had no gaps.
UPDATE slipway_outbox SET published = position WHERE published_at IS NOT NULL;

CREATE UNIQUE INDEX slipway_outbox_numbers ON slipway_outbox (published) WHERE published IS NOT NULL;

-- ('outbox published') is the newest number, ('outbox deleted') the newest that the retention deleted.
INSERT INTO slipway_counters (name, value)
SELECT 'outbox published', value - (SELECT COUNT(*) FROM slipway_outbox WHERE published_at IS NULL)
FROM slipway_counters WHERE name = 'outbox';

INSERT INTO slipway_counters (name, value)
SELECT 'outbox deleted', COALESCE((SELECT MIN(position) - 1 FROM slipway_outbox), value)
FROM slipway_counters WHERE name = 'outbox';

-- Positions on a database where transactions run side by side: taken without waiting for anybody.
-- postgres: CREATE SEQUENCE slipway_outbox_positions;
-- postgres: SELECT setval('slipway_outbox_positions', value + 1) FROM slipway_counters WHERE name = 'outbox';

-- What a consumer group could not handle: an event, or (malformed = 1) a message that is none, of which
-- only topic, key, headers and data are known.
CREATE TABLE slipway_dead_letters (
    id TEXT NOT NULL PRIMARY KEY,
    consumer TEXT NOT NULL,
    malformed BIGINT NOT NULL,
    topic TEXT NOT NULL,
    event_key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    subject TEXT NOT NULL,
    time BIGINT NOT NULL,
    traceparent TEXT,
    headers BYTES NOT NULL,
    data BYTES NOT NULL,
    reason TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    failed_at BIGINT NOT NULL,
    replayed_at BIGINT
);

CREATE INDEX slipway_dead_letters_created ON slipway_dead_letters (created_at);
