//! `strftime_now`: the local time in Python's `strftime`, C locale.

use std::fmt::Write as _;

use jiff::{Zoned, civil::DateTime};

/// The local time now, formatted.
pub(super) fn strftime_now(format: &str) -> String {
    strftime(format, Zoned::now().datetime())
}

/// `datetime.strftime` of a time without a zone. Unknown directives stay as they are.
fn strftime(format: &str, time: DateTime) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut rest = chars.clone();
        let mut flag = None;
        let mut directive = rest.next();
        if let Some('-' | '_' | '0' | '^' | '#') = directive {
            flag = directive;
            directive = rest.next();
        }
        match directive.and_then(|d| field(d, time)) {
            Some(text) => {
                apply(flag, &text, &mut out);
                chars = rest;
            }
            None => out.push('%'),
        }
    }
    out
}

/// glibc's flags: no padding, spaces, zeros, upper case, opposite case.
fn apply(flag: Option<char>, text: &str, out: &mut String) {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b' ');
    let bare = text.trim_start_matches(['0', ' ']);
    let bare = if bare.is_empty() { "0" } else { bare };
    match flag {
        Some('-') if digits => out.push_str(bare),
        Some(fill @ ('_' | '0')) if digits => {
            let fill = if fill == '_' { ' ' } else { '0' };
            out.extend(std::iter::repeat_n(fill, text.len() - bare.len()));
            out.push_str(bare);
        }
        Some('#') if text == "AM" || text == "PM" => out.push_str(&text.to_lowercase()),
        Some('^' | '#') => out.push_str(&text.to_uppercase()),
        _ => out.push_str(text),
    }
}

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The text of one directive.
fn field(directive: char, time: DateTime) -> Option<String> {
    let weekday = time.weekday().to_sunday_zero_offset() as usize;
    let month = MONTHS[(time.month() - 1).clamp(0, 11) as usize];
    let hour12 = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let week = |monday_first: bool| {
        let since = if monday_first { (weekday + 6) % 7 } else { weekday };
        (time.day_of_year() as usize + 6 - since) / 7
    };
    let iso = time.date().iso_week_date();
    let join = |format: &str| Some(strftime(format, time));
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match directive {
        'a' => write!(out, "{}", &WEEKDAYS[weekday][..3]),
        'A' => write!(out, "{}", WEEKDAYS[weekday]),
        'b' | 'h' => write!(out, "{}", &month[..3]),
        'B' => write!(out, "{month}"),
        'C' => write!(out, "{:02}", time.year() / 100),
        'd' => write!(out, "{:02}", time.day()),
        'e' => write!(out, "{:2}", time.day()),
        'f' => write!(out, "{:06}", time.subsec_nanosecond() / 1000),
        'G' => write!(out, "{}", iso.year()),
        'g' => write!(out, "{:02}", iso.year() % 100),
        'H' => write!(out, "{:02}", time.hour()),
        'I' => write!(out, "{hour12:02}"),
        'j' => write!(out, "{:03}", time.day_of_year()),
        'k' => write!(out, "{:2}", time.hour()),
        'l' => write!(out, "{hour12:2}"),
        'm' => write!(out, "{:02}", time.month()),
        'M' => write!(out, "{:02}", time.minute()),
        'n' => writeln!(out),
        'p' => write!(out, "{}", if time.hour() < 12 { "AM" } else { "PM" }),
        'P' => write!(out, "{}", if time.hour() < 12 { "am" } else { "pm" }),
        'S' => write!(out, "{:02}", time.second()),
        't' => write!(out, "\t"),
        'u' => write!(out, "{}", if weekday == 0 { 7 } else { weekday }),
        'U' => write!(out, "{:02}", week(false)),
        'V' => write!(out, "{:02}", iso.week()),
        'w' => write!(out, "{weekday}"),
        'W' => write!(out, "{:02}", week(true)),
        'y' => write!(out, "{:02}", time.year() % 100),
        'Y' => write!(out, "{}", time.year()),
        'z' | 'Z' => Ok(()),
        '%' => write!(out, "%"),
        'c' => return join("%a %b %e %H:%M:%S %Y"),
        'D' | 'x' => return join("%m/%d/%y"),
        'F' => return join("%Y-%m-%d"),
        'r' => return join("%I:%M:%S %p"),
        'R' => return join("%H:%M"),
        'T' | 'X' => return join("%H:%M:%S"),
        _ => return None,
    };
    Some(out)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::strftime;

    #[rstest::rstest]
    #[case("%d %b %Y", "05 Jan 2025")]
    #[case("%A, %B %-d, %Y %H:%M:%S.%f", "Sunday, January 5, 2025 15:04:09.000123")]
    #[case("%a %j %U %W %V %G %u %w %y %C", "Sun 005 01 00 01 2025 7 0 25 20")]
    #[case("%I:%M %p|%l|%k|%e|%_d|%^b", "03:04 PM| 3|15| 5| 5|JAN")]
    #[case(
        "%c|%x|%X|%D|%F|%T|%R",
        "Sun Jan  5 15:04:09 2025|01/05/25|15:04:09|01/05/25|2025-01-05|15:04:09|15:04"
    )]
    #[case("%z%Z%%%Q%", "%%Q%")]
    fn dates_read_as_in_python(#[case] format: &str, #[case] expected: &str) {
        assert_eq!(strftime(format, date(2025, 1, 5).at(15, 4, 9, 123_000)), expected);
    }
}
