//! What the demo shows: each line when it is true, and commands that work as they are printed.

use std::borrow::Cow;
use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::story::BULK_READ;
use crate::cli::render::{Lines, shown};

/// A step that takes less is done at once, for a person.
const WORTH_TELLING: Duration = Duration::from_millis(100);

/// Where the lines of the screen go; nowhere if quiet was asked for.
#[derive(Debug)]
pub(super) struct Screen {
    quiet: bool,
    since: Instant,
}

/// What there is to try.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) home: &'a Path,
    pub(super) config: &'a Path,
    /// Of the statement that was refused.
    pub(super) reference: &'a str,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, since: Instant::now() }
    }

    /// A line as it is. If nobody reads, nobody can be told.
    pub(super) fn say(&self, line: impl Display) {
        if !self.quiet {
            let text = line.to_string();
            writeln!(io::stdout().lock(), "{}", shown(&text, Lines::Kept)).unwrap_or_default();
        }
    }

    /// A step that was done, with the time since the one before.
    pub(super) fn done(&mut self, what: &str, how: impl Display) {
        let took = self.since.elapsed();
        self.since = Instant::now();
        let took = if took < WORTH_TELLING { String::new() } else { format!("  ({:.1} s)", took.as_secs_f64()) };
        self.say(format_args!(" ✓ {what:<11} {how}{took}"));
    }

    /// A statement refused, as the person saw it.
    pub(super) fn refused(&self, refusal: &str) {
        self.say(format_args!("\nAna, an analyst, asked in psql: {BULK_READ}\nand was told:\n"));
        refusal.lines().for_each(|line| self.say(format_args!("  {line}")));
        self.say("");
    }

    /// The ways to look further while it runs.
    pub(super) fn offer(&self, offer: &Offer<'_>) {
        self.say("Try it, in another terminal:\n");
        for (what, command) in commands(offer, &ourselves()) {
            self.say(format_args!("  {what}\n    {command}\n"));
        }
        self.say("Beside as-ana: as-dev (a developer), as-dora (a DBA) and as-otto (an auditor, who is not let in).");
        let config = offer.config.display();
        self.say(format_args!("The configuration is a real one to copy from, with its rules beside it: {config}"));
        self.say("\nIt runs until Ctrl-C.");
    }
}

/// What to do, and how.
fn commands(offer: &Offer<'_>, hansard: &str) -> Vec<(&'static str, String)> {
    let config = quoted(&offer.config.display().to_string()).into_owned();
    let parquet = offer.home.join("store/statements/**/*.parquet").display().to_string().replace('\'', "''");
    let duckdb = format!("SELECT display, decision, count(*) FROM read_parquet('{parquet}') GROUP BY ALL");
    vec![
        (
            "psql as Ana; the archive has what you do a few seconds later",
            quoted(&offer.home.join("as-ana").display().to_string()).into_owned(),
        ),
        ("Why she was refused: who, what, by which rule", format!("{hansard} why {} -c {config}", offer.reference)),
        ("The latest session again, statement by statement", format!("{hansard} replay latest -c {config}")),
        (
            "Who did how much",
            format!("{hansard} query -c {config} \"SELECT display, count(*) FROM statements GROUP BY 1\""),
        ),
        ("Is it what was recorded, and all of it?", format!("{hansard} verify -c {config}")),
        ("The same archive without us, if you have DuckDB", format!("duckdb -c {}", quoted(&duckdb))),
    ]
}

/// How this program is called in another terminal.
fn ourselves() -> String {
    const NAME: &str = "hansard";
    let Ok(program) = env::current_exe() else { return NAME.to_owned() };
    let same = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| Some(path) == fs::canonicalize(&program).ok());
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(NAME)).find(|path| path.is_file());
    if found.as_ref().is_some_and(same) { NAME.to_owned() } else { quoted(&program.display().to_string()).into_owned() }
}

/// `1 segment`, `2 segments`.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Text as one word of a shell.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else if !text.contains(['"', '$', '`', '\\', '!']) {
        Cow::Owned(format!("\"{text}\""))
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_the_word_that_was_meant() {
        for text in ["/plain/path", "with space", "it's", "\"both\" 'kinds'", "$HOME `id` \\n !!", "", "a*b?"] {
            let script = format!("printf %s {}", quoted(text));
            let output = Command::new("/bin/sh").arg("-c").arg(&script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{script}");
        }
        assert_eq!(quoted("/plain/path"), "/plain/path");
    }

    #[test]
    fn commands_name_the_reference_and_the_configuration() {
        let (home, config) = (Path::new("/h d"), Path::new("/h d/hansard.toml"));
        let offer = Offer { home, config, reference: "K7Q4M2XKDT.3" };
        let commands: Vec<String> = commands(&offer, "hansard").into_iter().map(|(_, command)| command).collect();
        assert_eq!(commands[0], "\"/h d/as-ana\"");
        assert_eq!(commands[1], "hansard why K7Q4M2XKDT.3 -c \"/h d/hansard.toml\"");
    }
}
