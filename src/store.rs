//! Put once, over `object_store`.
