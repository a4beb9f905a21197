-- Models, versions, aliases and artifacts. Names are kept as their parts; documents are the API's messages.

CREATE TABLE models (
    workspace TEXT NOT NULL,
    model TEXT NOT NULL,
    generation BIGINT NOT NULL,
    -- The number of the newest version. Locked until commit, so numbers are dense.
    latest_version BIGINT NOT NULL,
    -- Counts every creation and change of a version of this model.
    changes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- slipway.registry.v1.Model: description and labels.
    document BYTES NOT NULL,
    PRIMARY KEY (workspace, model)
);

CREATE TABLE versions (
    workspace TEXT NOT NULL,
    model TEXT NOT NULL,
    number BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    -- The model's `changes` when this version was created or last changed.
    changed BIGINT NOT NULL,
    state TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- slipway.registry.v1.Version, whole.
    document BYTES NOT NULL,
    PRIMARY KEY (workspace, model, number),
    FOREIGN KEY (workspace, model) REFERENCES models (workspace, model)
);

CREATE INDEX versions_by_change ON versions (workspace, model, changed);
CREATE INDEX versions_by_time ON versions (workspace, created_at, model, number);
CREATE INDEX versions_by_digest ON versions (workspace, digest);

CREATE TABLE version_tags (
    workspace TEXT NOT NULL,
    model TEXT NOT NULL,
    number BIGINT NOT NULL,
    tag TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (workspace, model, number, tag),
    FOREIGN KEY (workspace, model, number) REFERENCES versions (workspace, model, number)
);

CREATE INDEX version_tags_by_value ON version_tags (workspace, model, tag, value);

CREATE TABLE aliases (
    workspace TEXT NOT NULL,
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    -- The number of its newest movement; goes on when the alias is removed and set again.
    generation BIGINT NOT NULL,
    -- The version's number; NULL when the alias was removed.
    number BIGINT,
    moved_at BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (workspace, model, alias),
    FOREIGN KEY (workspace, model, number) REFERENCES versions (workspace, model, number)
);

-- Append-only: every movement of every alias.
CREATE TABLE alias_movements (
    workspace TEXT NOT NULL,
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    generation BIGINT NOT NULL,
    number BIGINT,
    previous_number BIGINT,
    moved_at BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (workspace, model, alias, generation)
);

-- What was uploaded and verified. The bytes are in the artifact store, under the same digest.
CREATE TABLE artifacts (
    workspace TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, digest)
);
