//! What the database calls a session: the name that its client gives itself, and our reference to the session.
//!
//! Promises: the reference is whole whatever the client calls itself, and leads from a line of the database's own log, or of
//! `pg_stat_activity`, to the record. Because the name stands in the startup packet, `RESET ALL`, `DISCARD ALL` and
//! `RESET application_name` lead back to it. The record and the rules have the client's own name, as ever.
//!
//! A client that sets `application_name` later, by a statement, is called so from then on: it is free to, and to change what
//! a statement says is not ours to do. Whoever must rely on the reference forbids that by a rule.

use crate::model::SessionId;

/// The setting.
const SETTING: &str = "application_name";
/// The bytes of a name that the server keeps (`NAMEDATALEN` without its end).
const LONGEST: usize = 63;

/// Gives the session a name in what goes upstream.
pub(super) fn name(parameters: &mut Vec<(String, String)>, session: SessionId) {
    let is_it = |name: &str| name.eq_ignore_ascii_case(SETTING);
    // The last of several counts, and one here counts before one in `options`.
    let own = parameters.iter().rev().find(|(name, _)| is_it(name)).map(|(_, value)| value.clone());
    parameters.retain(|(name, _)| !is_it(name));
    parameters.push((SETTING.to_owned(), with_reference(own.as_deref().unwrap_or_default(), &session.to_string())));
}

/// The client's own name as far as there is room. Letters outside ASCII become `?`, as at servers before 16: newer ones write
/// each as several, and then cut the end off.
fn with_reference(own: &str, reference: &str) -> String {
    let room = LONGEST.saturating_sub(reference.len() + 1);
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    let own: String = own.chars().take(room).map(|letter| if is_plain(letter) { letter } else { '?' }).collect();
    let own = own.trim_end();
    if own.is_empty() { reference.to_owned() } else { format!("{own} {reference}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_whole_whatever_the_client_calls_itself() {
        let long = "x".repeat(80);
        for (own, name) in [
            ("psql", "psql K7Q4M2XKDT".to_owned()),
            ("", "K7Q4M2XKDT".to_owned()),
            ("  ", "K7Q4M2XKDT".to_owned()),
            ("caf\u{e9}\n", "caf?? K7Q4M2XKDT".to_owned()),
            (&long, format!("{} K7Q4M2XKDT", "x".repeat(52))),
        ] {
            let named = with_reference(own, "K7Q4M2XKDT");
            assert!(named == name && named.len() <= LONGEST, "{own}: {named}");
        }
    }

    #[test]
    fn it_stands_once_in_what_goes_upstream() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let session = SessionId::from_bits(0);
        let mut parameters =
            vec![pair("Application_Name", "a"), pair("client_encoding", "UTF8"), pair("application_name", "b")];
        name(&mut parameters, session);
        assert_eq!(parameters, [pair("client_encoding", "UTF8"), pair(SETTING, &format!("b {session}"))]);
    }
}
