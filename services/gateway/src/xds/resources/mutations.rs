//! Header changes.

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use http::header::HeaderName;

use super::Scope;
use crate::routing::{Append, Mutation, Mutations, Template};

/// The four lists of header changes that every level has.
pub struct Lists<'a> {
    pub request_add: &'a [HeaderValueOption],
    pub request_remove: &'a [String],
    pub response_add: &'a [HeaderValueOption],
    pub response_remove: &'a [String],
}

/// Reads the header changes of one level.
pub fn mutations(lists: Lists<'_>, scope: &mut Scope<'_>) -> Mutations {
    Mutations {
        request_add: additions(lists.request_add, "request_headers_to_add", scope),
        request_remove: names(lists.request_remove, "request_headers_to_remove", scope),
        response_add: additions(lists.response_add, "response_headers_to_add", scope),
        response_remove: names(lists.response_remove, "response_headers_to_remove", scope),
    }
}

fn additions(options: &[HeaderValueOption], field: &str, scope: &mut Scope<'_>) -> Vec<Mutation> {
    options
        .iter()
        .filter_map(|option| addition(option, field, scope))
        .collect()
}

#[allow(deprecated)]
fn addition(option: &HeaderValueOption, field: &str, scope: &mut Scope<'_>) -> Option<Mutation> {
    let Some(header) = &option.header else {
        scope.refuse(field, "has an entry without a header");
        return None;
    };
    if !header.raw_value.is_empty() {
        scope.refuse(
            field,
            format_args!("{:?} has a raw_value, which is not supported", header.key),
        );
    }
    let append = match (
        option.append,
        HeaderAppendAction::try_from(option.append_action),
    ) {
        (Some(append), _) if !append.value => Append::Overwrite,
        (_, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Append::Always,
        (_, Ok(HeaderAppendAction::AddIfAbsent)) => Append::IfAbsent,
        (_, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => Append::Overwrite,
        (_, Ok(HeaderAppendAction::OverwriteIfExists)) => Append::OverwriteIfPresent,
        (_, Err(_)) => {
            scope.refuse(
                field,
                format_args!("{:?} has an unknown append_action", header.key),
            );
            return None;
        }
    };
    let value = Template::parse(&header.value)
        .inspect_err(|error| scope.refuse(field, format_args!("{:?} {error}", header.key)))
        .ok()?;
    let name = name(&header.key, field, scope)?;
    Some(Mutation {
        name,
        value,
        append,
        keep_empty: option.keep_empty_value,
    })
}

fn names(texts: &[String], field: &str, scope: &mut Scope<'_>) -> Vec<HeaderName> {
    texts
        .iter()
        .filter_map(|text| name(text, field, scope))
        .collect()
}

fn name(text: &str, field: &str, scope: &mut Scope<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() || text.eq_ignore_ascii_case("host") {
        scope.refuse(
            field,
            format_args!("{text:?} is not a header that can be changed"),
        );
    }
    name
}
