//! Filters of listings: a subset of AIP-160, `field = value AND tags.plant = "a b" AND create_time > "…"`.
//!
//! Terms are joined by `AND` only. A store says which fields there are and of which type, and turns the
//! checked terms into SQL. Bounded: 4,096 characters and 32 terms.

mod lexer;

use std::fmt;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use lexer::{Lexer, Token};

const FILTER_LENGTH_MAX: usize = 4096;
const TERMS_MAX: usize = 32;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Operator {
    /// The operator in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }

    /// Whether it needs an order.
    fn orders(self) -> bool {
        !matches!(self, Operator::Equal | Operator::NotEqual)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Operator::NotEqual {
            "!="
        } else {
            self.sql()
        })
    }
}

/// The type of a field that may be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Text, compared as it is.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Bool,
    /// An RFC 3339 time.
    Time,
    /// A map from text to text, of which one key is compared: `tags.plant = "x"`.
    Map,
}

/// A field that may be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name in the filter.
    pub name: &'static str,
    /// Its type.
    pub field_type: FieldType,
}

impl FieldSpec {
    /// A field of this name and type.
    pub const fn new(name: &'static str, field_type: FieldType) -> Self {
        Self { name, field_type }
    }
}

/// What a field is compared with, in the field's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a text, word or map field.
    Text(String),
    /// Of an integer field.
    Integer(i64),
    /// Of a boolean field.
    Bool(bool),
    /// Of a time field.
    Time(Timestamp),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The field, one of those that are allowed.
    pub field: &'static str,
    /// The key within a map field.
    pub key: Option<String>,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub value: Value,
}

/// Comparisons that must all hold. An empty filter lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The comparisons, in the order in which they were written.
    pub terms: Vec<Term>,
}

impl Filter {
    /// Reads a filter over the `allowed` fields. The violation names the field `filter`.
    pub fn parse(text: &str, allowed: &[FieldSpec]) -> Result<Self> {
        parse(text, allowed).map_err(|reason| Error::invalid("filter", reason))
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

fn parse(text: &str, allowed: &[FieldSpec]) -> Result<Filter, String> {
    if text.len() > FILTER_LENGTH_MAX {
        return Err(format!("must have at most {FILTER_LENGTH_MAX} characters"));
    }
    let mut lexer = Lexer::new(text);
    let mut filter = Filter::default();
    let Some(mut token) = lexer.next()? else {
        return Ok(filter);
    };
    loop {
        if filter.terms.len() == TERMS_MAX {
            return Err(format!("must have at most {TERMS_MAX} comparisons"));
        }
        filter.terms.push(term(token, &mut lexer, allowed)?);
        match lexer.next()? {
            None => return Ok(filter),
            Some(Token::Word(word)) if word == "AND" => {}
            Some(other) => {
                return Err(format!(
                    "expected AND, found {other}; only AND joins comparisons"
                ));
            }
        }
        token = lexer.next()?.ok_or("ends after AND")?;
    }
}

fn term(first: Token, lexer: &mut Lexer<'_>, allowed: &[FieldSpec]) -> Result<Term, String> {
    let Token::Word(path) = first else {
        return Err(format!("expected a field, found {first}"));
    };
    let (spec, key) = field(&path, allowed)?;
    let operator = match lexer.next()? {
        Some(Token::Operator(operator)) => operator,
        Some(other) => return Err(format!("expected an operator after {path}, found {other}")),
        None => return Err(format!("expected an operator after {path}")),
    };
    let raw = match lexer.next()? {
        Some(Token::Word(text) | Token::Quoted(text)) => text,
        Some(other) => {
            return Err(format!(
                "expected a value after {path} {operator}, found {other}"
            ));
        }
        None => return Err(format!("expected a value after {path} {operator}")),
    };
    if operator.orders() && !matches!(spec.field_type, FieldType::Integer | FieldType::Time) {
        return Err(format!("{path} has no order; use = or !="));
    }
    let value = value(&path, raw, spec.field_type)?;
    Ok(Term {
        field: spec.name,
        key,
        operator,
        value,
    })
}

fn field<'s>(
    path: &str,
    allowed: &'s [FieldSpec],
) -> Result<(&'s FieldSpec, Option<String>), String> {
    if let Some(spec) = allowed.iter().find(|spec| spec.name == path) {
        return match spec.field_type {
            FieldType::Map => Err(format!(
                "{path} is a map; compare one key of it, such as {path}.key"
            )),
            _ => Ok((spec, None)),
        };
    }
    let mapped = allowed.iter().find_map(|spec| {
        let key = path.strip_prefix(spec.name)?.strip_prefix('.')?;
        (spec.field_type == FieldType::Map && !key.is_empty()).then(|| (spec, Some(key.to_owned())))
    });
    mapped.ok_or_else(|| {
        let names: Vec<_> = allowed.iter().map(|spec| spec.name).collect();
        format!(
            "there is no field {path:?} to filter by; there are {}",
            names.join(", ")
        )
    })
}

fn value(path: &str, raw: String, field_type: FieldType) -> Result<Value, String> {
    match field_type {
        FieldType::Text | FieldType::Map => Ok(Value::Text(raw)),
        FieldType::Word(words) if words.contains(&raw.as_str()) => Ok(Value::Text(raw)),
        FieldType::Word(words) => Err(format!(
            "{path} is one of {}, not {raw:?}",
            words.join(", ")
        )),
        FieldType::Integer => match raw.parse() {
            Ok(number) => Ok(Value::Integer(number)),
            Err(_) => Err(format!("{path} is a whole number, not {raw:?}")),
        },
        FieldType::Bool => match raw.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("{path} is true or false, not {raw:?}")),
        },
        FieldType::Time => match raw.parse() {
            Ok(time) => Ok(Value::Time(time)),
            Err(error) => Err(format!("{path} {error}, not {raw:?}")),
        },
    }
}

#[cfg(test)]
mod tests;
