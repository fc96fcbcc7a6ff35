//! A small generator of random numbers, handed in by seed.
//!
//! xoshiro256++ (Blackman and Vigna), its state filled by splitmix64. Streams let every replicate,
//! fold or tree have numbers of its own, so that results do not depend on which thread came first.
//! Not for secrets.

/// A stream of random numbers that a seed fixes for ever.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut step = seed;
        Self {
            state: std::array::from_fn(|_| split_mix(&mut step)),
        }
    }

    /// The stream numbered `stream` of `seed`; different numbers give unrelated streams.
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut step = stream;
        Self::new(seed ^ split_mix(&mut step))
    }

    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number in 0..`bound`; the bias is under 2⁻³² for bounds that fit 32 bits.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn split_mix(step: &mut u64) -> u64 {
    *step = step.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *step;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_gives_the_published_numbers() {
        // splitmix64.c by Vigna, seed 1234567.
        let mut step = 1_234_567;
        let first: Vec<u64> = (0..3).map(|_| split_mix(&mut step)).collect();
        assert_eq!(
            first,
            [
                6457827717110365317,
                3203168211198807973,
                9817491932198370423
            ]
        );
    }

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let take = |mut random: Random| -> Vec<u64> { (0..4).map(|_| random.bits()).collect() };
        assert_eq!(take(Random::stream(7, 1)), take(Random::stream(7, 1)));
        assert_ne!(take(Random::stream(7, 1)), take(Random::stream(7, 2)));
    }

    #[test]
    fn draws_are_even_and_within_bounds() {
        let mut random = Random::new(3);
        let mut counts = [0u32; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
        let mean = (0..10_000).map(|_| random.unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(1).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..100));
    }
}
