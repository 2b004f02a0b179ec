//! Options of MySQL's tables.

use sqlparser::ast::SqlOption;

use crate::sql::names;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const ELSEWHERE: NotUnderstood = NotUnderstood("a table option that may say where rows are kept");

/// Options that say how rows are stored and not where.
const HARMLESS: &[&str] = &[
    "charset",
    "default charset",
    "character set",
    "default character set",
    "collate",
    "default collate",
    "auto_increment",
    "row_format",
    "comment",
];

/// Engines that keep rows where the server keeps its tables. Others read files (CSV, CONNECT) or other servers.
const ENGINES: &[&str] = &["innodb", "myisam", "aria", "memory", "archive"];

impl Walk {
    /// An option of `CREATE TABLE`.
    pub(in crate::sql) fn option_of_mysql(&mut self, option: &SqlOption) -> Result {
        let is_engine = |name: &str| ENGINES.contains(&name.to_ascii_lowercase().as_str());
        match option {
            SqlOption::Comment(_) => Ok(()),
            SqlOption::NamedParenthesizedList(list)
                if list.key.value.eq_ignore_ascii_case("engine")
                    && list.values.is_empty()
                    && list.name.as_ref().is_some_and(|name| is_engine(&name.value)) =>
            {
                Ok(())
            }
            SqlOption::KeyValue { key, value } if HARMLESS.contains(&names::setting(key)?.as_str()) => self.expr(value),
            _ => Err(ELSEWHERE),
        }
    }
}
