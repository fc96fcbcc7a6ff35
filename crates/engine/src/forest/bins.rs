//! Numbers become bins: where a number lies among the thresholds the forest itself asks about.
//!
//! A split "x < t" is then a comparison of small integers, exact because the bins count the very
//! thresholds that x has passed. Each feature has up to two slots, one that sees a missing value as lowest
//! and one as highest, so a default direction is nothing but a choice of slot. A category set is a slot of
//! its own with two bins. The evaluators know slots and bins only.

#[cfg(target_arch = "x86_64")]
mod avx2;

use std::collections::{BTreeMap, HashMap};

use super::{CategorySet, Comparison, Forest, Node, Span, Split, Test};

/// Rows in a block: the bytes of an AVX2 vector.
pub(super) const LANES: usize = 32;
/// The slot that is always lowest: leaves and padding ask it and go left.
pub(super) const LOWEST_SLOT: usize = 0;
/// Slots are numbered in sixteen bits.
pub(super) const SLOTS_MAX: usize = 1 << 16;
/// Cuts in a node of the search: two AVX2 vectors of `f32`.
const FAN: usize = 16;
/// Codes that fit the vectorised lookup; the two highest mean missing and unknown.
const SMALL_CODES_MAX: u32 = 254;
const MISSING_SMALL: u8 = 254;
const UNKNOWN_SMALL: u8 = 255;

/// The precision a forest lives in.
pub(super) trait Scalar: Copy + PartialOrd + Default + Send + Sync + 'static {
    const COMPARISON: Comparison;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn plus(self, other: Self) -> Self;
    /// Whether `self` has passed a threshold, that is, goes right.
    fn is_past(self, cut: Self) -> bool;
    /// How many of the cuts `self` has passed.
    ///
    /// # Safety
    /// The processor has AVX2 and POPCNT.
    #[cfg(target_arch = "x86_64")]
    unsafe fn passed_avx2(self, cuts: &[Self; FAN]) -> usize;
}

/// A bin as it is stored: counts moved down so that signed comparison orders them.
pub(super) trait Bin: Copy + Ord + Default + Send + Sync + 'static {
    const CUTS_MAX: usize;
    /// The bin of a number that has passed one cut.
    const SECOND: Self;

    /// The bin of a number that has passed `count` cuts.
    fn of(count: usize) -> Self;
    /// The whole bin, for bins of a byte.
    fn low_byte(self) -> u8;
}

/// How rows are turned into bins, for one group of trees.
#[derive(Clone, Debug)]
pub(super) struct Slots<S> {
    count: usize,
    numbers: Vec<NumberSlots<S>>,
    categories: Vec<CategorySlots>,
}

/// A numeric feature: its cuts, and its slots by what they make of a missing value.
#[derive(Clone, Debug)]
struct NumberSlots<S> {
    feature: usize,
    zero_is_missing: bool,
    /// The first cut of each block, padded with `NaN`, which nothing passes.
    pivots: Vec<S>,
    blocks: Vec<[S; FAN]>,
    lowest: Option<usize>,
    highest: Option<usize>,
}

/// A category feature: one slot for each set and default direction.
#[derive(Clone, Debug)]
struct CategorySlots {
    feature: usize,
    sets: Vec<SetSlot>,
    /// Whether every set's codes fit the vectorised lookup.
    is_small: bool,
}

#[derive(Clone, Debug)]
struct SetSlot {
    slot: usize,
    set: CategorySet,
    missing_left: bool,
    /// The codes that go right, with missing and unknown; used if the feature is small.
    right: [u32; 8],
}

/// Where a split finds its answer: left if `cut > bin` in the slot.
#[derive(Clone, Copy)]
pub(super) struct Address<B> {
    pub slot: usize,
    pub cut: B,
}

/// Everything a group of trees asks, collected to number the slots.
pub(super) struct SlotsBuilder {
    cuts: BTreeMap<u32, Vec<f64>>,
    slot_by_key: HashMap<Key, usize>,
    keys: Vec<Key>,
}

