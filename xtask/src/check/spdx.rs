//! SPDX licence expressions: may a package be used if only certain licences are allowed?
//!
//! ```text
//! any  = all { ("OR" | "/") all }
//! all  = one { "AND" one }
//! one  = "(" any ")" | licence [ "WITH" exception ]
//! ```

/// Whether `expression` can be satisfied by licences that `is_allowed`; `None` if it is malformed. A licence with
/// an exception grants at least what the licence alone does.
pub(super) fn satisfied(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, is_allowed };
    let result = parser.any()?;
    parser.words.is_empty().then_some(result)
}

struct Parser<'a> {
    words: &'a [&'a str],
    is_allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut result = self.all()?;
        while self.skip("OR") {
            result |= self.all()?;
        }
        Some(result)
    }

    fn all(&mut self) -> Option<bool> {
        let mut result = self.one()?;
        while self.skip("AND") {
            result &= self.one()?;
        }
        Some(result)
    }

    fn one(&mut self) -> Option<bool> {
        if self.skip("(") {
            let result = self.any()?;
            return self.skip(")").then_some(result);
        }
        let licence = self.name()?;
        if self.skip("WITH") {
            self.name()?;
        }
        Some((self.is_allowed)(licence))
    }

    fn name(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        (!["AND", "OR", "WITH", "(", ")"].contains(first)).then_some(first)
    }

    fn skip(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_and_apache(expression: &str) -> Option<bool> {
        satisfied(expression, &|licence| ["MIT", "Apache-2.0"].contains(&licence))
    }

    #[test]
    fn expressions() {
        assert_eq!(mit_and_apache("MIT"), Some(true));
        assert_eq!(mit_and_apache("GPL-3.0-only"), Some(false));
        assert_eq!(mit_and_apache("MIT/GPL-3.0-only"), Some(true));
        assert_eq!(mit_and_apache("GPL-3.0-only OR MIT AND Apache-2.0"), Some(true));
        assert_eq!(mit_and_apache("(MIT OR GPL-3.0-only) AND ISC"), Some(false));
        assert_eq!(mit_and_apache("Apache-2.0 WITH LLVM-exception OR ISC"), Some(true));
        assert_eq!(mit_and_apache("((MIT))"), Some(true));
    }

    #[test]
    fn malformed() {
        for expression in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "()"] {
            assert_eq!(mit_and_apache(expression), None, "{expression}");
        }
    }
}
