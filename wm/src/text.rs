// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures as people read them.

/// A time within a file, such as 0:01.336 or 1:02:03.500.
pub fn time(time: gst::ClockTime) -> String {
    let milliseconds = (time.nseconds() + 500_000) / 1_000_000;
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}.{rest:03}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{rest:03}"),
    }
}

/// Unix time in nanoseconds, such as 2026-11-27T14:45:57.120Z.
pub fn utc(nanoseconds: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds));
    time.map_or_else(|_| nanoseconds.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_milliseconds() {
        for (nanoseconds, expected) in [
            (0, "0:00.000"),
            (1_336_400_000, "0:01.336"),
            (59_999_600_000, "1:00.000"),
            (3_723_500_000_000, "1:02:03.500"),
        ] {
            assert_eq!(time(gst::ClockTime::from_nseconds(nanoseconds)), expected);
        }
        assert_eq!(utc(1_700_000_000_120_000_000), "2023-11-14T22:13:20.120Z");
    }
}
