//! Facts of a text that names what the session keeps + facts of what the names stand for → facts.
//!
//! Promises: what `EXECUTE p` does is what the statement does that `p` stands for, and what `FETCH FROM c` reads is what
//! its cursor reads; nothing that either of them says is lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, Effect, Facts, Kind, Touch};

/// What a text does whose handles stand for `behind`: every statement that it executes and every cursor that it fetches
/// from, so far as they are known. The caller answers for it that none is missing that is executed.
pub fn by_handle(facts: &Facts, behind: &[&Facts]) -> Facts {
    let mut found: BTreeMap<Effect, Touch> = BTreeMap::new();
    for (facts, is_text) in std::iter::once((facts, true)).chain(behind.iter().map(|facts| (*facts, false))) {
        for (at, effect) in facts.effects.iter().enumerate() {
            if is_text && facts.executes.is_some() && effect.action == Action::Unparsed {
                continue;
            }
            let touch = facts.touch(at).clone();
            let both = found.remove(effect).map_or_else(|| touch.clone(), |known| known.and(touch.clone()));
            found.insert(effect.clone(), both);
        }
    }
    let (effects, touched) = found.into_iter().unzip();
    let all = |names: fn(&Facts) -> &Vec<String>| -> Vec<String> {
        let all = std::iter::once(facts).chain(behind.iter().copied()).flat_map(names);
        all.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    };
    let wheres: Vec<bool> = behind.iter().chain([&facts]).filter_map(|facts| facts.has_where).collect();
    let own_problem = facts.problem.as_ref().filter(|_| facts.executes.is_none());
    Facts {
        kind: kind(facts, behind),
        statement_count: facts.statement_count,
        effects,
        functions: all(|facts| &facts.functions),
        has_where: (!wheres.is_empty()).then(|| wheres.iter().all(|has_where| *has_where)),
        fingerprint: facts.fingerprint.clone(),
        problem: own_problem.or_else(|| behind.iter().find_map(|facts| facts.problem.as_ref())).cloned(),
        touched,
        has_limit: !behind.is_empty() && behind.iter().all(|facts| facts.has_limit),
        operators: all(|facts| &facts.operators),
        conversions: all(|facts| &facts.conversions),
        handles: std::iter::once(facts).chain(behind.iter().copied()).flat_map(|facts| facts.handles.clone()).collect(),
        executes: None,
        lifts_read_only: std::iter::once(facts).chain(behind.iter().copied()).any(|facts| facts.lifts_read_only),
        by_shape: false,
    }
}

/// The text's own, unless it executes something that is no query: a `Parse` may have prepared any command, and that one's
/// kind is what says what it does to the session.
fn kind(facts: &Facts, behind: &[&Facts]) -> Kind {
    let own = facts.executes.unwrap_or(facts.kind);
    if behind.iter().any(|facts| facts.kind == Kind::Unparsed) {
        return Kind::Unparsed;
    }
    let is_query =
        |kind| matches!(kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Empty);
    let others: BTreeSet<Kind> = behind.iter().map(|facts| facts.kind).filter(|kind| !is_query(*kind)).collect();
    match others.into_iter().collect::<Vec<_>>().as_slice() {
        [] => own,
        [one] if facts.statement_count == 1 => *one,
        _ => Kind::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{self, facts};
    use super::*;
    use crate::model::Handle;

    fn shown(facts: &Facts) -> String {
        facts.effects.iter().map(tests::shown).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn an_execution_does_what_its_statement_does_and_what_its_values_do() {
        let execute = facts("EXECUTE p(pg_sleep(1), 2)");
        assert_eq!((execute.kind, execute.executes), (Kind::Unparsed, Some(Kind::Prepare)));
        assert_eq!(execute.handles, [Handle::Execute("p".to_owned())]);
        let behind = facts("DELETE FROM accounts WHERE id = $1");
        let both = by_handle(&execute, &[&behind]);
        assert_eq!(shown(&both), "select accounts where, delete accounts where, call pg_sleep()");
        assert_eq!((both.kind, both.problem.as_deref(), both.executes), (Kind::Prepare, None, None));
        assert_eq!(both.has_where, Some(true));
        let delete = both.effects.iter().position(|effect| effect.action == Action::Delete).unwrap();
        assert!(both.touch(delete).where_binds, "{:?}", both.touch(delete));
    }

    #[test]
    fn what_else_is_not_understood_stays_so_whatever_the_names_stand_for() {
        for text in ["EXECUTE p; SELECT 1 END, val FROM secrets", "EXECUTE p(1); DO 'x'", "EXECUTE \"p"] {
            let found = facts(text);
            assert_eq!((found.kind, found.executes), (Kind::Unparsed, None), "{text}");
            assert!(by_handle(&found, &[]).effects.iter().any(|effect| effect.action == Action::Unparsed), "{text}");
        }
        let through = by_handle(&facts("EXECUTE p"), &[&facts("DO 'x'")]);
        assert_eq!(through.kind, Kind::Unparsed);
        assert!(through.effects.iter().any(|effect| effect.action == Action::Unparsed));
    }

    #[test]
    fn a_text_that_prepares_and_executes_needs_nothing_from_elsewhere_and_one_in_the_other_order_does() {
        let both = facts("PREPARE p AS DELETE FROM accounts; EXECUTE p");
        assert_eq!((both.problem.as_deref(), both.executes), (None, None));
        assert_eq!(shown(&both), "delete accounts");
        let late = facts("EXECUTE p; PREPARE p AS SELECT 1");
        assert_eq!(late.executes, Some(Kind::Prepare));
    }

    #[test]
    fn names_are_folded_as_the_server_keeps_them() {
        for (text, name) in [("EXECUTE P1", "p1"), ("EXECUTE \"P1\"(1)", "P1"), ("EXECUTE \"a\"\"b\"", "a\"b")] {
            assert_eq!(facts(text).handles, [Handle::Execute(name.to_owned())], "{text}");
        }
        let fetched = |text: &str| facts(text).handles;
        assert_eq!(fetched("FETCH FORWARD 5 FROM \"C\""), [Handle::Fetch(Some("C".to_owned()))]);
        assert_eq!(fetched("move all in C"), [Handle::Fetch(Some("c".to_owned()))]);
        assert_eq!(fetched("deallocate prepare all"), [Handle::Deallocate(None)]);
        assert_eq!(fetched("CLOSE \"C\""), [Handle::Close(Some("C".to_owned()))]);
        assert_eq!(fetched("close all"), [Handle::Close(None)]);
        assert_eq!(fetched("DEALLOCATE P"), [Handle::Deallocate(Some("p".to_owned()))]);
        let held = Handle::Declare { name: "c".to_owned(), kind: Kind::Select, held: true };
        assert_eq!(fetched("DECLARE c CURSOR WITH HOLD FOR SELECT 1"), [held]);
    }

    #[test]
    fn a_command_that_was_parsed_under_a_name_is_what_its_execution_is() {
        let through = by_handle(&facts("EXECUTE p"), &[&facts("DISCARD ALL")]);
        assert_eq!(through.kind, Kind::Session);
        let through = by_handle(&facts("EXPLAIN ANALYZE EXECUTE p"), &[&facts("SELECT * FROM t LIMIT 1")]);
        assert_eq!((through.kind, through.has_limit), (Kind::Explain, true));
        assert_eq!(shown(&through), "select t");
    }
}
