//! Token → [`crate::model::Principal`], or why not.
