//! Models as Anthropic's API lists them.

use serde_json::{Value, json};

/// The model's entry; `created` is in seconds since 1970.
pub fn entry(id: &str, created: u64) -> Value {
    json!({
        "type": "model",
        "id": id,
        "display_name": id,
        "created_at": rfc3339(created),
        "lifecycle": "active",
    })
}

/// A page with all of `entries`, which are of different ids.
pub fn page(entries: &[Value]) -> Value {
    json!({
        "data": entries,
        "has_more": false,
        "first_id": entries.first().map(|entry| &entry["id"]),
        "last_id": entries.last().map(|entry| &entry["id"]),
    })
}

/// A time as `2026-01-31T23:59:59Z`.
fn rfc3339(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    let (year, month, day) = date(seconds / DAY);
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted from
/// March, so that a leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    // From 0000-03-01 on.
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "1970-01-01T00:00:00Z")]
    #[case(951_782_399, "2000-02-28T23:59:59Z")]
    #[case(951_782_400, "2000-02-29T00:00:00Z")]
    #[case(951_868_800, "2000-03-01T00:00:00Z")]
    #[case(1_735_689_599, "2024-12-31T23:59:59Z")]
    #[case(1_709_209_506, "2024-02-29T12:25:06Z")]
    #[case(4_107_542_400, "2100-03-01T00:00:00Z")]
    fn times(#[case] seconds: u64, #[case] want: &str) {
        assert_eq!(rfc3339(seconds), want);
    }

    #[test]
    fn a_page_names_its_ends() {
        let page = page(&[entry("a", 0), entry("b", 0)]);
        assert_eq!((&page["first_id"], &page["last_id"]), (&json!("a"), &json!("b")));
        assert_eq!(page["data"][1]["created_at"], "1970-01-01T00:00:00Z");
    }
}
