//! Facts + principal → [`crate::model::Decision`]; default deny, and a failing rule denies.
