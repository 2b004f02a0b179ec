//! Cuts a script as psql does: quotes, comments, brackets and bodies in SQL hold their semicolons; commands of psql's own
//! and the data behind a COPY are left out.

/// The statements of a script, without their semicolons. A variable of psql's (`:x`) stays as it stands: the grammar
/// refuses it, and what the grammar refuses does not count.
pub(crate) fn statements(script: &str) -> Vec<String> {
    let mut cutter = Cutter { rest: script, ..Cutter::default() };
    while cutter.step() {}
    cutter.end();
    cutter.found
}

#[derive(Debug, Default)]
struct Cutter<'a> {
    rest: &'a str,
    statement: String,
    /// The words so far, in lower case; for COPY and for bodies (`BEGIN ATOMIC … END`).
    words: Vec<String>,
    brackets: usize,
    bodies: usize,
    found: Vec<String>,
}

impl Cutter<'_> {
    fn step(&mut self) -> bool {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return false };
        if rest.starts_with("--") {
            self.skip(line(rest));
        } else if rest.starts_with("/*") {
            self.skip(comment(rest));
            self.statement.push(' ');
        } else if first == '\'' {
            let escapes = self.words.last().is_some_and(|word| word == "e") && self.statement.ends_with(['e', 'E']);
            self.take(quoted(rest, '\'', escapes));
        } else if first == '"' {
            self.take(quoted(rest, '"', false));
        } else if let Some(length) = dollars(rest) {
            self.take(length);
        } else if first == '\\' {
            self.command();
        } else if first == ';' && self.brackets == 0 && self.bodies == 0 {
            self.skip(1);
            self.end();
        } else if first.is_alphabetic() || first == '_' {
            self.word();
        } else {
            match first {
                '(' | '[' => self.brackets += 1,
                ')' | ']' => self.brackets = self.brackets.saturating_sub(1),
                _ => {}
            }
            self.take(first.len_utf8());
        }
        true
    }

    fn word(&mut self) {
        let length =
            self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(self.rest.len());
        let word = self.rest[..length].to_lowercase();
        let makes_routine = self.words.first().is_some_and(|first| first == "create")
            && self.words.iter().take(4).any(|word| word == "function" || word == "procedure");
        if makes_routine && self.brackets == 0 {
            match word.as_str() {
                "begin" => self.bodies += 1,
                "case" if self.bodies > 0 => self.bodies += 1,
                "end" => self.bodies = self.bodies.saturating_sub(1),
                _ => {}
            }
        }
        self.words.push(word);
        self.take(length);
    }

    /// A command of psql's: to the end of its line. Those that begin with `g` send what was written so far.
    fn command(&mut self) {
        if self.rest.starts_with("\\;") {
            self.skip(2);
            self.statement.push(';');
            return;
        }
        let sends = self.rest.starts_with("\\g") || self.rest.starts_with("\\crosstabview");
        self.skip(line(self.rest));
        if sends {
            self.end();
        }
    }

    fn end(&mut self) {
        let statement = std::mem::take(&mut self.statement);
        let words = std::mem::take(&mut self.words);
        (self.brackets, self.bodies) = (0, 0);
        let has_data = words.first().is_some_and(|word| word == "copy")
            && words.windows(2).any(|pair| pair[0] == "from" && pair[1] == "stdin");
        if has_data {
            self.skip(line(self.rest));
            while !self.rest.is_empty() {
                let is_last = self.rest.lines().next() == Some("\\.");
                self.skip(line(self.rest));
                if is_last {
                    break;
                }
            }
        }
        let statement = statement.trim();
        if !statement.is_empty() {
            self.found.push(statement.to_owned());
        }
    }

    fn take(&mut self, length: usize) {
        self.statement.push_str(&self.rest[..length]);
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }
}

fn line(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && escapes {
            characters.next();
        } else if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a text between dollars, if one begins here.
fn dollars(text: &str) -> Option<usize> {
    let tag_end = text.strip_prefix('$')?.find('$')? + 2;
    let tag = &text[..tag_end];
    let name = &tag[1..tag_end - 1];
    let is_tag =
        name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then(|| text[tag_end..].find(tag).map_or(text.len(), |end| tag_end + end + tag_end))
}

#[test]
fn a_script_is_cut_as_psql_cuts_it() {
    let script = "select ';' , $a$;$a$ -- ;\n; /* ; /* ; */ */ select \";\", E'\\';' ;\n\\d x\nselect 1 \\gset\n\
        copy t from stdin;\n1;2\n\\.\ncreate rule r as on insert to t do (select 1; select 2);\n\
        create function f() returns int begin atomic select case when true then 1 end; select 2; end;\nselect 3";
    let expected = [
        "select ';' , $a$;$a$",
        "select \";\", E'\\';'",
        "select 1",
        "copy t from stdin",
        "create rule r as on insert to t do (select 1; select 2)",
        "create function f() returns int begin atomic select case when true then 1 end; select 2; end",
        "select 3",
    ];
    assert_eq!(statements(script), expected);
}
