//! Journal → segment → store → freed journal files; the only code that has anything deleted.
