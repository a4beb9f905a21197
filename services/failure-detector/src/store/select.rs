//! A SELECT whose conditions are put together at run time, with numbered placeholders and bound values.

use slipway_platform::Result;
use sqlx::{AnyConnection, AssertSqlSafe, FromRow, any::AnyRow};

/// Conditions over columns that the code names; values are always bound.
#[derive(Debug)]
pub(super) struct Select {
    sql: String,
    values: Vec<String>,
}

impl Select {
    /// Begins with `SELECT … FROM table`.
    pub(super) fn from(select: &'static str) -> Self {
        Self {
            sql: format!("{select} WHERE 1 = 1"),
            values: Vec::new(),
        }
    }

    /// `AND column operator value`.
    pub(super) fn and(
        &mut self,
        column: &'static str,
        operator: &'static str,
        value: impl Into<String>,
    ) {
        self.values.push(value.into());
        self.sql
            .push_str(&format!(" AND {column} {operator} ${}", self.values.len()));
    }

    /// `AND condition`.
    pub(super) fn and_that(&mut self, condition: &'static str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
    }

    /// The first `limit` rows in this order.
    pub(super) async fn fetch<R>(
        mut self,
        conn: &mut AnyConnection,
        order: &'static str,
        limit: i64,
    ) -> Result<Vec<R>>
    where
        R: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        self.sql.push_str(&format!(
            " ORDER BY {order} LIMIT ${}",
            self.values.len() + 1
        ));
        let mut query = sqlx::query_as(AssertSqlSafe(self.sql));
        for value in self.values {
            query = query.bind(value);
        }
        Ok(query.bind(limit).fetch_all(conn).await?)
    }
}
