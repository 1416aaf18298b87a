//! Sizes in bytes as people write and read them.

/// Units, by what is written behind the number.
const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Reads `8GB`, `7.5 GiB` or `8000000000`.
///
/// # Errors
/// What is expected instead.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a size such as 8GB, 7.5GiB or 8000000000, got {text:?}");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor).ok_or_else(expected);
    }
    let parts = number.parse::<f64>().map_err(|_| expected())?;
    let bytes = parts * *factor as f64;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(expected()) }
}

/// `1.50 GiB`, `12.0 MiB`, `96.0 KiB`, `512 B`.
pub fn bytes(n: u64) -> String {
    let x = n as f64;
    match n {
        0..=1023 => format!("{n} B"),
        1024..=1_048_575 => format!("{:.1} KiB", x / 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.1} MiB", x / 1_048_576.0),
        _ => format!("{:.2} GiB", x / 1_073_741_824.0),
    }
}

/// Digits in groups of three.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("8GB", Some(8_000_000_000))]
    #[case("8GiB", Some(8 << 30))]
    #[case("8 gib", Some(8 << 30))]
    #[case("7.5GiB", Some(15 << 29))]
    #[case("123", Some(123))]
    #[case("123B", Some(123))]
    #[case("0", Some(0))]
    #[case("", None)]
    #[case("GB", None)]
    #[case("8XB", None)]
    #[case("-1", None)]
    #[case("1.2.3GB", None)]
    #[case("99999999999TiB", None)]
    #[case("18446744073709551616", None)]
    fn sizes(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(parse_bytes(text).ok(), expected);
    }
}
