-- Suites. A removed one stays as a row, so that its revisions go on when it is made again.
CREATE TABLE suites (
    name TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL,
    revision BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX suites_by_workspace ON suites (workspace, removed, name);

-- Evaluations. The document is the whole record; the columns are what is searched.
CREATE TABLE evaluations (
    name TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL,
    version TEXT NOT NULL,
    version_digest TEXT NOT NULL,
    suite TEXT NOT NULL,
    state TEXT NOT NULL,
    verdict TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    -- A queued one is not begun before this.
    not_before BIGINT NOT NULL,
    -- When the passing of time changes it; 0: never.
    due_time BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    document BYTES NOT NULL
);

CREATE INDEX evaluations_by_workspace ON evaluations (workspace, create_time, name);
CREATE INDEX evaluations_by_state ON evaluations (state, not_before, create_time);
CREATE INDEX evaluations_by_version ON evaluations (version, create_time);
