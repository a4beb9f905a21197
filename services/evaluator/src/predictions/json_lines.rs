//! JSON lines: one object a line, of which the wanted keys are taken and the others passed over. Empty
//! lines are passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::Problem;
use super::lines::Lines;
use super::slots::{Slot, Slots};
use super::source::{Source, SourceError};

/// Records of a stream of JSON lines.
#[derive(Debug)]
pub struct JsonRecords<S> {
    lines: Lines<S>,
    wanted: Vec<String>,
}

impl<S: Source> JsonRecords<S> {
    /// Reads the `wanted` keys.
    pub fn open(lines: Lines<S>, wanted: &[String]) -> Self {
        Self {
            lines,
            wanted: wanted.to_vec(),
        }
    }

    /// Reads the next record into `slots`, and gives the number of its line.
    pub fn next_record(&mut self, slots: &mut Slots) -> Result<Option<u64>, SourceError> {
        slots.clear(self.wanted.len());
        loop {
            let Some((number, line)) = self.lines.next_line()? else {
                return Ok(None);
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let record = Record {
                wanted: &self.wanted,
                slots,
            };
            let mut parser = serde_json::Deserializer::from_slice(line);
            let parsed = record.deserialize(&mut parser).and_then(|()| parser.end());
            return match parsed {
                Ok(()) => Ok(Some(number)),
                Err(error) => Err(SourceError::Problem(Problem::NotJson {
                    line: number,
                    why: format!("{} at column {}", kind(&error), error.column()),
                })),
            };
        }
    }
}

/// The parser's word for what is wrong, without the line number that it counts within the line.
fn kind(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

struct Record<'a> {
    wanted: &'a [String],
    slots: &'a mut Slots,
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(Key(self.wanted))? {
            match slot {
                Some(index) => map.next_value_seed(Value {
                    index,
                    slots: self.slots,
                })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Which wanted column a key is.
struct Key<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted == key))
    }
}

/// Puts a value into its slot.
struct Value<'a> {
    index: usize,
    slots: &'a mut Slots,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.slots.put(self.index, Slot::Bool(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.slots
            .put_text(self.index, value.to_string().as_bytes());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.slots
            .put_text(self.index, value.to_string().as_bytes());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.slots.put(self.index, Slot::Float(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.slots.put_text(self.index, value.as_bytes());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.slots.put(self.index, Slot::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.slots.put(self.index, Slot::Nested);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.slots.put(self.index, Slot::Nested);
        Ok(())
    }
}
