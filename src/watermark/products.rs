// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chip correlations times the signs of all rows: the product of a sign matrix and a vector, many times over.
//!
//! Signs are only +1 and -1, so four chips have sixteen possible sums. These are made once for each four of the 198
//! chips, and what is left for each row is to look up 54 of them and add. That is the method of the Four Russians
//! (Arlazarov, Dinic, Kronrod and Faradzhev 1970). With sums of one byte a processor does that for 32 rows at once
//! ([`super::lookup`]).
//!
//! Bytes are enough because the chips are whole numbers so small that those of a batch never add up to more, see
//! [`super::rounded`].
//!
//! The even chips come first. What is added up then is the product with the pilots alone, in case that the odd ones
//! carry a payload.

use super::format::CHIPS;
use super::lookup::{Lookup, Processor, ROWS_AT_ONCE, Sums, VALUES, WithLookup};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Chips that are looked up together.
const GROUP: usize = 4;
const _: () = assert!(VALUES == 1 << GROUP);
/// What is added up in bytes: every sixth chip, because loud and soft ones lie side by side. Half of the batches have
/// the even chips, half the odd ones.
pub const BATCHES: usize = 6;
const PILOTS: usize = BATCHES / 2;
/// Groups of a batch; the last has one chip.
const GROUPS: usize = CHIPS.div_ceil(BATCHES * GROUP);
/// What products are multiplied by to fill 16 bits.
pub const SCALE: i16 = 1 << SHIFT;
const SHIFT: i32 = 5;
/// What the magnitudes of the chips of a batch may add up to.
pub const MOST: i32 = i8::MAX as i32;
const _: () = assert!(BATCHES as i32 * MOST * SCALE as i32 <= i16::MAX as i32);

/// The batch of the chips that leave this over when their number is divided by that of the batches.
const fn batch_of(class: usize) -> usize {
    class / 2 + class % 2 * PILOTS
}

/// Where a chip is: its batch, group and place in that.
const fn place(chip: usize) -> (usize, usize, usize) {
    let at = chip / BATCHES;
    (batch_of(chip % BATCHES), at / GROUP, at % GROUP)
}

/// The signs of all rows that are searched, as one matrix.
pub struct SignMatrix {
    rows: usize,
    /// Of batch `b` and piece `p` of the rows at `b * pieces + p`, group by group: bit `i` is set where chip `i` of the
    /// group has sign -1. Row `n` of the key has index `n % rows`.
    signs: Vec<[[u8; ROWS_AT_ONCE]; GROUPS]>,
}

impl SignMatrix {
    /// A matrix of `rows` rows, all signs +1: a multiple of those that are looked up together.
    pub fn new(rows: usize) -> Self {
        debug_assert!(rows.is_multiple_of(ROWS_AT_ONCE));
        let pieces = rows / ROWS_AT_ONCE;
        SignMatrix {
            rows,
            signs: vec![[[0; ROWS_AT_ONCE]; GROUPS]; BATCHES * pieces],
        }
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the signs of a row.
    pub fn load(&mut self, row: u64, signs: &[f32; CHIPS]) {
        let mut groups = [[0u8; GROUPS]; BATCHES];
        for (chip, sign) in signs.iter().enumerate() {
            let (batch, group, bit) = place(chip);
            groups[batch][group] |= ((*sign < 0.0) as u8) << bit;
        }
        let index = (row % self.rows as u64) as usize;
        let (piece, at) = (index / ROWS_AT_ONCE, index % ROWS_AT_ONCE);
        let pieces = self.signs.chunks_exact_mut(self.rows / ROWS_AT_ONCE);
        for (pieces, groups) in pieces.zip(groups) {
            for (signs, bits) in pieces[piece].iter_mut().zip(groups) {
                signs[at] = bits;
            }
        }
    }

    /// The product of one vector with the signs of one row, as [`Products::multiply`] has it: of the even chips, and of
    /// the odd ones.
    pub fn product(&self, arch: Arch, index: usize, vector: &PlacedChips) -> [i32; 2] {
        let (piece, at) = (index / ROWS_AT_ONCE, index % ROWS_AT_ONCE);
        let batches = self.signs.chunks_exact(self.rows / ROWS_AT_ONCE);
        let mut signs = NO_CHIPS;
        for (signs, batch) in signs.iter_mut().zip(batches) {
            let groups = signs.as_chunks_mut::<GROUP>().0.iter_mut();
            for (signs, patterns) in groups.zip(&batch[piece]) {
                *signs = SIGNS[patterns[at] as usize % VALUES];
            }
        }
        arch.dispatch(Multiply {
            signs: &signs,
            vector,
        })
    }
}

/// The product of two rows.
struct Multiply<'a> {
    signs: &'a PlacedChips,
    vector: &'a PlacedChips,
}

