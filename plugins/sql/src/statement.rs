//! A `sql:` text as statements with named parameters, for the database it is for.
//!
//! Reads what the database's own lexer would skip (texts, quoted names, comments, dollar quotes) as its manual says, so that a
//! `:name` in there is no parameter, and writes each parameter in the form the server takes (`$1` or `?`). Refuses what would
//! end the transaction that a delivery runs in, and parameters by place. Every mistake has its bytes in the text. Pure.
//!
//! Sources: PostgreSQL manual 4.1 (lexical structure), MySQL 8.4 manual 11.1 and 11.7, sqlite.org/lang_expr.html and tokenize.c.

use std::ops::Range;
use switchyard_api::problem::nearest;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

/// What a delivery does: its statements, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// In their order; at least one.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// As the server takes it.
    pub text: String,
    /// The name of each placeholder in its order, and where it stands in the file's text.
    pub params: Vec<(String, Range<usize>)>,
    /// `DELETE`: what it does, for the proof.
    pub verb: &'static str,
}

/// Why a text is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {help}")]
pub struct Wrong {
    /// One line.
    pub what: String,
    /// Bytes of the text.
    pub within: Range<usize>,
    /// What to do.
    pub help: String,
}

/// Statements of one script.
const STATEMENTS_MAX: usize = 32;
/// What a statement may begin with. Anything else could end the transaction (in MySQL every DDL statement does) or speak another
/// protocol (`COPY`).
const VERBS: [&str; 8] = ["INSERT", "UPDATE", "DELETE", "SELECT", "MERGE", "REPLACE", "CALL", "WITH"];

impl Script {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Script, Wrong> {
        let mut builder = Builder { dialect, text, statements: vec![], open: Open::default() };
        let mut at = 0;
        while let Some(token) = next(text, at, dialect)? {
            builder.add(&token, at)?;
            at = token.end;
        }
        builder.end(at)?;
        if builder.statements.is_empty() {
            return Err(wrong("there is no statement", 0..text.len(), "write `DELETE FROM customers WHERE shop_id = :shop`"));
        }
        Ok(Script { statements: builder.statements })
    }

    /// The names of all parameters, with every place.
    pub fn params(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.statements.iter().flat_map(|statement| &statement.params).map(|(name, at)| (name.as_str(), at.clone()))
    }
}

/// What the lexer tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Blank, or a comment.
    Nothing,
    /// A bare word.
    Word,
    /// `:name`.
    Param,
    /// `;`.
    End,
    /// `(` and `)`.
    Deeper,
    Shallower,
    /// Texts, quoted names, numbers, operators.
    Other,
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    end: usize,
}

#[derive(Default)]
struct Open {
    out: String,
    params: Vec<(String, Range<usize>)>,
    verb: Option<&'static str>,
    depth: usize,
    /// Whether anything but blanks and comments was seen.
    begun: bool,
}

struct Builder<'t> {
    dialect: Dialect,
    text: &'t str,
    statements: Vec<Statement>,
    open: Open,
}

impl Builder<'_> {
    fn add(&mut self, token: &Token, at: usize) -> Result<(), Wrong> {
        let piece = &self.text[at..token.end];
        if token.kind == Kind::End {
            return self.end(token.end);
        }
        if token.kind == Kind::Word {
            self.word(piece, at..token.end)?;
        } else if !self.open.begun && !matches!(token.kind, Kind::Nothing | Kind::Deeper) {
            return Err(not_a_statement(piece, at..token.end));
        }
        match token.kind {
            Kind::Param => {
                self.open.params.push((piece[1..].to_owned(), at..token.end));
                // Each place has a number of its own: the server may then give each its own type.
                match self.dialect {
                    Dialect::Postgres => self.open.out.extend(["$", &self.open.params.len().to_string()]),
                    Dialect::Mysql | Dialect::Sqlite => self.open.out.push('?'),
                }
                return Ok(());
            }
            Kind::Deeper => self.open.depth += 1,
            Kind::Shallower => self.open.depth = self.open.depth.saturating_sub(1),
            _ => {}
        }
        self.open.out.push_str(piece);
        Ok(())
    }

    /// The first word says what the statement does; behind `WITH` it is the first verb outside of parentheses.
    fn word(&mut self, word: &str, at: Range<usize>) -> Result<(), Wrong> {
        let known = VERBS.iter().find(|verb| verb.eq_ignore_ascii_case(word)).copied();
        if !self.open.begun {
            self.open.begun = true;
            self.open.verb = Some(known.ok_or_else(|| not_a_statement(word, at))?);
        } else if let (Some("WITH"), Some(verb), 0) = (self.open.verb, known, self.open.depth) {
            self.open.verb = Some(verb);
        }
        Ok(())
    }

    fn end(&mut self, at: usize) -> Result<(), Wrong> {
        let open = std::mem::take(&mut self.open);
        let Some(verb) = open.verb else { return Ok(()) };
        if self.statements.len() == STATEMENTS_MAX {
            return Err(wrong(format!("more than {STATEMENTS_MAX} statements"), at..at, "put them into a procedure and `CALL` it"));
        }
        self.statements.push(Statement { text: open.out.trim().to_owned(), params: open.params, verb });
        Ok(())
    }
}

