//! How large items of lists are, so that a page fits into one answer.

use serde::Serialize;
use slipway_platform::paging::Page;

/// Names, times and numbers of an item, besides what is measured.
const BESIDE: usize = 1_024;

/// Cuts rows to a page that fits into one answer; `document` is what makes an item large.
pub fn cut<T, D: Serialize>(
    page: &Page,
    rows: Vec<T>,
    document: impl Fn(&T) -> D,
    position: impl Fn(&T) -> String,
) -> (Vec<T>, String) {
    // A message is smaller than the same as JSON, which names every field.
    let bytes = |row: &T| {
        let document = serde_json::to_vec(&document(row));
        BESIDE + document.map_or(0, |document| document.len())
    };
    page.cut_to_fit(rows, bytes, position)
}