/// What a slot answers: a number, or membership in a set; and where missing goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    feature: u32,
    set: Option<u32>,
    missing_left: bool,
}

impl Scalar for f32 {
    const COMPARISON: Comparison = Comparison::Less;

    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn plus(self, other: f32) -> f32 {
        self + other
    }

    #[inline(always)]
    fn is_past(self, cut: f32) -> bool {
        cut <= self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn passed_avx2(self, cuts: &[f32; FAN]) -> usize {
        // SAFETY: the caller's promise.
        unsafe { avx2::passed_single(cuts, self) }
    }
}

impl Scalar for f64 {
    const COMPARISON: Comparison = Comparison::LessOrEqual;

    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn plus(self, other: f64) -> f64 {
        self + other
    }

    #[inline(always)]
    fn is_past(self, cut: f64) -> bool {
        cut < self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn passed_avx2(self, cuts: &[f64; FAN]) -> usize {
        // SAFETY: the caller's promise.
        unsafe { avx2::passed_double(cuts, self) }
    }
}

impl Bin for i8 {
    const CUTS_MAX: usize = 255;
    const SECOND: i8 = i8::MIN + 1;

    #[inline(always)]
    fn of(count: usize) -> i8 {
        (count as u8 ^ 0x80) as i8
    }

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self as u8
    }
}

impl Bin for i16 {
    const CUTS_MAX: usize = 65_535;
    const SECOND: i16 = i16::MIN + 1;

    #[inline(always)]
    fn of(count: usize) -> i16 {
        (count as u16 ^ 0x8000) as i16
    }

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self as u8
    }
}

impl SlotsBuilder {
    pub(super) fn new(forest: &Forest, trees: &[Span]) -> SlotsBuilder {
        let mut builder = SlotsBuilder {
            cuts: BTreeMap::new(),
            slot_by_key: HashMap::new(),
            keys: Vec::new(),
        };
        for split in trees
            .iter()
            .flat_map(|&tree| forest.nodes_of(tree))
            .filter_map(split_of)
        {
            builder.add(split);
        }
        for cuts in builder.cuts.values_mut() {
            cuts.sort_by(f64::total_cmp);
            cuts.dedup();
        }
        builder
    }

    fn add(&mut self, split: &Split) {
        let key = Key::of(split);
        if !self.slot_by_key.contains_key(&key) {
            self.keys.push(key);
            self.slot_by_key.insert(key, self.keys.len());
        }
        if let Test::Threshold(threshold) = split.test {
            self.cuts
                .entry(split.feature)
                .or_default()
                .push(same_zero(threshold));
        }
    }

    /// Where a split finds its answer.
    pub(super) fn address<B: Bin>(&self, split: &Split) -> Address<B> {
        let slot = self.slot_by_key[&Key::of(split)];
        let cuts_before = match split.test {
            Test::Members(_) => 0,
            Test::Threshold(threshold) => {
                let cuts = &self.cuts[&split.feature];
                cuts.partition_point(|&cut| cut < same_zero(threshold))
            }
        };
        Address {
            slot,
            cut: B::of(cuts_before + 1),
        }
    }

    pub(super) fn finish<S: Scalar>(&self, forest: &Forest) -> Slots<S> {
        let mut categories: BTreeMap<u32, CategorySlots> = BTreeMap::new();
        for key in &self.keys {
            let Some(set) = key.set else { continue };
            let empty = || CategorySlots {
                feature: key.feature as usize,
                sets: Vec::new(),
                is_small: true,
            };
            let slots = categories.entry(key.feature).or_insert_with(empty);
            let set = forest.sets[set as usize].clone();
            slots.is_small &= set.codes_end() <= SMALL_CODES_MAX;
            slots.sets.push(SetSlot::new::<S>(
                self.slot_by_key[key],
                set,
                key.missing_left,
            ));
        }
        let numbers = self.cuts.iter().map(|(&feature, cuts)| {
            let slot = |missing_left| {
                self.slot_by_key
                    .get(&Key {
                        feature,
                        set: None,
                        missing_left,
                    })
                    .copied()
            };
            let feature = feature as usize;
            NumberSlots {
                feature,
                zero_is_missing: forest.zero_counts_as_missing(feature),
                pivots: pivots(cuts),
                blocks: cuts.chunks(FAN).map(block).collect(),
                lowest: slot(true),
                highest: slot(false),
            }
        });
        Slots {
            count: self.keys.len() + 1,
            numbers: numbers.collect(),
            categories: categories.into_values().collect(),
        }
    }
}

