//! `schemas/vectors/`: what others check their own reading of the rules against. Each file is held to this code in both
//! directions; `tests/nothing_forged.rs` holds it to a reader in another language.

mod rows;
mod trees_and_notes;

use serde_json::Value;

/// Writes the file anew if that was asked for; returns what is kept, which is what is `made`.
pub(super) fn kept(name: &str, made: &Value) -> Value {
    let path = format!("{}/schemas/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = format!("{}\n", serde_json::to_string_pretty(made).unwrap());
    if std::env::var_os("HANSARD_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == text,
        "{path} is stale. Signatures over old bytes must stay valid: if that is what changed, undo it. \
        HANSARD_WRITE_SCHEMAS=1 writes it anew"
    );
    serde_json::from_str(&kept).unwrap()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &Value) -> Vec<u8> {
    let digits: Vec<u32> = text.as_str().unwrap().chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}
