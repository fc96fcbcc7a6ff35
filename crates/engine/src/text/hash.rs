//! The hash of a gram's bytes, written out so that any client in any language can repeat it.
//!
//! It looks terms up in the vocabulary and, with the hashing option, is part of a stored model's
//! meaning: it never changes within a format version. Not meant to resist an attacker; a term that
//! collides in the vocabulary is still told apart by its bytes.

/// First hexadecimal digits of π, as in Blowfish.
const START: u64 = 0x243f_6a88_85a3_08d3;
/// Two odd constants: 2⁶⁴ divided by the golden ratio, and a prime of xxHash.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const FINISH: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The 64-bit hash of `bytes`.
///
/// Start with `START ^ length`. For each 8 bytes, read as a little-endian word (the last one padded
/// with zeros): xor it in and fold with `STEP`. At the end xor with the length and fold with
/// `FINISH`. To fold is to multiply to 128 bits and to xor the two halves.
#[inline]
pub fn gram_hash(bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    let mut hash = START ^ length;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), STEP);
    }
    if !rest.is_empty() {
        hash = fold(hash ^ padded(rest), STEP);
    }
    fold(hash ^ length, FINISH)
}

/// The bucket among 2^`bits` (the hash's top bits) and whether the gram counts downwards (bit 0).
#[inline]
pub fn bucket(hash: u64, bits: u8) -> (u32, bool) {
    ((hash >> (64 - u32::from(bits))) as u32, hash & 1 == 1)
}

#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn padded(rest: &[u8]) -> u64 {
    rest.iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from an independent Python 3.11 implementation of the doc comment.
    #[test]
    fn the_hash_is_the_documented_one() {
        assert_eq!(gram_hash(b""), 0x07c7_630f_117e_1e64);
        assert_eq!(gram_hash(b"hello"), 0x8887_4c17_e502_19ef);
        assert_eq!(gram_hash("grüße world".as_bytes()), 0x8026_8a22_3bde_4517);
    }

    #[test]
    fn buckets_stay_within_their_bits() {
        for word in 0..1000_u32 {
            let (bucket, _) = bucket(gram_hash(&word.to_le_bytes()), 10);
            assert!(bucket < 1024);
        }
    }
}
