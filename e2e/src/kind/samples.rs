//! Reads single values from what `/metrics` answers.
//!
//! It deliberately is no parser of the format: labels are compared as text.

/// The value of the sample with this name and no labels.
#[must_use]
pub fn value(exposition: &str, name: &str) -> Option<f64> {
    let sample = |line: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(' ')?;
        value.split(' ').next()?.parse().ok()
    };
    exposition.lines().find_map(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sample_of_exactly_this_name() {
        let text = "# HELP a_b text\na_b{x=\"1\"} 3\na_bc 4\na_b 2 1700000000\n";
        assert_eq!(value(text, "a_b"), Some(2.0));
        assert_eq!(value(text, "a_bc"), Some(4.0));
        assert_eq!(value(text, "a"), None);
    }
}
