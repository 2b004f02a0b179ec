//! What cut a statement short, if an outcome is not its own error.
//!
//! | outcome | what the database said |
//! |---|---|
//! | `cancelled` | 57014 at somebody's request: a `CancelRequest`, `pg_cancel_backend`, or the client's own `CopyFail` |
//! | `timeout` | 57014 by `statement_timeout`; or its last words on the connection are 25P03, 25P04 or 57P05: a limit on idle or long transactions and sessions |
//! | `killed` | its last words are 57P01, 57P02 or 57P04: `pg_terminate_backend`, a server that stops, a database that is dropped |
//! | `error` | all else, `lock_timeout` (55P03) among it: what waits for a lock too long may go on |
//!
//! Only 57014 means several things, and its text alone tells which. That a `CancelRequest` came through us does not settle it:
//! the limit may strike first, and others cancel without us (`pg_cancel_backend`, another way to the server). So the text is
//! read, in PostgreSQL's own words in each language that it speaks, and only if the routine that reported it, which is never
//! translated, is the server's own for interrupts: a function may raise any text under this code. Words that are not known (a
//! client encoding that is not UTF-8, a translation that was changed) are `cancelled`, which is what the code itself says.
//!
//! A limit of ours has the database cancel the statement, which then says "user request": the caller tells by
//! [`super::exchange::Exchange::limit_reached`], and a 57014 after that is a `timeout`.

use super::message::ErrorFields;
use crate::model::OutcomeStatus;

/// The routine in which PostgreSQL reports cancels and its own limits (`src/backend/tcop/postgres.c`).
const INTERRUPTS: &[u8] = b"ProcessInterrupts";

/// "canceling statement due to statement timeout", in each language of PostgreSQL 15 (`src/backend/po/*.po`).
const STATEMENT_TIMEOUT: &[&str] = &[
    "canceling statement due to statement timeout",
    "storniere Anfrage wegen Zeitüberschreitung der Anfrage",
    "cancelando la sentencia debido a que se agotó el tiempo de espera de sentencias",
    "annulation de la requête à cause du délai écoulé pour l'exécution de l'instruction",
    "annullamento dell'istruzione a causa di timeout",
    "ステートメントのタイムアウトのためステートメントをキャンセルしています",
    "명령실행시간 초과로 작업을 취소합니다.",
    "выполнение оператора отменено из-за тайм-аута",
    "avbryter sats på grund av sats-timeout",
    "виконання оператора скасовано через тайм-аут",
    "由于语句执行超时，正在取消查询命令",
];

/// How a statement ended that the database answered with this error. `limit_reached`: whether a limit of ours had it cancelled.
pub(super) fn status(error: &ErrorFields, limit_reached: bool) -> OutcomeStatus {
    match (error.sqlstate.as_deref(), error.fatal) {
        (Some("57014"), _) if limit_reached || is_statement_timeout(error) => OutcomeStatus::Timeout,
        (Some("57014"), _) => OutcomeStatus::Cancelled,
        (Some("25P03" | "25P04" | "57P05"), true) => OutcomeStatus::Timeout,
        (Some("57P01" | "57P02" | "57P04"), true) => OutcomeStatus::Killed,
        _ => OutcomeStatus::Error,
    }
}

fn is_statement_timeout(error: &ErrorFields) -> bool {
    // Servers that only speak the protocol name no routine.
    let is_servers_own = error.routine.as_deref().is_none_or(|routine| routine == INTERRUPTS);
    let said = |text: &&str| error.message.as_deref() == Some(text.as_bytes());
    is_servers_own && STATEMENT_TIMEOUT.iter().any(said)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn error(severity: &str, sqlstate: &str, text: &str, routine: &str) -> ErrorFields {
        let body = format!("S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0R{routine}\0\0");
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        super::super::message::error_fields(&Bytes::from([b"E", &length[..], body.as_bytes()].concat()))
    }

    #[test]
    fn a_cancel_and_a_statement_timeout_have_one_code_and_two_outcomes() {
        let of = |text: &str, routine: &str| status(&error("ERROR", "57014", text, routine), false);
        let own = "ProcessInterrupts";
        for text in STATEMENT_TIMEOUT {
            assert_eq!(of(text, own), OutcomeStatus::Timeout, "{text}");
        }
        for text in ["canceling statement due to user request", "storniere Anfrage wegen Benutzeraufforderung", "?"] {
            assert_eq!(of(text, own), OutcomeStatus::Cancelled, "{text}");
        }
        assert_eq!(of("COPY from stdin failed: enough", "CopyGetData"), OutcomeStatus::Cancelled);
        let raised = of("canceling statement due to statement timeout", "exec_stmt_raise");
        assert_eq!(raised, OutcomeStatus::Cancelled, "a function may say what it likes");
        let bare = Bytes::from_static(b"E\0\0\0\x3eC57014\0Mcanceling statement due to statement timeout\0\0");
        let bare = super::super::message::error_fields(&bare);
        assert_eq!(status(&bare, false), OutcomeStatus::Timeout, "by a server that names no routine");
        let asked = error("ERROR", "57014", "canceling statement due to user request", own);
        assert_eq!(status(&asked, true), OutcomeStatus::Timeout, "by a limit of ours");
    }

    #[test]
    fn codes_that_end_a_connection_say_who_ended_it_only_as_its_last_words() {
        for (sqlstate, wanted) in [
            ("57P01", OutcomeStatus::Killed),
            ("57P02", OutcomeStatus::Killed),
            ("57P04", OutcomeStatus::Killed),
            ("25P03", OutcomeStatus::Timeout),
            ("25P04", OutcomeStatus::Timeout),
            ("57P05", OutcomeStatus::Timeout),
            ("55P03", OutcomeStatus::Error),
            ("40001", OutcomeStatus::Error),
        ] {
            assert_eq!(status(&error("FATAL", sqlstate, "bye", ""), false), wanted, "{sqlstate}");
            assert_eq!(status(&error("ERROR", sqlstate, "raised", ""), true), OutcomeStatus::Error, "{sqlstate}");
        }
    }
}
