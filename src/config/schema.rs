//! The JSON schema of the file, from the same declarations that read it.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use super::file::File;

/// The schema that `schemas/config.v1.json` holds. Draft 7, because that is what editors' TOML plug-ins understand.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>();
    RecursiveTransform(drop_null).transform(&mut schema);
    RecursiveTransform(unwrap_sentences).transform(&mut schema);
    schema.insert("title".to_owned(), "hansard configuration, version 1".into());
    schema.to_value()
}

/// Takes away the null that stands for an absent key: TOML has none.
fn drop_null(schema: &mut Schema) {
    let is_null = |value: &Value| value == "null" || value.get("type").is_some_and(|kind| kind == "null");
    for key in ["type", "enum", "anyOf"] {
        let Some(Value::Array(choices)) = schema.get_mut(key) else { continue };
        choices.retain(|choice| !choice.is_null() && !is_null(choice));
        let [only] = choices.as_slice() else { continue };
        let only = only.clone();
        match (key, only) {
            ("anyOf", Value::Object(inner)) => {
                schema.remove("anyOf");
                for (key, value) in inner {
                    schema.ensure_object().entry(key).or_insert(value);
                }
            }
            ("type", only) => {
                schema.insert("type".to_owned(), only);
            }
            _ => {}
        }
    }
}

/// Puts the sentences of a doc comment on one line: an editor wraps them as it likes.
fn unwrap_sentences(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
