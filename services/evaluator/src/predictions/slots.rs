//! The wanted columns of one record, in a buffer that is used again for the next.

use std::ops::Range;

/// What one wanted column of a record holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// The record has no such column.
    Absent,
    /// JSON's null.
    Null,
    /// Text, or a whole number as text; a range of the buffer.
    Text(Range<usize>),
    /// A number with a fraction.
    Float(f64),
    /// JSON's true or false.
    Bool(bool),
    /// A list or an object.
    Nested,
}

/// One record's wanted columns.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

impl Slots {
    /// Empties all `count` slots.
    pub fn clear(&mut self, count: usize) {
        self.bytes.clear();
        self.slots.clear();
        self.slots.resize(count, Slot::Absent);
    }

    /// Puts a value into slot `index`.
    pub fn put(&mut self, index: usize, value: Slot) {
        self.slots[index] = value;
    }

    /// Puts text into slot `index`.
    pub fn put_text(&mut self, index: usize, text: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        self.slots[index] = Slot::Text(start..self.bytes.len());
    }

    /// What slot `index` holds.
    pub fn get(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// The bytes of a text slot.
    pub fn text(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }
}
