//! Which built-in functions only compute: the list stands in `builtins.txt`, with its source.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::{Dialect, mysql, tsql};

static HARMLESS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("builtins.txt").lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).collect()
});

/// Whether a function, named with or without a schema, is a built-in that only computes or describes.
pub(super) fn is_harmless(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None | Some("pg_catalog") => HARMLESS.contains(name),
        Some(schema) => HARMLESS.contains(format!("{schema}.{name}").as_str()),
    }
}

/// The same in a dialect: MySQL and Transact-SQL call their own without a schema.
pub(super) fn is_harmless_in(dialect: Dialect, schema: Option<&str>, name: &str) -> bool {
    match dialect {
        Dialect::PostgreSql => is_harmless(schema, name),
        Dialect::MySql => schema.is_none() && mysql::HARMLESS.has(name),
        Dialect::TSql => schema.is_none() && tsql::HARMLESS.has(name),
    }
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn functions_that_compute_are_harmless_and_those_that_act_are_not() {
        for name in ["count", "lower", "now", "coalesce", "to_char", "format_type", "gen_random_uuid"] {
            assert!(is_harmless(None, name) && is_harmless(Some("pg_catalog"), name), "{name}");
        }
        for name in [
            "pg_read_file",
            "lo_import",
            "lo_get",
            "loread",
            "dblink",
            "query_to_xml",
            "table_to_xml",
            "database_to_xml",
            "cursor_to_xml",
            "ts_stat",
            "ts_rewrite",
            "set_config",
            "pg_terminate_backend",
            "nextval",
            "setval",
            "pg_notify",
            "txid_current",
            "pg_sleep",
            "pg_advisory_lock",
            "pg_ls_dir",
            "pg_stat_file",
            "my_function",
        ] {
            assert!(!is_harmless(None, name) && !is_harmless(Some("pg_catalog"), name), "{name}");
        }
        assert!(!is_harmless(Some("app"), "lower"));
        assert!(is_harmless(Some("information_schema"), "_pg_expandarray"));
    }
}
