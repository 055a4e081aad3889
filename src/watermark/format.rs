// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wire format, version 1: every constant that embedder and detector must agree on.
//!
//! All of it is in seconds and hertz, never in samples or FFT bins, so audio that was marked at
//! 44.1 kHz is found in a 16 kHz recording. A change of anything in the first block changes the
//! format: bump the version in [`SIGN_CONTEXT`] then, so that old and new marks cannot be confused.

/// Lag of the self-correlation, in seconds.
pub const DELAY: f64 = 0.160;
/// Time that one row of signs lasts, in seconds.
pub const ROW: f64 = 0.200;
/// The same in nanoseconds, for exact row numbers.
pub const ROW_NANOSECONDS: u64 = 200_000_000;
/// Rows before the signs repeat with [`RowClock::Stream`] (204.8 s).
pub const ROWS: usize = 1024;
/// Lower edge of chip 0, in hertz.
pub const CHIP_LOW: f64 = 300.0;
/// Width of a chip, in hertz.
pub const CHIP_WIDTH: f64 = 31.25;
/// Chips in a row. Chips above the Nyquist frequency of the stream at hand do not exist.
pub const CHIPS: usize = 198;
/// Length of the analysis window of carrier and detector, in seconds.
pub const WINDOW: f64 = 0.128;
/// Bytes of the sign stream that one row takes; chip `c` is bit `c`, least significant bit first.
pub const ROW_BYTES: usize = 32;
/// Rows of a message: with a payload, odd chips carry coded bits, and these repeat after so many rows.
pub const ROWS_PER_MESSAGE: usize = 8;
/// Time in which the signs of a row take the place of those before, half of it before the edge, in seconds. To find a
/// mark, nothing depends on it; the error of `watermark-time` does.
pub const CHANGE: f64 = 0.032;
/// Context of the subkey that draws the signs; carries the version of the format.
pub const SIGN_CONTEXT: &str = "gst-plugin-wm v1 chip signs";
/// Context of the subkey that draws where coded bits lie.
pub const PLACES_CONTEXT: &str = "gst-plugin-wm v1 payload places";
/// Context of the subkey that makes the tag of a payload.
pub const PAYLOAD_TAG_CONTEXT: &str = "gst-plugin-wm v1 payload tag";
/// Argon2id salt for passphrases.
pub const PASSPHRASE_SALT: &[u8] = b"gst-plugin-wm v1";

/// Time after which rows repeat with [`RowClock::Stream`], in seconds.
pub const CYCLE: f64 = ROWS as f64 * ROW;
/// Upper edge of the last chip, in hertz.
pub const CHIP_HIGH: f64 = CHIP_LOW + CHIPS as f64 * CHIP_WIDTH;

/// Lowest and highest sample rate that embedder and detector take, in hertz.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Most channels that embedder and detector take.
pub const MAX_CHANNELS: usize = 64;

/// Most combinations of key, row and speed that are searched, in millions: a day of rows with five keys at the default
/// speeds, or an hour at 6 percent.
pub const MOST_MILLIONS: f64 = 50.0;

/// What is added to the programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carrier {
    /// The whitened fine structure of the programme itself, 160 ms earlier and later.
    #[default]
    Programme,
    /// One noise block of 160 ms over and over: the scheme of Tai and Mansour (ICASSP 2019).
    Noise,
}

/// What counts the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowClock {
    /// Stream time; the signs repeat after [`CYCLE`] seconds.
    #[default]
    Stream,
    /// Unix time; the signs never repeat.
    Utc,
}

impl RowClock {
    /// Number of the row, as the key stream counts it, that holds `nanoseconds` of this clock.
    pub fn row(self, nanoseconds: u64) -> u64 {
        let row = nanoseconds / ROW_NANOSECONDS;
        match self {
            RowClock::Stream => row % ROWS as u64,
            RowClock::Utc => row,
        }
    }
}

/// Chip that holds `hertz`, if any does.
pub fn chip_of(hertz: f64) -> Option<usize> {
    let chip = ((hertz - CHIP_LOW) / CHIP_WIDTH).floor();
    (chip >= 0.0 && chip < CHIPS as f64).then_some(chip as usize)
}

/// Why an embedder or a detector could not be made.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigError {
    /// The sample rate lies outside [`SAMPLE_RATES`].
    SampleRate(u32),
    /// No channel, or more than [`MAX_CHANNELS`].
    Channels(usize),
    /// A setting of the detector lies outside its range: name, value, range.
    Setting(&'static str, f64, &'static str),
    /// A number of keys, and the numbers that are possible.
    Keys(usize, &'static str),
    /// Keys times rows times speeds, in millions: more than any machine would search.
    TooMuch(f64),
    /// [`Carrier::Noise`] with [`RowClock::Utc`].
    NoiseByUtc,
    /// [`Carrier::Noise`] with a payload.
    NoiseWithPayload,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigError::SampleRate(rate) => write!(
                f,
                "sample rate {rate} Hz is outside {} to {} Hz",
                SAMPLE_RATES.start(),
                SAMPLE_RATES.end()
            ),
            ConfigError::Channels(n) => {
                write!(f, "{n} channels, but 1 to {MAX_CHANNELS} are possible")
            }
            ConfigError::Setting(name, value, range) => {
                write!(f, "{name} is {value}, but must be {range}")
            }
            ConfigError::Keys(n, possible) => {
                write!(f, "{n} keys, but there must be {possible}")
            }
            ConfigError::TooMuch(millions) => write!(
                f,
                "keys, rows (by clock-tolerance) and speeds (by max-speed-deviation) make {millions:.0} million \
                 combinations, but at most {MOST_MILLIONS} can be searched: lower one of them"
            ),
            ConfigError::NoiseByUtc => {
                write!(f, "carrier=noise works with row-clock=stream only")
            }
            ConfigError::NoiseWithPayload => {
                write!(f, "carrier=noise carries no payload; use carrier=programme")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Checks what every stage asks of a stream.
pub(crate) fn check_stream(sample_rate: u32, channels: usize) -> Result<(), ConfigError> {
    if !SAMPLE_RATES.contains(&sample_rate) {
        return Err(ConfigError::SampleRate(sample_rate));
    }
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(ConfigError::Channels(channels));
    }
    Ok(())
}

/// Checks that carrier and row clock go together: nothing searches the rows of the noise carrier by the clock.
pub(crate) fn check_carrier(carrier: Carrier, row_clock: RowClock) -> Result<(), ConfigError> {
    match (carrier, row_clock) {
        (Carrier::Noise, RowClock::Utc) => Err(ConfigError::NoiseByUtc),
        _ => Ok(()),
    }
}
