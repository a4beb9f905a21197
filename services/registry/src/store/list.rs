//! Listing versions: a filter and an order as one SQL query with bound values.

use futures::TryStreamExt;
use prost::Message;
use slipway_platform::{
    Error, Result,
    filter::{FieldSpec, FieldType, Filter, Operator, Value},
    names::{ModelName, VersionName, WorkspaceName},
    paging::PAGE_BYTES_MAX,
};
use slipway_proto::registry::v1::Version;
use sqlx::{AnyConnection, AssertSqlSafe};

use crate::domain::labels;

/// What versions can be filtered by.
pub const FIELDS: &[FieldSpec] = &[
    FieldSpec::new("number", FieldType::Integer),
    FieldSpec::new(
        "state",
        FieldType::Word(&["ACTIVE", "ARCHIVED", "QUARANTINED"]),
    ),
    FieldSpec::new("digest", FieldType::Text),
    FieldSpec::new("create_time", FieldType::Time),
    FieldSpec::new("tags", FieldType::Map),
];

/// Whose versions are listed.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Of one model.
    Model(ModelName),
    /// Of every model in a workspace.
    Workspace(WorkspaceName),
}

/// The column that leads the order; model and number follow, so that the order is total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderBy {
    /// By number.
    Number,
    /// By the time of creation.
    CreateTime,
}

/// An order with its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What leads.
    pub by: OrderBy,
    /// Newest first.
    pub descending: bool,
}

impl Order {
    /// Parses `order_by`: `number` or `create_time`, perhaps with ` desc`; empty means `number desc`.
    pub fn parse(text: &str) -> Result<Order> {
        let mut words = text.split_ascii_whitespace();
        let by = match words.next() {
            None => {
                return Ok(Order {
                    by: OrderBy::Number,
                    descending: true,
                });
            }
            Some("number") => OrderBy::Number,
            Some("create_time") => OrderBy::CreateTime,
            Some(_) => return Err(wrong_order()),
        };
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(wrong_order()),
        };
        if words.next().is_some() {
            return Err(wrong_order());
        }
        Ok(Order { by, descending })
    }
}

fn wrong_order() -> Error {
    Error::invalid(
        "order_by",
        "must be number or create_time, each perhaps followed by desc",
    )
}

/// Where a page begins: after this row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    leading: i64,
    model: String,
    number: i64,
}

impl After {
    /// Parses a position that [`position`] wrote.
    pub fn parse(text: &str) -> Result<After> {
        let wrong = || Error::invalid("page_token", "is not a token that this service gave");
        let mut parts = text.splitn(3, ' ');
        let mut number = || {
            parts
                .next()
                .and_then(|part| part.parse().ok())
                .ok_or_else(wrong)
        };
        let (leading, number) = (number()?, number()?);
        Ok(After {
            leading,
            number,
            model: parts.next().ok_or_else(wrong)?.to_owned(),
        })
    }
}

/// The position of a listed version.
pub fn position(order: Order, version: &Version) -> String {
    let leading = match order.by {
        OrderBy::Number => version.number,
        OrderBy::CreateTime => version
            .create_time
            .as_ref()
            .map_or(0, |t| slipway_platform::clock::Timestamp::from_proto(t).0),
    };
    let model = version
        .name
        .parse::<VersionName>()
        .map(|name| name.model().id().to_owned())
        .unwrap_or_default();
    format!("{leading} {} {model}", version.number)
}

