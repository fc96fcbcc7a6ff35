//! The bytes that are hashed: layout 1, which never changes; `LAYOUT.md` explains it to strangers.
//!
//! One byte names the layout, then every field follows in a fixed order as a frame: four bytes of length, big-endian,
//! then the field. An absent field is the length `ffffffff` alone, which no field can have. So two different records
//! never give the same bytes, and no field can pretend to be another.

use crate::record::RawRecord;
use ombud_core::Digest;
use sha2::{Digest as _, Sha256};

/// The layout this module writes.
pub const LAYOUT: u8 = 1;

/// The length that stands for an absent field.
const ABSENT: u32 = u32::MAX;

/// What the first record of a lane has for a previous hash.
pub const GENESIS: [u8; Digest::BYTES] = [0; Digest::BYTES];

/// The hash a record should have.
///
/// `buffer` is working space, handed in so that a walk over millions of records allocates once.
pub fn hash(record: &RawRecord<'_>, buffer: &mut Vec<u8>) -> Digest {
    buffer.clear();
    write(record, buffer);
    Digest::new(Sha256::digest(buffer).into())
}

/// Appends the bytes that are hashed: everything but the hash itself.
pub fn write(record: &RawRecord<'_>, out: &mut Vec<u8>) {
    let number = |cell: i64| cell.to_be_bytes();
    out.push(LAYOUT);
    frame(out, Some(record.previous));
    frame(out, Some(&number(record.sequence)));
    frame(out, Some(&number(record.time_us)));
    frame(out, Some(record.id));
    frame(out, Some(record.tenant));
    frame(out, Some(record.lane));
    frame(out, Some(record.kind));
    frame(out, record.model);
    frame(
        out,
        record.version.map(number).as_ref().map(<[u8; 8]>::as_slice),
    );
    frame(out, record.bundle);
    frame(out, record.environment);
    frame(out, record.subject);
    frame(out, record.key);
    frame(out, record.sealed_input);
    frame(out, record.answer);
    frame(
        out,
        record
            .confidence
            .map(f64::to_be_bytes)
            .as_ref()
            .map(<[u8; 8]>::as_slice),
    );
    frame(out, record.sealed_explanation);
    frame(
        out,
        record
            .latency_us
            .map(number)
            .as_ref()
            .map(<[u8; 8]>::as_slice),
    );
    frame(
        out,
        record
            .cache_hit
            .map(number)
            .as_ref()
            .map(<[u8; 8]>::as_slice),
    );
    frame(out, record.principal);
    frame(out, record.ip);
    frame(out, record.user_agent);
    frame(out, record.request_id);
    frame(out, record.detail);
}

/// Appends one field, framed.
pub(crate) fn frame(out: &mut Vec<u8>, field: Option<&[u8]>) {
    let Some(field) = field else {
        out.extend_from_slice(&ABSENT.to_be_bytes());
        return;
    };
    // A field of 4 GiB cannot be appended (every field has a bound far below) nor stored; saturating keeps a damaged
    // database from making a walk panic.
    let length = u32::try_from(field.len()).unwrap_or(ABSENT - 1);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record's cells, owned; the frames of it are what the layout writes.
    #[derive(Debug, Clone, PartialEq)]
    struct Cells {
        fixed: [i64; 2],
        texts: Vec<Vec<u8>>,
        optional: Vec<Option<Vec<u8>>>,
        numbers: Vec<Option<i64>>,
        confidence: Option<u64>,
    }

    impl Cells {
        fn raw(&self) -> RawRecord<'_> {
            let optional = |i: usize| self.optional[i].as_deref();
            RawRecord {
                previous: &self.texts[0],
                sequence: self.fixed[0],
                time_us: self.fixed[1],
                id: &self.texts[1],
                tenant: &self.texts[2],
                lane: &self.texts[3],
                kind: &self.texts[4],
                model: optional(0),
                version: self.numbers[0],
                bundle: optional(1),
                environment: optional(2),
                subject: optional(3),
                key: optional(4),
                sealed_input: optional(5),
                answer: optional(6),
                confidence: self.confidence.map(f64::from_bits),
                sealed_explanation: optional(7),
                latency_us: self.numbers[1],
                cache_hit: self.numbers[2],
                principal: optional(8),
                ip: optional(9),
                user_agent: optional(10),
                request_id: optional(11),
                detail: optional(12),
                hash: &[],
            }
        }

        fn written(&self) -> Vec<u8> {
            let mut out = Vec::new();
            write(&self.raw(), &mut out);
            out
        }
    }

    fn cell() -> impl Strategy<Value = Vec<u8>> {
        // Bytes that look like frames are the ones that could confuse a careless layout.
        prop::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(4), Just(255), any::<u8>()],
            0..12,
        )
    }

    fn cells() -> impl Strategy<Value = Cells> {
        (
            any::<[i64; 2]>(),
            prop::collection::vec(cell(), 5),
            prop::collection::vec(prop::option::of(cell()), 13),
            prop::collection::vec(prop::option::of(any::<i64>()), 3),
            prop::option::of(any::<u64>()),
        )
            .prop_map(|(fixed, texts, optional, numbers, confidence)| Cells {
                fixed,
                texts,
                optional,
                numbers,
                confidence,
            })
    }

    /// Reads frames back, which is possible only if the framing is unambiguous.
    fn unframed(mut bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
        let (&layout, rest) = bytes.split_first()?;
        assert_eq!(layout, LAYOUT);
        bytes = rest;
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length);
            if length == ABSENT {
                fields.push(None);
                bytes = rest;
                continue;
            }
            let (field, rest) = rest.split_at_checked(length as usize)?;
            fields.push(Some(field.to_vec()));
            bytes = rest;
        }
        Some(fields)
    }

    proptest! {
        #[test]
        fn the_bytes_can_be_read_back_into_the_same_fields(cells in cells()) {
            let fields = unframed(&cells.written()).expect("well framed");
            prop_assert_eq!(fields.len(), 24);
            let texts = [&fields[0], &fields[3], &fields[4], &fields[5], &fields[6]];
            for (field, text) in texts.iter().zip(&cells.texts) {
                prop_assert_eq!(field.as_ref(), Some(text));
            }
            let places = [7, 9, 10, 11, 12, 13, 14, 16, 19, 20, 21, 22, 23];
            for (place, optional) in places.iter().zip(&cells.optional) {
                prop_assert_eq!(&fields[*place], optional);
            }
            for (place, number) in [8, 17, 18].iter().zip(&cells.numbers) {
                prop_assert_eq!(&fields[*place], &number.map(|n| n.to_be_bytes().to_vec()));
            }
            prop_assert_eq!(&fields[15], &cells.confidence.map(|bits| bits.to_be_bytes().to_vec()));
        }

        #[test]
        fn different_records_give_different_bytes(one in cells(), other in cells()) {
            prop_assert_eq!(one == other, one.written() == other.written());
        }

        #[test]
        fn moving_bytes_between_neighbouring_fields_changes_the_bytes(
            cells in cells(), place in 0usize..12, moved in cell(),
        ) {
            let mut left = cells.clone();
            let mut right = cells;
            left.optional[place] = Some([b"a".as_slice(), &moved].concat());
            left.optional[place + 1] = Some(b"b".to_vec());
            right.optional[place] = Some(b"a".to_vec());
            right.optional[place + 1] = Some([moved.as_slice(), b"b"].concat());
            prop_assert_eq!(moved.is_empty(), left.written() == right.written());
        }
    }
}
