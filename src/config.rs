//! The configuration: typed, unknown keys refused with a suggestion, all problems at once.
