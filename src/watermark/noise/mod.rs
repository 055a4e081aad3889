// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detection of the noise carrier: one noise block of 160 ms over and over, inverted chip by chip.
//!
//! All blocks hold the same noise, so each correlates with every other, not only with its neighbour. All
//! pairs of the latest 12 blocks count, up to 11 blocks (1.76 s) apart: the pair of block i and an earlier
//! block j has the sign S\[i\] S\[j\] and, in chip c, the correlation b_ij\[c\].
//!
//! [`lags`] makes the correlations from audio, [`search`] looks for blocks that could be marked with the
//! two shortest lags alone, [`form`] scores what it finds with all pairs, [`judge`] says found, present
//! and lost.
//!
//! # The bound
//!
//! T = sum over pairs and chips of b_ij s_i s_j is a quadratic form in the signs. The products s_i s_j of
//! pairs that share a block are not independent, so the bound of [`super::bound`] does not hold: unmarked
//! audio that is steady, such as a held note, makes forms with tails far heavier than Gaussian ones.
//! But T is a martingale if blocks are taken in order of time. Block i adds
//!
//! > T_i = sum over c of s_i\[c\] g_i\[c\], with g_i\[c\] = sum over j < i of s_j\[c\] b_ij\[c\],
//!
//! and when the signs of all earlier blocks are known, g_i is a fixed number and s_i\[c\] are fresh fair coins.
//! So, for any fixed l (Hoeffding's lemma: cosh x <= exp(x^2 / 2)),
//!
//! > E\[exp(l T_i - l^2 V_i / 2) | earlier signs\] = product over c of cosh(l g_i\[c\]) exp(-l^2 g_i\[c\]^2 / 2) <= 1,
//! > with V_i = sum over c of g_i\[c\]^2.
//!
//! Taking blocks one by one, E exp(l T - l^2 V / 2) <= 1 with V = sum of V_i, and by Markov's inequality
//! P(l T - l^2 V / 2 >= a) <= exp(-a) for any a > 0. This is exact for any audio, without constants to be
//! found. It is the exponential supermartingale behind Freedman's inequality and self-normalised
//! processes (Freedman, "On tail probabilities for martingales", Annals of Probability 3, 1975; de la Peña,
//! "A general class of exponential inequalities for martingales and ratios", Annals of Probability 27, 1999).
//!
//! The variance of T is sigma^2 = E V = sum of b_ij^2, which depends on the audio alone. With
//! a = u^2 / 2 and l = u / sigma the event becomes
//!
//! > score = T / sigma - (u / 2) (V / sigma^2 - 1) >= u, so P(score >= u) <= exp(-u^2 / 2):
//!
//! as good as for independent signs. The heavy tail of T has gone into V: it comes from guesses of the
//! signs for which V is large too. With the right signs of a mark that is just found, V is hardly above sigma^2.
//! The price is that u is chosen beforehand: it is the threshold, and far above it exp(-u score + u^2 / 2)
//! bounds the probability, not exp(-score^2 / 2).

mod form;
mod judge;
mod lags;
mod search;

pub use judge::NoiseJudge;
pub use lags::LagCorrelator;

use super::format::{DELAY, ROWS};

/// Blocks whose pairs are scored.
const BLOCKS: usize = 12;
/// Lags between them.
const LAGS: usize = BLOCKS - 1;
/// Pairs of blocks.
const PAIRS: usize = BLOCKS * LAGS / 2;
/// Frames in a block, which lasts one delay.
const FRAMES_PER_BLOCK: u64 = 16;
/// Slots in a block: each slot may be the last of a block.
const SLOTS_PER_BLOCK: u64 = 4;
const FRAMES_PER_SLOT: u64 = FRAMES_PER_BLOCK / SLOTS_PER_BLOCK;
/// Time that a slot lasts, in seconds.
const SLOT: f64 = DELAY / SLOTS_PER_BLOCK as f64;
/// Time after which the signs of the blocks repeat, in seconds.
const NOISE_CYCLE: f64 = ROWS as f64 * DELAY;
/// Slots in that time.
const CYCLE_SLOTS: i64 = (ROWS as u64 * SLOTS_PER_BLOCK) as i64;

/// Distance of two speeds that the first stage tries, as a ratio, with lags of one and two blocks.
const COARSE_STEP: f64 = super::speeds::SPEED_STEP;
/// Steps of speed for all lags in one step for the shortest ones. The pairs are 5.1 blocks apart in the
/// root mean square, so steps five times finer lose as much as the coarse ones do at a lag of one block.
const FINE: i32 = 5;
/// Largest deviation of the speed that is searched, in percent: the latest and the earliest block are
/// then 18 ms further apart or nearer than at nominal speed, and a window of 128 ms still sees the same noise.
pub const MAX_DEVIATION: f64 = 1.0;