impl<S> Slots<S> {
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl<S: Scalar> Slots<S> {
    /// Bins of one row, one a slot. `SIMD` may be set only where AVX2 and POPCNT were detected.
    #[inline(always)]
    pub(super) fn row<B: Bin, const SIMD: bool>(&self, row: &[f64], bins: &mut [B]) {
        bins[LOWEST_SLOT] = B::of(0);
        for number in &self.numbers {
            let x = row[number.feature];
            let (lowest, highest) = number.bins::<B, SIMD>(x);
            if let Some(slot) = number.lowest {
                bins[slot] = lowest;
            }
            if let Some(slot) = number.highest {
                bins[slot] = highest;
            }
        }
        for category in &self.categories {
            let x = row[category.feature];
            for set in &category.sets {
                bins[set.slot] = set.bin::<S, B>(x);
            }
        }
    }

    /// Bins of up to [`LANES`] rows: the lanes of a slot lie side by side. `SIMD` as in [`Slots::row`].
    #[inline(always)]
    pub(super) fn block<B: Bin, const SIMD: bool>(
        &self,
        rows: &[f64],
        features: usize,
        bins: &mut [[B; LANES]],
    ) {
        bins[LOWEST_SLOT] = [B::of(0); LANES];
        let count = rows.len() / features.max(1);
        for number in &self.numbers {
            let (mut low, mut high) = ([B::default(); LANES], [B::default(); LANES]);
            for lane in 0..count {
                let x = rows[lane * features + number.feature];
                (low[lane], high[lane]) = number.bins::<B, SIMD>(x);
            }
            if let Some(slot) = number.lowest {
                bins[slot] = low;
            }
            if let Some(slot) = number.highest {
                bins[slot] = high;
            }
        }
        for category in &self.categories {
            category.block::<S, B>(rows, features, bins);
        }
    }
}

impl<S: Scalar> NumberSlots<S> {
    /// The bins of a number for both default directions.
    #[inline(always)]
    fn bins<B: Bin, const SIMD: bool>(&self, x: f64) -> (B, B) {
        let zero_is_missing = self.zero_is_missing && x.abs() <= super::walk::ZERO_MAX;
        if x.is_nan() || zero_is_missing {
            return (B::of(0), B::of(B::CUTS_MAX));
        }
        let bin = B::of(self.passed::<SIMD>(S::from_f64(x)));
        (bin, bin)
    }

    /// How many cuts a number has passed.
    #[inline(always)]
    fn passed<const SIMD: bool>(&self, x: S) -> usize {
        let blocks = match <&[S; FAN]>::try_from(self.pivots.as_slice()) {
            Ok(pivots) => passed_in::<S, SIMD>(pivots, x),
            Err(_) => self.pivots.partition_point(|&pivot| x.is_past(pivot)),
        };
        let block = blocks.saturating_sub(1);
        block * FAN + passed_in::<S, SIMD>(&self.blocks[block], x)
    }
}

impl CategorySlots {
    #[inline(always)]
    fn block<S: Scalar, B: Bin>(&self, rows: &[f64], features: usize, bins: &mut [[B; LANES]]) {
        if self.is_small {
            return self.small_block::<S, B>(rows, features, bins);
        }
        for (lane, row) in rows.chunks_exact(features).enumerate() {
            let x = row[self.feature];
            for set in &self.sets {
                bins[set.slot][lane] = set.bin::<S, B>(x);
            }
        }
    }

