//! Cuts a filter into words, quoted texts and operators.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use super::Operator;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Operator(Operator),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Quoted(text) => write!(f, "{text:?}"),
            Token::Operator(operator) => write!(f, "{operator}"),
        }
    }
}

pub(super) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
        }
    }

    /// The next token; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token>, String> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(&first) = self.rest.peek() else {
            return Ok(None);
        };
        match first {
            '"' => self.quoted().map(Some),
            '=' | '!' | '<' | '>' => self.operator().map(Some),
            c if in_word(c) => Ok(Some(self.word())),
            '(' | ')' => {
                Err("parentheses are not supported; only AND joins comparisons".to_owned())
            }
            other => Err(format!(
                "unexpected character {other:?}; put values in double quotes"
            )),
        }
    }

    fn word(&mut self) -> Token {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| in_word(*c)) {
            word.push(c);
        }
        Token::Word(word)
    }

    fn quoted(&mut self) -> Result<Token, String> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(Token::Quoted(text)),
                Some('\\') => match self.rest.next() {
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => {
                        return Err(
                            "a backslash must be followed by a quote or a backslash".to_owned()
                        );
                    }
                },
                Some(c) => text.push(c),
                None => return Err("a double quote is not closed".to_owned()),
            }
        }
    }

    fn operator(&mut self) -> Result<Token, String> {
        let first = self.rest.next();
        let equal = self.rest.next_if_eq(&'=').is_some();
        let operator = match (first, equal) {
            (Some('='), false) => Operator::Equal,
            (Some('!'), true) => Operator::NotEqual,
            (Some('<'), false) => Operator::Less,
            (Some('<'), true) => Operator::LessOrEqual,
            (Some('>'), false) => Operator::Greater,
            (Some('>'), true) => Operator::GreaterOrEqual,
            _ => return Err("the operators are = != < <= > >=".to_owned()),
        };
        Ok(Token::Operator(operator))
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '+' | '@')
}
