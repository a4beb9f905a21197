//! Pages of a listing: a size, and an opaque token that continues exactly the listing it came from.
//!
//! A token holds the position after which the next page begins, in a form that the store chooses, and a
//! digest of what was listed (parent, filter, order). A token that is used with another query is
//! refused, since it would skip or repeat rows. The digest is not a secret: a store must read the
//! position as hostile input.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The page size when a request does not say.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// The most that one page holds; a request for more gets this many.
pub const PAGE_SIZE_MAX: usize = 1000;
/// The most bytes of items that [`Page::cut_to_fit`] leaves on a page: half of what a client takes in one
/// message.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

const TOKEN_LENGTH_MAX: usize = 2048;
const BINDING_LENGTH: usize = 8;

/// Which part of a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    size: usize,
    after: Option<String>,
    binding: [u8; BINDING_LENGTH],
}

impl Page {
    /// Reads `page_size` and `page_token` of a request. `query` is everything else that decides what
    /// is listed and in which order, such as `[parent, filter, order_by]`.
    pub fn parse(page_size: i32, page_token: &str, query: &[&str]) -> Result<Self> {
        let size = match usize::try_from(page_size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
        };
        let binding = binding(query);
        let after = match page_token {
            "" => None,
            token => Some(position(token, &binding)?),
        };
        Ok(Self {
            size,
            after,
            binding,
        })
    }

    /// How many items the page holds at most.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many rows to read, as a SQL limit: one more than the page, to see whether there are more.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX - 1) + 1
    }

    /// The position after which the page begins; `None` for the first page.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The token of the page that begins after `position`.
    pub fn token(&self, position: &str) -> String {
        let mut bytes = self.binding.to_vec();
        bytes.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Cuts rows that were read with [`Page::limit`] to the page, and gives the next page's token:
    /// empty when this is the last one. `position` is that of an item, as the store will read it.
    pub fn cut<T>(&self, mut rows: Vec<T>, position: impl Fn(&T) -> String) -> (Vec<T>, String) {
        if rows.len() <= self.size {
            return (rows, String::new());
        }
        rows.truncate(self.size);
        let token = rows
            .last()
            .map(|last| self.token(&position(last)))
            .unwrap_or_default();
        (rows, token)
    }

    /// [`Page::cut`] for items that may be large: the page also ends before [`PAGE_BYTES_MAX`], though not
    /// before its first item. `bytes` is what an item takes in the answer.
    pub fn cut_to_fit<T>(
        &self,
        rows: Vec<T>,
        bytes: impl Fn(&T) -> usize,
        position: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let mut sum = 0;
        let fitting = rows.iter().take_while(|row| {
            sum += bytes(row);
            sum <= PAGE_BYTES_MAX
        });
        let size = fitting.count().clamp(1, self.size);
        let page = Self {
            size,
            ..self.clone()
        };
        page.cut(rows, position)
    }
}

fn binding(query: &[&str]) -> [u8; BINDING_LENGTH] {
    let mut hash = Sha256::new();
    for part in query {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let sum = hash.finalize();
    let mut short = [0; BINDING_LENGTH];
    short.copy_from_slice(&sum[..BINDING_LENGTH]);
    short
}

fn position(token: &str, binding: &[u8; BINDING_LENGTH]) -> Result<String> {
    let unreadable = || Error::invalid("page_token", "is not a token that this service gave");
    if token.len() > TOKEN_LENGTH_MAX {
        return Err(unreadable());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| unreadable())?;
    let (found, position) = bytes
        .split_at_checked(BINDING_LENGTH)
        .ok_or_else(unreadable)?;
    if found != binding {
        let reason =
            "belongs to another listing; repeat the parent, filter and order of the first page";
        return Err(Error::invalid("page_token", reason));
    }
    String::from_utf8(position.to_vec()).map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUERY: &[&str] = &["workspaces/dev", "state = READY", "create_time desc"];

    #[test]
    fn the_size_has_a_default_and_a_limit() {
        assert_eq!(Page::parse(0, "", QUERY).unwrap().size(), 50);
        assert_eq!(Page::parse(7, "", QUERY).unwrap().limit(), 8);
        assert_eq!(Page::parse(i32::MAX, "", QUERY).unwrap().size(), 1000);
        assert!(Page::parse(-1, "", QUERY).is_err());
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let all: Vec<u32> = (0..10).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = Page::parse(4, &token, QUERY).unwrap();
            let after: Option<u32> = page.after().map(|p| p.parse().unwrap());
            let limit = usize::try_from(page.limit()).unwrap();
            let rows = all
                .iter()
                .copied()
                .filter(|n| after.is_none_or(|a| *n > a))
                .take(limit)
                .collect();
            let (items, next) = page.cut(rows, u32::to_string);
            seen.extend(items);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_page_of_large_items_ends_early_and_is_continued() {
        let page = |token: &str| Page::parse(3, token, QUERY).unwrap();
        let cut = |rows: &[usize], token: &str| {
            page(token).cut_to_fit(rows.to_vec(), |bytes| *bytes, usize::to_string)
        };
        assert_eq!(cut(&[1, 2, 3], ""), (vec![1, 2, 3], String::new()));
        assert_eq!(cut(&[1, 2, 3, 4], "").0, [1, 2, 3]);
        let (items, token) = cut(&[PAGE_BYTES_MAX - 1, 1, 1, 1], "");
        assert_eq!(items, [PAGE_BYTES_MAX - 1, 1]);
        assert_eq!(page(&token).after(), Some("1"));
        let (items, token) = cut(&[PAGE_BYTES_MAX * 2, 1], "");
        assert_eq!(items, [PAGE_BYTES_MAX * 2], "at least one");
        assert!(!token.is_empty());
        assert_eq!(cut(&[], ""), (vec![], String::new()));
    }

    #[test]
    fn a_token_is_bound_to_its_query() {
        let token = Page::parse(1, "", QUERY).unwrap().token("17");
        assert_eq!(Page::parse(9, &token, QUERY).unwrap().after(), Some("17"));
        for other in [
            &["workspaces/dev", "state = READY", ""][..],
            &["workspaces/devstate = READY", "", ""],
            &[],
        ] {
            assert!(Page::parse(1, &token, other).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_token_panics(token in any::<String>()) {
            let _ = Page::parse(1, &token, QUERY);
        }

        #[test]
        fn any_position_comes_back(position in "\\PC{0,200}") {
            let page = Page::parse(1, "", QUERY).unwrap();
            let back = Page::parse(1, &page.token(&position), QUERY).unwrap();
            prop_assert_eq!(back.after(), Some(position.as_str()));
        }
    }
}
