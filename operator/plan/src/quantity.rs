//! Kubernetes quantities as whole numbers of bytes, for the one flag that wants bytes.
//!
//! Deliberately not a full quantity type: no arithmetic, no canonical form, no negative numbers.

/// The whole number a quantity stands for, rounded down; `None` if it is no quantity or does not fit.
#[must_use]
pub(crate) fn bytes(text: &str) -> Option<u64> {
    u64::try_from(thousandths(text)? / 1000).ok()
}

/// A quantity in thousandths, the smallest unit Kubernetes knows.
#[must_use]
pub(crate) fn thousandths(text: &str) -> Option<u128> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let below = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(scale(unit)?)? / below)
}

/// What a suffix multiplies by, in thousandths.
fn scale(unit: &str) -> Option<u128> {
    let binary = |power: u32| Some(1000 * 1024u128.pow(power));
    let decimal = |power: u32| Some(1000 * 10u128.pow(power));
    match unit {
        "" => Some(1000),
        "m" => Some(1),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        exponent => exponent
            .strip_prefix(['e', 'E'])?
            .parse()
            .ok()
            .filter(|p| *p <= 18)
            .and_then(decimal),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn quantities_are_bytes() {
        for (text, wanted) in [
            ("1", Some(1)),
            ("4Gi", Some(4 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("0.5Ki", Some(512)),
            ("2500m", Some(2)),
            ("5G", Some(5_000_000_000)),
            ("1e3", Some(1000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            (".5Mi", Some(1 << 19)),
        ] {
            assert_eq!(bytes(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in [
            "",
            "Gi",
            "-1Gi",
            "1.2.3",
            "1 Gi",
            "1GiB",
            "99999999999999Ei",
            "1e99",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
