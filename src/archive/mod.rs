//! What was shipped, read back: query, replay, why.