fn wrong(what: impl Into<String>, within: Range<usize>, help: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), within, help: help.into() }
}

fn not_a_statement(word: &str, at: Range<usize>) -> Wrong {
    let near = nearest(word, VERBS).filter(|verb| !verb.eq_ignore_ascii_case(word));
    let help = near.map_or_else(
        || format!("a statement begins with {}; each delivery runs in a transaction of ours, which nothing else may end", VERBS.join(", ")),
        |verb| format!("did you mean `{verb}`?"),
    );
    wrong(format!("`{word}` does not begin a statement here"), at, help)
}

/// The token at a place; `None` at the end.
fn next(text: &str, at: usize, dialect: Dialect) -> Result<Option<Token>, Wrong> {
    let rest = &text[at..];
    let mut chars = rest.chars();
    let Some(first) = chars.next() else { return Ok(None) };
    let second = chars.next();
    let token = |kind, length: usize| Ok(Some(Token { kind, end: at + length }));
    let until = |kind, end: Option<usize>, what: &str| match end {
        Some(length) => Ok(Some(Token { kind, end: at + length })),
        None => Err(wrong(format!("{what} is never closed"), at..text.len(), format!("close the {what}"))),
    };
    let mysql = dialect == Dialect::Mysql;
    match (first, second) {
        _ if first.is_whitespace() => token(Kind::Nothing, first.len_utf8()),
        ('-', Some('-')) if !mysql || rest[2..].chars().next().is_none_or(|c| c.is_whitespace() || c.is_control()) => {
            token(Kind::Nothing, line(rest))
        }
        ('#', _) if mysql => token(Kind::Nothing, line(rest)),
        ('/', Some('*')) if mysql && (rest[2..].starts_with('!') || rest[2..].starts_with("M!")) => {
            Err(wrong("this comment is run by the server", at..at + 3, "write its content as a statement, or take it away"))
        }
        ('/', Some('*')) => until(Kind::Nothing, comment(rest, dialect == Dialect::Postgres), "comment"),
        ('\'', _) => until(Kind::Other, quoted(rest, '\'', mysql), "text"),
        ('"', _) => until(Kind::Other, quoted(rest, '"', mysql), "quoted name"),
        ('`', _) if dialect != Dialect::Postgres => until(Kind::Other, quoted(rest, '`', false), "quoted name"),
        ('[', _) if dialect == Dialect::Sqlite => until(Kind::Other, rest.find(']').map(|end| end + 1), "quoted name"),
        ('$', Some(c)) if dialect == Dialect::Postgres && !c.is_ascii_digit() => match dollar_quote(rest) {
            Some(quote) => until(Kind::Other, dollar_quoted(rest, quote), "dollar-quoted text"),
            None => token(Kind::Other, 1),
        },
        ('$', Some(c)) if dialect == Dialect::Postgres && c.is_ascii_digit() => Err(by_place(rest, at)),
        ('?', _) if dialect != Dialect::Postgres => Err(by_place(rest, at)),
        ('@' | '$', Some(c)) if dialect == Dialect::Sqlite && word(c) => Err(by_place(rest, at)),
        (':', Some(':')) => token(Kind::Other, rest.len() - rest.trim_start_matches(':').len()),
        (':', Some(c)) if c.is_ascii_alphabetic() || c == '_' => {
            token(Kind::Param, 1 + run(&rest[1..], |c| c.is_ascii_alphanumeric() || c == '_'))
        }
        (':', Some(c)) if dialect == Dialect::Sqlite && word(c) => Err(wrong(
            "this is not a parameter's name",
            at..at + 1 + run(&rest[1..], word),
            "names are letters, digits and `_`, and begin with a letter",
        )),
        ('e' | 'E', Some('\'')) if dialect == Dialect::Postgres => {
            until(Kind::Other, quoted(&rest[1..], '\'', true).map(|end| end + 1), "text")
        }
        (';', _) => token(Kind::End, 1),
        ('(', _) => token(Kind::Deeper, 1),
        (')', _) => token(Kind::Shallower, 1),
        _ if first.is_ascii_digit() => token(Kind::Other, run(rest, |c| word(c) || c == '.')),
        // `$` goes on a word in PostgreSQL and MySQL: `a$b$` opens no dollar quote.
        _ if word(first) => token(Kind::Word, run(rest, |c| word(c) || c == '$')),
        _ => token(Kind::Other, first.len_utf8()),
    }
}

