//! The function call message, PostgreSQL's fast path: a function by its number and its arguments, without a text.
//!
//! It does what `SELECT f($1, …)` does, so it is judged and recorded as that text, which we write: the rules see the same
//! effects whichever way a function is called. Its number stands in a comment. What we do not know by name is not understood.

use super::names::Names;
use crate::model::SqlText;
use crate::wire::postgres::exchange::Called;

/// The server's own functions on large objects, by number (`pg_proc.dat`; they are the same in every version that has
/// them). Client libraries call these by the fast path, and hardly ever others.
const LARGE_OBJECTS: &[(u32, &str)] = &[
    (715, "lo_create"),
    (764, "lo_import"),
    (765, "lo_export"),
    (767, "lo_import"),
    (952, "lo_open"),
    (953, "lo_close"),
    (954, "loread"),
    (955, "lowrite"),
    (956, "lo_lseek"),
    (957, "lo_creat"),
    (958, "lo_tell"),
    (964, "lo_unlink"),
    (1004, "lo_truncate"),
    (3170, "lo_lseek64"),
    (3171, "lo_tell64"),
    (3172, "lo_truncate64"),
    (3457, "lo_from_bytea"),
    (3458, "lo_get"),
    (3459, "lo_get"),
    (3460, "lo_put"),
];

/// Why a call is not understood.
pub(super) const UNKNOWN: &str = "a function call message, of a function whose name is not known";

/// The text that does what the call does; the flag: whether the function is known.
pub(super) fn text_of(called: &Called, names: &Names<'_>) -> (SqlText, bool) {
    let number = called.function;
    let own = LARGE_OBJECTS.iter().find(|(own, _)| *own == number);
    let name = match own {
        Some((_, name)) => Some(("pg_catalog".to_owned(), (*name).to_owned())),
        None => names.function(number),
    };
    let text = match &name {
        Some((schema, function)) => written(schema, function, called.params.len(), number),
        None => format!("/* function call message, OID {number} */"),
    };
    (SqlText::from(text.as_str()), name.is_some())
}

fn written(schema: &str, function: &str, arguments: usize, number: u32) -> String {
    let values: Vec<String> = (1..=arguments).map(|at| format!("${at}")).collect();
    let (schema, function) = (quoted(schema), quoted(function));
    format!("SELECT {schema}.{function}({}) /* function call message, OID {number} */", values.join(", "))
}

/// A name as SQL takes it, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Kind};
    use crate::sql::{Dialect, read};

    #[test]
    fn a_call_is_judged_as_the_select_that_does_the_same() {
        for (_, name) in LARGE_OBJECTS {
            let facts = read(&SqlText::from(written("pg_catalog", name, 2, 1).as_str()), Dialect::PostgreSql);
            let calls = facts.effects.iter().any(|effect| {
                let object = effect.object.as_ref().map(|object| (object.schema.as_deref(), object.name.as_str()));
                effect.action == Action::Call && object == Some((Some("pg_catalog"), name))
            });
            assert!(calls && facts.kind == Kind::Select, "{name}: {facts:?}");
        }
        let odd = written("it's", "a\"b", 0, 7);
        assert_eq!(odd, "SELECT \"it's\".\"a\"\"b\"() /* function call message, OID 7 */");
        assert_ne!(read(&SqlText::from(odd.as_str()), Dialect::PostgreSql).kind, Kind::Unparsed);
        let set = read(&SqlText::from(written("pg_catalog", "set_config", 3, 1).as_str()), Dialect::PostgreSql);
        assert!(set.effects.iter().any(|effect| effect.action == Action::SetUnsafe), "any setting may be meant");
    }
}
