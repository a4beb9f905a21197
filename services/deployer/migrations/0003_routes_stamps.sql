-- What tells one history of the routes from another. Additive: replicas of the version before go on meanwhile.

-- A random word for each of the latest values of the signal `routes`. A commit that a failover has lost, and another
-- one that was made under the same value since, have different ones.
CREATE TABLE routes_stamps (
    version BIGINT NOT NULL PRIMARY KEY,
    stamp TEXT NOT NULL
);