fn by_place(rest: &str, at: usize) -> Wrong {
    let length = 1 + run(&rest[1..], word);
    wrong("parameters have names here", at..at + length, "write `:name`, and its value under `params`")
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || !c.is_ascii() && !c.is_whitespace()
}

/// Bytes of the leading characters that are such.
fn run(text: &str, such: impl Fn(char) -> bool) -> usize {
    text.find(|c| !such(c)).unwrap_or(text.len())
}

fn line(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

/// Bytes to the end of a comment.
fn comment(rest: &str, nested: bool) -> Option<usize> {
    let (mut at, mut depth) = (2, 1_usize);
    while depth > 0 {
        let close = at + rest[at..].find("*/")?;
        match rest[at..close].find("/*").filter(|_| nested) {
            Some(open) => (at, depth) = (at + open + 2, depth + 1),
            None => (at, depth) = (close + 2, depth - 1),
        }
    }
    Some(at)
}

/// Bytes to the end of a quoted piece: a doubled quote goes on, and with `escapes` a backslash takes the next character along.
fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, again)) if *again == quote => drop(chars.next()),
                _ => return Some(at + 1),
            }
        }
    }
    None
}

/// `$tag$`, if a dollar quote begins here.
fn dollar_quote(rest: &str) -> Option<&str> {
    let tag = run(&rest[1..], word);
    rest.get(..tag + 2).filter(|opening| opening.ends_with('$'))
}