    /// With codes in a byte, a set is eight words and a lookup has no branch.
    #[inline(always)]
    fn small_block<S: Scalar, B: Bin>(
        &self,
        rows: &[f64],
        features: usize,
        bins: &mut [[B; LANES]],
    ) {
        let mut codes = [0u8; LANES];
        for (code, row) in codes.iter_mut().zip(rows.chunks_exact(features)) {
            *code = small_code::<S>(row[self.feature]);
        }
        for set in &self.sets {
            let is_right = |code: u8| set.right[usize::from(code >> 5)] >> (code & 31) & 1;
            bins[set.slot] = codes.map(|code| B::of(is_right(code) as usize));
        }
    }
}

impl SetSlot {
    fn new<S: Scalar>(slot: usize, set: CategorySet, missing_left: bool) -> SetSlot {
        let goes_right = |code: u8| match code {
            MISSING_SMALL => !missing_left,
            UNKNOWN_SMALL => !S::COMPARISON.member_goes_left(false),
            code => !S::COMPARISON.member_goes_left(set.contains(u32::from(code))),
        };
        let mut right = [0; 8];
        for code in 0..=255u8 {
            right[usize::from(code >> 5)] |= u32::from(goes_right(code)) << (code & 31);
        }
        SetSlot {
            slot,
            set,
            missing_left,
            right,
        }
    }

    #[inline]
    fn bin<S: Scalar, B: Bin>(&self, x: f64) -> B {
        let category = S::COMPARISON.category(x);
        let is_member = category.is_some_and(|code| self.set.contains(code));
        let goes_left = match x.is_nan() {
            true => self.missing_left,
            false => S::COMPARISON.member_goes_left(is_member),
        };
        B::of(usize::from(!goes_left))
    }
}

impl Key {
    fn of(split: &Split) -> Key {
        let set = if let Test::Members(set) = split.test {
            Some(set)
        } else {
            None
        };
        Key {
            feature: split.feature,
            set,
            missing_left: split.missing_left,
        }
    }
}

pub(super) fn split_of(node: &Node) -> Option<&Split> {
    if let Node::Split(split) = node {
        Some(split)
    } else {
        None
    }
}

/// Minus zero and zero are one threshold.
pub(super) fn same_zero(threshold: f64) -> f64 {
    if threshold == 0.0 { 0.0 } else { threshold }
}

/// A plain loop, as an iterator's closures are not compiled for the caller's vectors.
#[inline(always)]
fn passed_in<S: Scalar, const SIMD: bool>(cuts: &[S; FAN], x: S) -> usize {
    #[cfg(target_arch = "x86_64")]
    if SIMD {
        // SAFETY: `SIMD` is set only after AVX2 and POPCNT were detected.
        return unsafe { x.passed_avx2(cuts) };
    }
    let mut passed = 0u32;
    for &cut in cuts {
        passed += u32::from(x.is_past(cut));
    }
    passed as usize
}

#[inline(always)]
fn small_code<S: Scalar>(x: f64) -> u8 {
    match S::COMPARISON.category(x) {
        _ if x.is_nan() => MISSING_SMALL,
        Some(code) if code < SMALL_CODES_MAX => code as u8,
        Some(_) | None => UNKNOWN_SMALL,
    }
}

fn block<S: Scalar>(cuts: &[f64]) -> [S; FAN] {
    let nothing_passes = S::from_f64(f64::NAN);
    std::array::from_fn(|index| {
        cuts.get(index)
            .map_or(nothing_passes, |&cut| S::from_f64(cut))
    })
}

/// Exactly [`FAN`] pivots where they suffice, so that the search has a fixed shape.
fn pivots<S: Scalar>(cuts: &[f64]) -> Vec<S> {
    let mut pivots: Vec<S> = cuts
        .iter()
        .step_by(FAN)
        .map(|&cut| S::from_f64(cut))
        .collect();
    if pivots.len() < FAN {
        pivots.resize(FAN, S::from_f64(f64::NAN));
    }
    pivots
}
