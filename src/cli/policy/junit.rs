//! Results of tests in the XML that build servers read (JUnit's).

use super::run::SuiteRun;

/// The document.
pub(super) fn document(runs: &[SuiteRun]) -> String {
    let count = |run: &SuiteRun| (run.cases.len(), run.cases.iter().filter(|case| !case.passed).count());
    let (tests, failures) = runs.iter().map(count).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text += &format!("<testsuites name=\"hansard policy test\" tests=\"{tests}\" failures=\"{failures}\">\n");
    for run in runs {
        let (tests, failures) = count(run);
        let file = escaped(&run.file);
        text += &format!("  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">\n");
        for case in &run.cases {
            let head = format!(
                "    <testcase classname=\"{file}\" name=\"{}\" file=\"{file}\" line=\"{}\"",
                escaped(&case.name),
                case.line
            );
            if case.passed {
                text += &format!("{head}/>\n");
                continue;
            }
            let (expected, got) = (escaped(&case.expected), escaped(&case.got));
            let asked = escaped(case.sql.as_deref().unwrap_or("connect"));
            let who = escaped(&case.who);
            text += &format!(
                "{head}>\n      <failure message=\"expected {expected}, got {got}\">as {who}\n{asked}</failure>\n    </testcase>\n"
            );
        }
        text += "  </testsuite>\n";
    }
    text + "</testsuites>\n"
}

/// Text for XML 1.0, in an attribute or an element. A character that XML cannot hold becomes U+FFFD, and white space is
/// written as a number so that attributes keep it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&apos;",
            '\t' | '\n' | '\r' => safe += &format!("&#{};", u32::from(c)),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::cases::Ran;
    use super::*;

    fn ran(name: &str, passed: bool) -> Ran {
        Ran {
            name: name.to_owned(),
            line: 7,
            who: "{\"sub\":\"x\"}".to_owned(),
            sql: Some("SELECT '<a>' & \u{1b}\n\0]]>".to_owned()),
            expected: "deny by \"x\"".to_owned(),
            got: "allow".to_owned(),
            passed,
            rules: Vec::new(),
        }
    }

    #[test]
    fn hostile_names_and_statements_stay_text() {
        let run = SuiteRun { file: "a&b.test.toml".to_owned(), cases: vec![ran("fine", true), ran("\"<x>'", false)] };
        let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"hansard policy test\" tests=\"2\" failures=\"1\">
  <testsuite name=\"a&amp;b.test.toml\" tests=\"2\" failures=\"1\" errors=\"0\">
    <testcase classname=\"a&amp;b.test.toml\" name=\"fine\" file=\"a&amp;b.test.toml\" line=\"7\"/>
    <testcase classname=\"a&amp;b.test.toml\" name=\"&quot;&lt;x&gt;&apos;\" file=\"a&amp;b.test.toml\" line=\"7\">
      <failure message=\"expected deny by &quot;x&quot;, got allow\">as {&quot;sub&quot;:&quot;x&quot;}
SELECT &apos;&lt;a&gt;&apos; &amp; \u{fffd}&#10;\u{fffd}]]&gt;</failure>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(document(&[run]), expected);
    }
}