/// Bytes to the end of what stands in dollar quotes.
fn dollar_quoted(rest: &str, quote: &str) -> Option<usize> {
    rest[quote.len()..].find(quote).map(|end| end + 2 * quote.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

    fn one(text: &str, dialect: Dialect) -> (String, Vec<String>) {
        let [statement] = Script::parse(text, dialect).unwrap().statements.try_into().unwrap();
        (statement.text, statement.params.into_iter().map(|(name, _)| name).collect())
    }
    fn told(text: &str, dialect: Dialect) -> (String, String) {
        let wrong = Script::parse(text, dialect).unwrap_err();
        (wrong.what, text[wrong.within].to_owned())
    }

    #[test]
    fn each_place_of_a_name_is_a_placeholder_of_its_own() {
        let text = "UPDATE t SET a = :a, b=:b_2 WHERE (a=:a);";
        let names = || ["a", "b_2", "a"].map(str::to_owned).to_vec();
        assert_eq!(one(text, Dialect::Postgres), ("UPDATE t SET a = $1, b=$2 WHERE (a=$3)".into(), names()));
        for dialect in [Dialect::Mysql, Dialect::Sqlite] {
            assert_eq!(one(text, dialect), ("UPDATE t SET a = ?, b=? WHERE (a=?)".into(), names()));
        }
    }

    #[test]
    fn what_looks_like_a_parameter_and_is_none_stays() {
        let every = ["SELECT ':a', 'it''s :a', \":a\", 1 /* :a ' */ -- :a '\n , 2", "SELECT '::a' , 'x;y'"];
        for (text, dialect) in every.into_iter().flat_map(|text| ALL.map(|dialect| (text, dialect))) {
            assert_eq!(one(text, dialect), (text.to_owned(), vec![]), "{dialect:?}");
        }
        for (dialect, text) in [
            (Dialect::Postgres, "SELECT a::int, b [1:2], $$ :a ; $$, $x$ :a $$ $x$, E'\\' :a', U&':a', a ? 'b' , /* /* */ :a */ 'x\\'"),
            (Dialect::Postgres, "SELECT a$b$, '{:a}'::jsonb #>> '{a}', f(a => 1), b := 2"),
            (Dialect::Mysql, "SELECT 'a\\' :a', \"a\\\" :a\", `:a`, @x := 1, @@y # :a '\n, 5--1"),
            (Dialect::Sqlite, "SELECT [:a ' ], `:a`, 'x\\', x'00'"),
        ] {
            assert_eq!(one(text, dialect), (text.to_owned(), vec![]), "{dialect:?}");
        }
    }

    #[test]
    fn casts_and_neighbours_do_not_hide_a_parameter() {
        assert_eq!(one("SELECT :a::int, e:e", Dialect::Postgres), ("SELECT $1::int, e$2".into(), vec!["a".into(), "e".into()]));
        assert_eq!(one("SELECT '\\', :a", Dialect::Postgres).1, ["a"]);
        assert_eq!(one("SELECT '\\', :a", Dialect::Sqlite).1, ["a"]);
        assert_eq!(one("SELECT 1--:a\n, 1", Dialect::Mysql).1, ["a"]);
        assert_eq!(one("SELECT 1 -- /*\n, :a -- */", Dialect::Sqlite).1, ["a"]);
    }

    #[test]
    fn several_statements_are_a_script_and_each_says_what_it_does() {
        let text =
            "; delete from a where x = :x;; -- one\nwith b as (update c set d = 1 returning e) insert into f select :x from b; /* end */ ;";
        let script = Script::parse(text, Dialect::Postgres).unwrap();
        let told: Vec<_> = script.statements.iter().map(|s| (s.verb, s.params.len(), s.text.contains("$1"))).collect();
        assert_eq!(told, [("DELETE", 1, true), ("INSERT", 1, true)]);
        assert_eq!(Script::parse("(SELECT 1) UNION (SELECT 2)", Dialect::Postgres).unwrap().statements[0].verb, "SELECT");
    }

    #[test]
    fn what_cannot_run_in_a_delivery_is_refused_at_its_place() {
        let many = "SELECT 1;".repeat(STATEMENTS_MAX + 1);
        for dialect in ALL {
            assert_eq!(told("DELETE FROM a; COMMIT", dialect), ("`COMMIT` does not begin a statement here".into(), "COMMIT".into()));
            assert_eq!(told(" -- x\n ; ", dialect).0, "there is no statement");
            assert_eq!(told("DROP TABLE a", dialect).1, "DROP");
            assert_eq!(told(":a", dialect).1, ":a");
            assert_eq!(told("SELECT 'a", dialect), ("text is never closed".into(), "'a".into()));
            assert_eq!(told("SELECT /* a", dialect).1, "/* a");
            assert_eq!(told(&many, dialect).0, "more than 32 statements");
        }
        for (text, dialect, at) in [
            ("SELECT $1", Dialect::Postgres, "$1"),
            ("SELECT $a$ x", Dialect::Postgres, "$a$ x"),
            ("SELECT ?", Dialect::Mysql, "?"),
            ("SELECT /*!50000 1 */ 2", Dialect::Mysql, "/*!"),
            ("SELECT ?12", Dialect::Sqlite, "?12"),
            ("SELECT @a", Dialect::Sqlite, "@a"),
            ("SELECT $a", Dialect::Sqlite, "$a"),
            ("SELECT :1", Dialect::Sqlite, ":1"),
        ] {
            assert_eq!(told(text, dialect).1, at, "{dialect:?}");
        }
        assert_eq!(Script::parse("DELTE FROM a", Dialect::Mysql).unwrap_err().help, "did you mean `DELETE`?");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_a_place(text in "(SELECT )?[a-zE'\"`$:;?@#\\[\\]()/*\\\\ \n0-9ü-]{0,40}") {
            for dialect in ALL {
                match Script::parse(&text, dialect) {
                    Ok(script) => for (name, at) in script.params() {
                        prop_assert_eq!(&text[at], format!(":{name}"));
                    },
                    Err(wrong) => prop_assert!(text.get(wrong.within).is_some()),
                }
            }
        }

        /// Quoted by the database's own rule, no text becomes a parameter or another statement.
        #[test]
        fn a_quoted_text_is_never_structure(inner in "[a-z:;$?' \n-]{0,20}") {
            let text = format!("SELECT '{}', :p", inner.replace('\'', "''"));
            for dialect in ALL {
                let (written, params) = one(&text, dialect);
                prop_assert_eq!(params, ["p"]);
                prop_assert!(written.starts_with(text.strip_suffix(":p").unwrap()));
            }
        }
    }
}
