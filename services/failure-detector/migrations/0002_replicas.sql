-- Several replicas over one database.

-- One row per endpoint that a replica judges or has judged: who may write, and up to where the other replicas' books
-- are in the stored evidence. Empty on a database that one process has to itself.
CREATE TABLE judges (
    endpoint TEXT NOT NULL PRIMARY KEY,
    -- Of the lease under which it was taken; what is written under an older one is refused.
    epoch BIGINT NOT NULL,
    -- 1 while a replica judges it, and still when that replica was lost. 2: handed over to the next. 0: nobody watches.
    judging BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX judges_judging ON judges (endpoint) WHERE judging > 0;
CREATE INDEX judges_updated ON judges (updated_at);

CREATE INDEX watches_endpoint ON watches (endpoint);

-- Counts the changes of alerts. The row is locked until the commit, so that the numbers become visible in order.
CREATE TABLE alert_changes (
    id BIGINT NOT NULL PRIMARY KEY,
    changes BIGINT NOT NULL
);

INSERT INTO alert_changes (id, changes) VALUES (1, 0);

-- The number of the alert's last change, so that every replica can read what is new.
ALTER TABLE alerts ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;

CREATE INDEX alerts_changed ON alerts (changed);
