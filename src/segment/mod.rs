//! Records ⇄ Parquet, as `schemas/` says.