impl WithSimd for Multiply<'_> {
    type Output = [i32; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [i32; 2] {
        let half = |batches: Range<usize>| {
            let signs = self.signs[batches.clone()].as_flattened();
            let chips = self.vector[batches].as_flattened();
            let mut sum = 0i16;
            for (sign, chip) in signs.iter().zip(chips) {
                sum += (sign * chip) as i16;
            }
            sum as i32 * SCALE as i32
        };
        [half(0..PILOTS), half(PILOTS..BATCHES)]
    }
}

/// The signs of each pattern.
const SIGNS: [[i8; GROUP]; VALUES] = {
    let mut signs = [[1; GROUP]; VALUES];
    let mut i = 0;
    while i < VALUES * GROUP {
        let (pattern, chip) = (i / GROUP, i % GROUP);
        signs[pattern][chip] -= 2 * (pattern >> chip & 1) as i8;
        i += 1;
    }
    signs
};

/// Chips batch by batch, as they are multiplied; what the last group has room for is 0.
pub type PlacedChips = [[i8; GROUP * GROUPS]; BATCHES];
pub const NO_CHIPS: PlacedChips = [[0; GROUP * GROUPS]; BATCHES];

/// Puts chips where they belong.
#[inline(always)]
pub fn place_chips(chips: &[i8; CHIPS]) -> PlacedChips {
    let mut placed = NO_CHIPS;
    for (at, chips) in chips.as_chunks::<BATCHES>().0.iter().enumerate() {
        for (class, chip) in chips.iter().enumerate() {
            placed[batch_of(class)][at] = *chip;
        }
    }
    placed
}

/// Products of vectors with the signs of all rows, vector by vector.
pub struct Products {
    /// With the signs of all chips.
    pub all: Vec<i16>,
    /// With those of the even chips.
    pub pilots: Vec<i16>,
}

impl Products {
    /// Room for `vectors` vectors and `rows` rows.
    pub fn new(vectors: usize, rows: usize) -> Self {
        Products {
            all: vec![0; vectors * rows],
            pilots: vec![0; vectors * rows],
        }
    }

    /// `all[vector * rows + index]` = sum over chips of the vector's chip times the sign, times [`SCALE`], and `pilots`
    /// the same for the even chips alone.
    pub fn multiply(&mut self, processor: Processor, matrix: &SignMatrix, vectors: &Tables) {
        let all = self.all.chunks_exact_mut(matrix.rows);
        let pilots = self.pilots.chunks_exact_mut(matrix.rows);
        for ((tables, all), pilots) in vectors.0.iter().zip(all).zip(pilots) {
            processor.dispatch(MultiplyAll {
                matrix,
                tables,
                all,
                pilots,
            });
        }
    }
}

/// The products of one vector with all rows.
struct MultiplyAll<'a> {
    matrix: &'a SignMatrix,
    tables: &'a [BatchTables; BATCHES],
    all: &'a mut [i16],
    pilots: &'a mut [i16],
}

impl WithLookup for MultiplyAll<'_> {
    #[inline(always)]
    fn call<L: Lookup>(self, lookup: L) {
        let batches = self
            .matrix
            .signs
            .chunks_exact(self.matrix.rows / ROWS_AT_ONCE);
        for (batch, (signs, values)) in batches.zip(self.tables).enumerate() {
            let mut tables = [lookup.table(&[0; VALUES]); GROUPS];
            for (table, values) in tables.iter_mut().zip(values) {
                *table = lookup.table(values);
            }
            let pilots = self.pilots.as_chunks_mut::<ROWS_AT_ONCE>().0;
            let all = self.all.as_chunks_mut::<ROWS_AT_ONCE>().0;
            let look_up = |before: &Sums, signs: &[[u8; ROWS_AT_ONCE]; GROUPS]| {
                let mut sum = lookup.look_up(tables[0], &signs[0]);
                for group in 1..GROUPS {
                    sum = lookup.add(sum, lookup.look_up(tables[group], &signs[group]));
                }
                lookup.add_scaled::<SHIFT>(before, sum)
            };
            match batch {
                0 => (signs.iter().zip(pilots))
                    .for_each(|(signs, pilots)| *pilots = look_up(&[0; ROWS_AT_ONCE], signs)),
                1..PILOTS => (signs.iter().zip(pilots))
                    .for_each(|(signs, pilots)| *pilots = look_up(pilots, signs)),
                PILOTS => (signs.iter().zip(pilots).zip(all))
                    .for_each(|((signs, pilots), all)| *all = look_up(pilots, signs)),
                _ => (signs.iter().zip(all)).for_each(|(signs, all)| *all = look_up(all, signs)),
            }
        }
    }
}

