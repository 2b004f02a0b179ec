//! Text + dialect → [`crate::model::Facts`]; unreadable text is a fact, not an error.
