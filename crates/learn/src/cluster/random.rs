//! The small generator behind every random choice here: xoshiro256++, seeded through splitmix64.
//!
//! Its stream is part of what a seed promises, so it is ours and does not change with a dependency.
//! Not for secrets.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream number `stream` of a seed; streams of one seed are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut word = seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Self {
            state: std::array::from_fn(|_| splitmix64(&mut word)),
        }
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        // The shift uses the old `b`; the exclusive ors above follow the reference order.
        result
    }

    /// At least 0, below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// At least 0, below `bound`, which is positive. Multiply-shift: the bias is below 2⁻⁴⁰ for any
    /// number of rows.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// `count` of `0..total` without repetition, ascending.
    pub fn sample(&mut self, total: usize, count: usize) -> Vec<usize> {
        let mut wanted = count.min(total);
        let mut chosen = Vec::with_capacity(wanted);
        for index in 0..total {
            if self.below(total - index) < wanted {
                chosen.push(index);
                wanted -= 1;
            }
        }
        chosen
    }
}

fn splitmix64(word: &mut u64) -> u64 {
    *word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *word;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_generator() {
        // The reference C code of xoshiro256++ 1.0 from the state 1, 2, 3, 4.
        let mut random = Random {
            state: [1, 2, 3, 4],
        };
        let first: Vec<u64> = (0..4).map(|_| random.bits()).collect();
        assert_eq!(
            first,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn a_sample_is_ascending_without_repetition() {
        let sample = Random::new(7, 0).sample(100, 30);
        assert_eq!(sample.len(), 30);
        assert!(sample.is_sorted_by(|a, b| a < b) && sample[29] < 100);
        assert_eq!(Random::new(7, 0).sample(3, 9), [0, 1, 2]);
    }
}
