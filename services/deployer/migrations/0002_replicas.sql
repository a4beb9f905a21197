-- Several replicas over one database. Additive: replicas of the version before go on meanwhile.

-- Who does the work, until when by the database's clock; '' and 0: nobody. `number` is the revision that the
-- work is on, 0 if it is on none; `bound` is 1 when only the revision's node can do it.
ALTER TABLE work ADD COLUMN claimed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE work ADD COLUMN claimed_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN bound BIGINT NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN asked_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';
CREATE INDEX work_by_claim ON work (claimed_by);

-- The node whose deployer has started what the revision runs; '' when nothing of it belongs to a node.
ALTER TABLE revisions ADD COLUMN node TEXT NOT NULL DEFAULT '';

-- The trace that a rollout belongs to, and the one that an endpoint's present routes come from.
ALTER TABLE rollouts ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN routes_traceparent TEXT NOT NULL DEFAULT '';

-- Proxies, as the replica knows them that holds, or held, their stream; whoever takes one over raises `turn`.
-- `version` is the value of the signal `proxies` when the row last changed.
CREATE TABLE proxies (
    node_id TEXT NOT NULL PRIMARY KEY,
    replica TEXT NOT NULL,
    turn BIGINT NOT NULL,
    connected BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    acked_version BIGINT NOT NULL,
    nack TEXT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX proxies_by_version ON proxies (version);

-- The generation of each endpoint's routes that a proxy has accepted, and since when.
CREATE TABLE proxy_generations (
    node_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    generation BIGINT NOT NULL,
    accepted_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (node_id, endpoint)
);
CREATE INDEX proxy_generations_by_version ON proxy_generations (version);

INSERT INTO signals (name, value) VALUES ('proxies', 0);
