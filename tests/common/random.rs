// SPDX-License-Identifier: MIT OR Apache-2.0
/// Numbers from 0 to 1 that are the same every time.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A sample of white noise, -1 to 1.
    pub fn noise(&mut self) -> f32 {
        2.0 * self.uniform() - 1.0
    }
}
