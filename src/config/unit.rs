//! Durations and sizes as people write them: a whole number and a unit, `30s`, `8MiB`.

use std::time::Duration;

/// Reads `50ms`, `30s`, `5min`, `1h`, `30d`, `2w`.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let why = "is not a duration: a whole number and one of ms, s, min, h, d, w";
    let (number, unit) = split(text).ok_or(why)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(why),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or("is longer than time can be counted")
}

/// Reads `512`, `64KiB`, `8 MiB`, `64 GiB`, `1TiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, &'static str> {
    let why = "is not a size: a whole number and one of B, KiB, MiB, GiB, TiB";
    let (number, unit) = split(text).ok_or(why)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        // PostgreSQL's kB is 1024 bytes, everybody else's is 1000: nobody shall have to guess.
        "kB" | "KB" | "MB" | "GB" | "TB" => return Err("leaves open whether a kilobyte is 1000 or 1024 bytes"),
        _ => return Err(why),
    };
    number.checked_mul(bytes).ok_or("is more than 64 bits can count")
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        #[rustfmt::skip]
        let cases = [
            // text                  milliseconds         why
            ("50ms",                 Some(50),            "the smallest unit"),
            ("30s",                  Some(30_000),        "seconds"),
            ("1h",                   Some(3_600_000),     "hours"),
            ("30 d",                 Some(2_592_000_000), "a space is no mistake"),
            ("1m",                   Some(60_000),        "minutes: nobody means a month here"),
            ("30",                   None,                "thirty what?"),
            ("1.5h",                 None,                "whole numbers alone"),
            ("-1s",                  None,                "time does not run back"),
            ("",                     None,                "nothing"),
            ("99999999999999999999d", None,               "no number of 64 bits"),
            ("9999999999999999d",    None,                "too long to count"),
        ];
        for (text, millis, why) in cases {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{why}: {text}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_binary_unit() {
        #[rustfmt::skip]
        let cases = [
            // text          bytes                  why
            ("512",          Some(512),             "bytes need no unit"),
            ("64KiB",        Some(65_536),          "the usual way"),
            ("64 GiB",       Some(68_719_476_736),  "a space is no mistake"),
            ("8MB",          None,                  "a million or 2^20 bytes?"),
            ("8 mib",        None,                  "units are written one way"),
            ("1e3",          None,                  "whole numbers alone"),
            ("99999999TiB",  None,                  "more than 64 bits"),
        ];
        for (text, size, why) in cases {
            assert_eq!(bytes(text).ok(), size, "{why}: {text}");
        }
    }
}
