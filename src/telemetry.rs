//! Logs about ourselves, for operators; never the record, never SQL, values or tokens.
