//! Held-out rows that stand among the learned ones.
//!
//! Rows are compared as they came, not as they are encoded: two different rare categories are encoded alike, and a
//! model that cannot tell two people apart is no leak.

use crate::split::Sides;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use ombud_core::Schema;
use ombud_core::frame::texts;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Held-out rows that stand among the learned ones, as a share worth a warning.
const DUPLICATES_MIN: f64 = 0.02;

/// One number per row, made of every feature's cell.
pub(crate) fn fingerprints(schema: &Schema, batch: &RecordBatch) -> Vec<u64> {
    let mut prints = vec![0; batch.num_rows()];
    let names = schema.features().iter().map(|feature| &feature.name);
    for array in names.filter_map(|name| batch.column_by_name(name)) {
        mix(array, &mut prints);
    }
    prints
}

/// The warning, when there is one.
pub(crate) fn warning(prints: &[u64], sides: &Sides) -> Option<String> {
    let known: HashSet<u64> = sides
        .training
        .iter()
        .map(|row| prints[*row as usize])
        .collect();
    let held_out = sides.validation.len();
    let is_known = |row: &&u32| known.contains(&prints[**row as usize]);
    let again = sides.validation.iter().filter(is_known).count();
    let share = again as f64 / held_out.max(1) as f64;
    (share >= DUPLICATES_MIN).then(|| {
        format!(
            "{again} of {held_out} held-out rows have the same features as a learned row: the measured quality may be too good; name a subject or group and split by it"
        )
    })
}

fn mix(array: &ArrayRef, prints: &mut [u64]) {
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            add(prints, values.iter().map(|value| value.map(f64::to_bits)));
        }
        DataType::Int64 => add(prints, array.as_primitive::<Int64Type>().iter()),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
            add(prints, (0..array.len()).map(|row| list_text(array, row)));
        }
        _ => add(prints, texts(array).iter()),
    }
}

fn list_text(array: &ArrayRef, row: usize) -> Option<String> {
    let list = match array.data_type() {
        _ if array.is_null(row) => return None,
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        _ => array.as_fixed_size_list().value(row),
    };
    Some(format!("{list:?}"))
}

fn add<T: Hash>(prints: &mut [u64], cells: impl Iterator<Item = T>) {
    for (print, cell) in prints.iter_mut().zip(cells) {
        let mut hasher = DefaultHasher::new();
        (*print, cell).hash(&mut hasher);
        *print = hasher.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float64Array, LargeStringArray};
    use ombud_core::schema::Columns;
    use ombud_core::{Feature, Kind};
    use std::sync::Arc;

    fn prints(ages: &[Option<f64>], jobs: &[&str]) -> Vec<u64> {
        let ages: ArrayRef = Arc::new(ages.iter().copied().collect::<Float64Array>());
        let jobs: ArrayRef = Arc::new(LargeStringArray::from(jobs.to_vec()));
        let ids: ArrayRef = Arc::new(Float64Array::from_iter_values(
            (0..jobs.len()).map(|id| id as f64),
        ));
        let columns = [("id", ids), ("age", ages), ("job", jobs)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let features = vec![
            Feature::new("age", Kind::number()),
            Feature::new("job", Kind::Text),
        ];
        fingerprints(&Schema::new(features, Columns::default()).unwrap(), &batch)
    }

    #[test]
    fn equal_features_are_equal_whatever_the_id_is() {
        let prints = prints(
            &[Some(40.0), Some(40.0), None, Some(40.0)],
            &["nurse", "nurse", "nurse", "cook"],
        );
        assert_eq!(prints[0], prints[1]);
        assert_ne!(prints[0], prints[2]);
        assert_ne!(prints[0], prints[3]);
    }

    #[test]
    fn repeated_rows_are_counted_across_the_split_only() {
        let sides = |training: &[u32], validation: &[u32]| Sides {
            training: training.to_vec(),
            validation: validation.to_vec(),
        };
        let prints = [7, 7, 8, 9];
        assert!(warning(&prints, &sides(&[0, 1], &[2, 3])).is_none());
        let told = warning(&prints, &sides(&[0, 2], &[1, 3])).unwrap();
        assert!(told.starts_with("1 of 2 held-out rows"));
    }
}
