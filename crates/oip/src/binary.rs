//! Elements as raw bytes: little-endian, without padding; a text is its length in four bytes and then itself.
//!
//! The same bytes stand behind a request's JSON and in `raw_input_contents` of gRPC.

use crate::error::{Error, Result};
use crate::tensor::{Data, Datatype};
use bytes::{Buf, Bytes};
use half::{bf16, f16};

/// Reads the elements of a tensor. Their number is the caller's to check.
pub fn read(tensor: &str, datatype: Datatype, bytes: Bytes) -> Result<Data> {
    let wrong = |reason: String| Error::Data {
        tensor: tensor.to_owned(),
        datatype: datatype.name(),
        reason,
    };
    let Some(size) = datatype.size() else {
        return texts(bytes)
            .map(Data::Texts)
            .ok_or_else(|| wrong("a text's length goes beyond the data".to_owned()));
    };
    if !bytes.len().is_multiple_of(size) {
        return Err(wrong(format!(
            "{} bytes are no multiple of {size}",
            bytes.len()
        )));
    }
    Ok(match datatype {
        Datatype::Bool => Data::Bools(bytes.iter().map(|byte| *byte != 0).collect()),
        Datatype::Uint8 => Data::Uints(bytes.iter().map(|byte| u64::from(*byte)).collect()),
        Datatype::Uint16 => Data::Uints(each(&bytes, |b| u64::from(u16::from_le_bytes(b)))),
        Datatype::Uint32 => Data::Uints(each(&bytes, |b| u64::from(u32::from_le_bytes(b)))),
        Datatype::Uint64 => Data::Uints(each(&bytes, u64::from_le_bytes)),
        Datatype::Int8 => Data::Ints(each(&bytes, |b| i64::from(i8::from_le_bytes(b)))),
        Datatype::Int16 => Data::Ints(each(&bytes, |b| i64::from(i16::from_le_bytes(b)))),
        Datatype::Int32 => Data::Ints(each(&bytes, |b| i64::from(i32::from_le_bytes(b)))),
        Datatype::Int64 => Data::Ints(each(&bytes, i64::from_le_bytes)),
        Datatype::Fp16 => Data::Singles(each(&bytes, |b| f16::from_le_bytes(b).to_f32())),
        Datatype::Bf16 => Data::Singles(each(&bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Datatype::Fp32 => Data::Singles(each(&bytes, f32::from_le_bytes)),
        Datatype::Fp64 => Data::Doubles(each(&bytes, f64::from_le_bytes)),
        Datatype::Bytes => Data::Texts(Vec::new()),
    })
}

/// The elements of an answer's tensor as bytes. Answers are of BOOL, INT64, UINT64, FP32, FP64 and BYTES.
pub fn write(data: &Data) -> Vec<u8> {
    match data {
        Data::Bools(values) => values.iter().map(|value| u8::from(*value)).collect(),
        Data::Ints(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Data::Uints(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Data::Singles(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Data::Doubles(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Data::Texts(values) => {
            let mut bytes = Vec::new();
            for value in values {
                let text = value.as_deref().unwrap_or_default();
                // A text of ours is far shorter than four gigabytes.
                bytes.extend_from_slice(
                    &u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes(),
                );
                bytes.extend_from_slice(text);
            }
            bytes
        }
    }
}

fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let chunks = bytes.as_chunks::<N>().0;
    chunks.iter().map(|chunk| read(*chunk)).collect()
}

fn texts(mut bytes: Bytes) -> Option<Vec<Option<Bytes>>> {
    let mut texts = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.try_get_u32_le().ok()? as usize;
        if length > bytes.len() {
            return None;
        }
        texts.push(Some(bytes.split_to(length)));
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (datatype, data) in [
            (Datatype::Bool, Data::Bools(vec![true, false])),
            (Datatype::Int64, Data::Ints(vec![-1, i64::MAX])),
            (Datatype::Uint64, Data::Uints(vec![0, u64::MAX])),
            (Datatype::Fp32, Data::Singles(vec![0.1, -2.5])),
            (Datatype::Fp64, Data::Doubles(vec![0.1, f64::MAX])),
            (
                Datatype::Bytes,
                Data::Texts(vec![Some(Bytes::from("ä")), Some(Bytes::new())]),
            ),
        ] {
            let read = read("t", datatype, Bytes::from(write(&data))).expect("bytes");
            assert_eq!(read, data);
        }
    }

    #[test]
    fn half_numbers_are_read_exactly() {
        let bytes = Bytes::from(f16::from_f32(1.5).to_le_bytes().to_vec());
        assert_eq!(
            read("t", Datatype::Fp16, bytes),
            Ok(Data::Singles(vec![1.5]))
        );
        let bytes = Bytes::from(bf16::from_f32(-3.0).to_le_bytes().to_vec());
        assert_eq!(
            read("t", Datatype::Bf16, bytes),
            Ok(Data::Singles(vec![-3.0]))
        );
    }

    #[test]
    fn a_length_beyond_the_data_is_refused() {
        let lying = Bytes::from_static(&[255, 255, 255, 255, b'a']);
        assert!(read("t", Datatype::Bytes, lying).is_err());
        assert!(read("t", Datatype::Fp32, Bytes::from_static(&[0; 5])).is_err());
    }
}
