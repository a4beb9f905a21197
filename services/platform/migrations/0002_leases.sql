-- Which replica holds what, until when by the database's clock. Only on a database that replicas share.
-- A row stays when nobody holds it, so that `epoch` goes on.
CREATE TABLE slipway_leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    address TEXT NOT NULL,
    -- Rises with each change of hands.
    epoch BIGINT NOT NULL,
    -- 0: nobody holds it.
    expires_at BIGINT NOT NULL
);

-- The replicas that run, each until its heartbeats have been missing for too long.
CREATE TABLE slipway_replicas (
    id TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
