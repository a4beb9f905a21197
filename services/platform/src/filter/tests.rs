use proptest::prelude::*;

use super::*;

const FIELDS: &[FieldSpec] = &[
    FieldSpec::new("name", FieldType::Text),
    FieldSpec::new("state", FieldType::Word(&["READY", "ARCHIVED"])),
    FieldSpec::new("number", FieldType::Integer),
    FieldSpec::new("pinned", FieldType::Bool),
    FieldSpec::new("create_time", FieldType::Time),
    FieldSpec::new("tags", FieldType::Map),
];

fn one(text: &str) -> Term {
    let filter = Filter::parse(text, FIELDS).unwrap();
    assert_eq!(filter.terms.len(), 1, "{text}");
    filter.terms[0].clone()
}

fn term(field: &'static str, key: Option<&str>, operator: Operator, value: Value) -> Term {
    Term {
        field,
        key: key.map(str::to_owned),
        operator,
        value,
    }
}

#[test]
fn each_type_of_field_is_read_in_its_type() {
    use Operator::*;
    let text = |t: &str| Value::Text(t.to_owned());
    assert_eq!(
        one("name = workspaces/dev/models/m"),
        term("name", None, Equal, text("workspaces/dev/models/m"))
    );
    assert_eq!(
        one("name=\"a \\\"b\\\" \\\\\""),
        term("name", None, Equal, text("a \"b\" \\"))
    );
    assert_eq!(
        one("state != READY"),
        term("state", None, NotEqual, text("READY"))
    );
    assert_eq!(
        one("number>=-3"),
        term("number", None, GreaterOrEqual, Value::Integer(-3))
    );
    assert_eq!(
        one(" pinned = true "),
        term("pinned", None, Equal, Value::Bool(true))
    );
    assert_eq!(
        one("create_time < 1970-01-01T00:00:01Z"),
        term("create_time", None, Less, Value::Time(Timestamp(1_000_000)))
    );
    assert_eq!(
        one("tags.plant.id = \"x y\""),
        term("tags", Some("plant.id"), Equal, text("x y"))
    );
    assert_eq!(one("name = \"\""), term("name", None, Equal, text("")));
}

#[test]
fn terms_are_joined_by_and() {
    let filter = Filter::parse("state = READY AND tags.a = b AND number < 5", FIELDS).unwrap();
    assert_eq!(
        filter.terms.iter().map(|t| t.field).collect::<Vec<_>>(),
        ["state", "tags", "number"]
    );
    assert!(Filter::parse("", FIELDS).unwrap().is_empty());
    assert!(Filter::parse("  ", FIELDS).unwrap().is_empty());
}

#[test]
fn what_is_wrong_is_said() {
    let many = vec!["number = 1"; 33].join(" AND ");
    let cases = [
        ("colour = red", "there is no field"),
        ("state", "expected an operator"),
        ("state =", "expected a value"),
        ("state = = READY", "expected a value"),
        ("state = GONE", "is one of READY, ARCHIVED"),
        ("state < READY", "has no order"),
        ("number = x", "is a whole number"),
        ("number = 99999999999999999999", "is a whole number"),
        ("pinned = yes", "is true or false"),
        ("create_time > yesterday", "must be a time"),
        ("tags = x", "is a map"),
        ("tags. = x", "there is no field"),
        ("state = READY OR number = 1", "only AND"),
        ("(state = READY)", "parentheses"),
        ("state = READY AND", "ends after AND"),
        ("name = \"x", "not closed"),
        ("name = \"\\n\"", "backslash"),
        ("name == x", "operators are"),
        ("name ! x", "operators are"),
        ("name = 'x'", "double quotes"),
        (&many, "at most 32"),
        (&"x".repeat(5000), "at most 4096"),
    ];
    for (text, expected) in cases {
        match Filter::parse(text, FIELDS) {
            Err(Error::Invalid(violations)) => {
                assert_eq!(violations.0[0].field, "filter");
                assert!(
                    violations.0[0].description.contains(expected),
                    "{text}: {violations}"
                );
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Filter::parse(&text, FIELDS);
    }

    #[test]
    fn nothing_near_the_grammar_panics(text in "(name|tags\\.x|number|AND|OR|=|!=|<|>=| |\"|\\\\|é|1|\\(){0,30}") {
        let _ = Filter::parse(&text, FIELDS);
    }

    #[test]
    fn any_quoted_value_comes_back(value in "\\PC{0,60}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let filter = Filter::parse(&format!("name = \"{quoted}\""), FIELDS).unwrap();
        prop_assert_eq!(&filter.terms[0].value, &Value::Text(value));
    }
}
