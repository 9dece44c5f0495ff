//! Text in quotes as Go's `strconv.Quote` writes it, because it stands in error messages that clients see.
//!
//! What this module deliberately does not do: know every character that Unicode calls unprintable; beyond Latin-1 all are taken
//! for printable.

/// One character between single quotes.
pub(super) fn quoted_char(character: char) -> String {
    let inner = match character {
        '\'' => r"\'".to_owned(),
        '"' => "\"".to_owned(),
        _ => escaped(character),
    };
    format!("'{inner}'")
}

/// Bytes between double quotes; what is no UTF-8 is written byte by byte.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut inner = String::new();
    for chunk in bytes.utf8_chunks() {
        inner.extend(chunk.valid().chars().map(escaped));
        let invalid = chunk.invalid().iter();
        inner.extend(invalid.map(|byte| format!(r"\x{byte:02x}")));
    }
    format!("\"{inner}\"")
}

fn escaped(character: char) -> String {
    match character {
        '"' | '\\' => format!("\\{character}"),
        '\n' => r"\n".to_owned(),
        '\r' => r"\r".to_owned(),
        '\t' => r"\t".to_owned(),
        '\x07' => r"\a".to_owned(),
        '\x08' => r"\b".to_owned(),
        '\x0b' => r"\v".to_owned(),
        '\x0c' => r"\f".to_owned(),
        '\0'..=' ' | '\x7f' if character != ' ' => format!(r"\x{:02x}", u32::from(character)),
        '\u{80}'..='\u{a0}' | '\u{ad}' => format!(r"\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_gos() {
        assert_eq!(quoted_char('\u{ef}'), "'\u{ef}'");
        assert_eq!(quoted_char('\''), r"'\''");
        assert_eq!(quoted_char('"'), "'\"'");
        assert_eq!(quoted_char('\\'), r"'\\'");
        assert_eq!(
            quoted(b"ab\"\\\n\x00\xff\xc3\xa4"),
            r#""ab\"\\\n\x00\xffä""#
        );
        assert_eq!(quoted(b" "), r#"" ""#);
    }
}