/// Reads the versions in `scope` that pass `filter`, in `order`, after `after`. Stops after the first one
/// with which they are larger than a page, so that a page of large versions is not read many times over.
pub async fn versions(
    conn: &mut AnyConnection,
    scope: &Scope,
    filter: &Filter,
    order: Order,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<Version>> {
    let mut query = Query::new();
    match scope {
        Scope::Model(model) => {
            query.condition(
                "workspace =",
                Bound::Text(model.workspace().id().to_owned()),
            );
            query.condition("model =", Bound::Text(model.id().to_owned()));
        }
        Scope::Workspace(workspace) => {
            query.condition("workspace =", Bound::Text(workspace.id().to_owned()))
        }
    }
    for term in &filter.terms {
        query.term(term.field, term.key.as_deref(), term.operator, &term.value)?;
    }
    let leading = match order.by {
        OrderBy::Number => "number",
        OrderBy::CreateTime => "created_at",
    };
    let (direction, beyond) = if order.descending {
        ("DESC", "<")
    } else {
        ("ASC", ">")
    };
    if let Some(after) = after {
        let leading_at = query.bind(Bound::Integer(after.leading));
        let model_at = query.bind(Bound::Text(after.model.clone()));
        let number_at = query.bind(Bound::Integer(after.number));
        query.and(&format!(
            "({leading}, model, number) {beyond} ({leading_at}, {model_at}, {number_at})"
        ));
    }
    let limit_at = query.bind(Bound::Integer(limit));
    let sql = format!(
        "SELECT document FROM versions WHERE {} ORDER BY {leading} {direction}, model {direction}, \
         number {direction} LIMIT {limit_at}",
        query.conditions
    );
    let mut statement = sqlx::query_as::<_, (Vec<u8>,)>(AssertSqlSafe(sql));
    for bound in query.bounds {
        statement = match bound {
            Bound::Text(text) => statement.bind(text),
            Bound::Integer(integer) => statement.bind(integer),
        };
    }
    let mut rows = statement.fetch(conn);
    let (mut versions, mut bytes) = (Vec::new(), 0);
    while (bytes <= PAGE_BYTES_MAX || versions.len() < 2)
        && let Some((document,)) = rows.try_next().await?
    {
        bytes += document.len();
        versions.push(Version::decode(document.as_slice()).map_err(super::corrupt)?);
    }
    Ok(versions)
}

enum Bound {
    Text(String),
    Integer(i64),
}

/// Conditions made of literal SQL and placeholders only; what a client sent is always bound.
struct Query {
    conditions: String,
    bounds: Vec<Bound>,
}

impl Query {
    fn new() -> Self {
        Self {
            conditions: String::new(),
            bounds: Vec::new(),
        }
    }

    fn bind(&mut self, bound: Bound) -> String {
        self.bounds.push(bound);
        format!("${}", self.bounds.len())
    }

    fn and(&mut self, condition: &str) {
        if !self.conditions.is_empty() {
            self.conditions.push_str(" AND ");
        }
        self.conditions.push_str(condition);
    }

    fn condition(&mut self, left: &'static str, bound: Bound) {
        let at = self.bind(bound);
        self.and(&format!("{left} {at}"));
    }

    fn term(
        &mut self,
        field: &str,
        key: Option<&str>,
        operator: Operator,
        value: &Value,
    ) -> Result<()> {
        let bound = match value {
            Value::Text(text) => Bound::Text(text.clone()),
            Value::Integer(integer) => Bound::Integer(*integer),
            Value::Time(time) => Bound::Integer(time.0),
            Value::Bool(_) => {
                return Err(Error::invalid(
                    "filter",
                    "no field of a version is a truth value",
                ));
            }
        };
        if let Some(key) = key {
            return self.tag(key, operator, bound);
        }
        let column = match field {
            "number" => "number",
            "state" => "state",
            "digest" => "digest",
            "create_time" => "created_at",
            _ => return Err(Error::invalid("filter", "no such field")),
        };
        let at = self.bind(bound);
        self.and(&format!("{column} {} {at}", operator.sql()));
        Ok(())
    }

    /// A version without the tag passes `!=`, and does not pass `=`.
    fn tag(&mut self, key: &str, operator: Operator, value: Bound) -> Result<()> {
        if !labels::is_key(key) {
            return Err(Error::invalid(
                "filter",
                format!("tags.{key}: no tag can have this key"),
            ));
        }
        let key_at = self.bind(Bound::Text(key.to_owned()));
        let value_at = self.bind(value);
        let not = if operator == Operator::NotEqual {
            "NOT "
        } else {
            ""
        };
        self.and(&format!(
            "{not}EXISTS (SELECT 1 FROM version_tags t WHERE t.workspace = versions.workspace \
             AND t.model = versions.model AND t.number = versions.number AND t.tag = {key_at} \
             AND t.value = {value_at})"
        ));
        Ok(())
    }
}