/// All sums of each group, which is what rows look up.
type BatchTables = [[i8; VALUES]; GROUPS];

/// Vectors that are to be multiplied: the same for all keys.
pub struct Tables(Vec<[BatchTables; BATCHES]>);

impl Tables {
    /// Room for `vectors` vectors.
    pub fn new(vectors: usize) -> Self {
        Tables(vec![[[[0; VALUES]; GROUPS]; BATCHES]; vectors])
    }

    /// Takes vectors. No batch of chips may have magnitudes that add up to more than [`MOST`].
    pub fn fill<'a>(&mut self, arch: Arch, vectors: impl Iterator<Item = &'a PlacedChips>) {
        for (tables, vector) in self.0.iter_mut().zip(vectors) {
            arch.dispatch(Fill { tables, vector });
        }
    }
}

struct Fill<'a> {
    tables: &'a mut [BatchTables; BATCHES],
    vector: &'a PlacedChips,
}

impl WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (tables, chips) in self.tables.iter_mut().zip(self.vector) {
            for (sums, chips) in tables.iter_mut().zip(chips.as_chunks().0) {
                *sums = all_sums(chips);
            }
        }
    }
}

/// All sums of a group, by pattern: a set bit is a minus.
#[inline(always)]
fn all_sums(chips: &[i8; GROUP]) -> [i8; VALUES] {
    let mut sums = [0i8; VALUES];
    for (i, chip) in chips.iter().enumerate() {
        for (pattern, sum) in sums.iter_mut().enumerate() {
            // All bits if it is a minus.
            let minus = -((pattern >> i & 1) as i8);
            *sum = sum.wrapping_add((chip ^ minus).wrapping_sub(minus));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::key::Key;

    const ROWS: usize = 5 * ROWS_AT_ONCE;

    #[test]
    fn products_equal_plain_sums() {
        let mut signs = Key::from_bytes([3; 32]).signs();
        let mut matrix = SignMatrix::new(ROWS);
        let mut of_rows = vec![[0.0; CHIPS]; ROWS];
        for (row, of_row) in of_rows.iter_mut().enumerate() {
            signs.row(row as u64, of_row);
            matrix.load(row as u64, of_row);
        }
        // The last is as large as can be: each batch has one chip.
        let mut largest = [0i8; CHIPS];
        largest[..BATCHES].copy_from_slice(&[127, -127, -127, 127, 127, -127]);
        let vector =
            |v: usize| std::array::from_fn(|i| (2.6 * ((v * CHIPS + i) as f32).sin()) as i8);
        let mut vectors: Vec<[i8; CHIPS]> = (0..3).map(vector).collect();
        vectors.push(largest);
        let placed: Vec<_> = vectors.iter().map(place_chips).collect();
        for processor in Processor::all() {
            let mut products = Products::new(vectors.len(), ROWS);
            // Nothing may be left over from before.
            products.all.fill(i16::MAX);
            products.pilots.fill(i16::MAX);
            let mut tables = Tables::new(vectors.len());
            tables.fill(Arch::new(), placed.iter());
            products.multiply(processor, &matrix, &tables);
            let (all, pilots) = (products.all.chunks(ROWS), products.pilots.chunks(ROWS));
            for ((vector, placed), (all, pilots)) in
                vectors.iter().zip(&placed).zip(all.zip(pilots))
            {
                for (row, signs) in of_rows.iter().enumerate() {
                    let terms = vector.iter().zip(signs).map(|(b, s)| *b as i32 * *s as i32);
                    let sum: i32 = terms.clone().sum();
                    let even: i32 = terms.step_by(2).sum();
                    assert_eq!(
                        [even, sum - even].map(|sum| 32 * sum),
                        matrix.product(Arch::new(), row, placed)
                    );
                    assert_eq!((all[row] as i32, pilots[row] as i32), (32 * sum, 32 * even));
                }
            }
        }
    }
}
