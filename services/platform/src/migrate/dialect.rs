//! The few words in which the two databases differ.

use crate::db::BYTES;

/// A comment, and on PostgreSQL nothing.
const POSTGRES_ONLY: &str = "-- postgres: ";

/// Which database runs the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded default.
    Sqlite,
    /// For replicas.
    Postgres,
}

impl Dialect {
    /// Replaces the words that are types by the dialect's: `BYTES`, and on PostgreSQL `TEXT`, so that text
    /// is in the order of its bytes on both. What follows `-- postgres: ` on a line is for PostgreSQL alone;
    /// other comments, and quoted text, stay as they are.
    pub fn translate(self, sql: &str) -> String {
        let mut out = String::with_capacity(sql.len());
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            if self == Dialect::Postgres
                && let Some(ours) = rest.strip_prefix(POSTGRES_ONLY)
            {
                rest = ours;
                continue;
            }
            let length = if rest.starts_with("--") {
                rest.find('\n').unwrap_or(rest.len())
            } else if first == '\'' || first == '"' {
                rest[1..].find(first).map_or(rest.len(), |at| at + 2)
            } else if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (piece, after) = rest.split_at(length);
            out.push_str(self.word(piece));
            rest = after;
        }
        out
    }

    fn word(self, word: &str) -> &str {
        match (self, word) {
            (Dialect::Sqlite, BYTES) => "BLOB",
            (Dialect::Postgres, BYTES) => "BYTEA",
            (Dialect::Postgres, "TEXT") => "TEXT COLLATE \"C\"",
            _ => word,
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_be_for_postgres_alone() {
        let sql = "-- postgres: CREATE SEQUENCE s; -- TEXT\n-- postgresql: no\n";
        assert_eq!(
            Dialect::Postgres.translate(sql),
            "CREATE SEQUENCE s; -- TEXT\n-- postgresql: no\n"
        );
        assert_eq!(Dialect::Sqlite.translate(sql), sql);
    }

    #[test]
    fn types_are_replaced_as_words_only() {
        let sql = "-- BYTES and TEXT, it's a comment\n\
                   CREATE TABLE t (a BYTES, size_BYTES BIGINT, BYTES_2 TEXT, b BYTES NOT NULL, c TEXT DEFAULT 'a TEXT''s')";
        assert_eq!(
            Dialect::Postgres.translate(sql),
            "-- BYTES and TEXT, it's a comment\n\
             CREATE TABLE t (a BYTEA, size_BYTES BIGINT, BYTES_2 TEXT COLLATE \"C\", b BYTEA NOT NULL, c TEXT COLLATE \"C\" DEFAULT 'a TEXT''s')"
        );
        assert!(
            Dialect::Sqlite
                .translate(sql)
                .contains("(a BLOB, size_BYTES BIGINT, BYTES_2 TEXT, b BLOB")
        );
    }
}
