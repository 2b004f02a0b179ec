//! The durable local log: the one place that answers "is it on disk?".
