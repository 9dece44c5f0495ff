//! Whole numbers as JSON may write them: `15`, `1.50e1` and `150e-1` are the same.

use crate::gateway::scan::is_number;

/// More digits than any 64-bit number has; what would need more is none.
const DIGITS_MAX: usize = 20;

/// The whole number that this text is, if it is one.
pub(super) fn integer(text: &[u8]) -> Option<i128> {
    if !is_number(text) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    if whole.is_empty() && fraction.is_empty() {
        return Some(0);
    }
    let exponent = exponent.map_or(Some(0), |exponent| exponent.parse::<i32>().ok())?;
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    let digits = if exponent < 0 {
        shifted_right(whole, fraction, shift)?
    } else {
        shifted_left(whole, fraction, shift)?
    };
    Some(sign * digits.parse::<i128>().ok()?)
}

fn shifted_left(whole: &str, fraction: &str, shift: usize) -> Option<String> {
    let zeros = shift.checked_sub(fraction.len())?;
    let fits = whole.len() + shift <= DIGITS_MAX;
    fits.then(|| format!("{whole}{fraction}{}", "0".repeat(zeros)))
}

fn shifted_right(whole: &str, fraction: &str, shift: usize) -> Option<String> {
    let (kept, dropped) = whole.split_at(whole.len().checked_sub(shift)?);
    let is_whole = fraction.is_empty() && dropped.bytes().all(|digit| digit == b'0');
    is_whole.then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("0.0e9", 0),
            ("15", 15),
            ("1.0", 1),
            ("1.50e1", 15),
            ("150e-1", 15),
            ("-1E+3", -1000),
            ("0.05e2", 5),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(integer(text.as_bytes()), Some(number), "{text}");
        }
        for text in [
            "",
            "1.5",
            "155e-1",
            "1e-1",
            "1e20",
            "1e400000000000",
            "x",
            "\"1\"",
            " 1",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
