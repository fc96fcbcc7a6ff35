//! The numbers a model trains on: sparse rows (text) or dense rows (a table).
//!
//! Plain containers with one invariant each, checked where they are made, so that the training loops
//! need no checks. Where the numbers come from is the business of [`crate::vocabulary`] and of the
//! table's encoder.

/// Sparse rows end to end: of each row the rising column indices and their values.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr<T> {
    columns: usize,
    starts: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<T>,
}

/// Dense rows end to end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dense<'a> {
    columns: usize,
    values: &'a [f64],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    #[error("row {row}: column indices must rise and stay below {columns}")]
    Indices { row: usize, columns: usize },
    #[error("row {row}: {values} values for {indices} indices")]
    Lengths {
        row: usize,
        indices: usize,
        values: usize,
    },
    #[error("{values} values do not make whole rows of {columns} columns")]
    Shape { values: usize, columns: usize },
    #[error("two blocks of rows differ in columns: {left} and {right}")]
    Columns { left: usize, right: usize },
}

impl<T: Copy> Csr<T> {
    pub fn new(columns: usize) -> Self {
        Self {
            columns,
            starts: vec![0],
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    pub fn push(&mut self, indices: &[u32], values: &[T]) -> Result<(), RowsError> {
        let row = self.rows();
        if indices.len() != values.len() {
            let (indices, values) = (indices.len(), values.len());
            return Err(RowsError::Lengths {
                row,
                indices,
                values,
            });
        }
        let rises = indices.is_sorted_by(|left, right| left < right);
        let is_within = indices
            .last()
            .is_none_or(|&last| (last as usize) < self.columns);
        if !rises || !is_within {
            return Err(RowsError::Indices {
                row,
                columns: self.columns,
            });
        }
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        self.starts.push(self.indices.len());
        Ok(())
    }

    /// Puts the rows of `other` below these.
    pub fn append(&mut self, other: &Self) -> Result<(), RowsError> {
        if self.columns != other.columns {
            return Err(RowsError::Columns {
                left: self.columns,
                right: other.columns,
            });
        }
        let start = self.indices.len();
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        self.starts
            .extend(other.starts[1..].iter().map(|&end| start + end));
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Entries that are kept, over all rows.
    pub fn entries(&self) -> usize {
        self.indices.len()
    }

    pub fn values(&self) -> &[T] {
        &self.values
    }

    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Where the row's entries lie among all.
    #[inline]
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    #[inline]
    pub fn row(&self, row: usize) -> (&[u32], &[T]) {
        let range = self.range(row);
        (&self.indices[range.clone()], &self.values[range])
    }
}

impl<'a> Dense<'a> {
    pub fn new(columns: usize, values: &'a [f64]) -> Result<Self, RowsError> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(RowsError::Shape {
                values: values.len(),
                columns,
            });
        }
        Ok(Self { columns, values })
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    #[inline]
    pub fn row(&self, row: usize) -> &'a [f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_pushed() {
        let mut upper = Csr::new(4);
        upper.push(&[1, 3], &[1.0, 2.0]).unwrap();
        let mut lower = Csr::new(4);
        lower.push(&[], &[]).unwrap();
        lower.push(&[0], &[3.0]).unwrap();
        upper.append(&lower).unwrap();
        assert_eq!(upper.rows(), 3);
        assert_eq!(upper.row(0), (&[1, 3][..], &[1.0, 2.0][..]));
        assert_eq!(upper.row(1), (&[][..], &[][..]));
        assert_eq!(upper.row(2), (&[0][..], &[3.0][..]));
    }

    #[test]
    fn rows_that_cannot_be_are_refused() {
        let mut rows = Csr::new(4);
        for indices in [[1, 1], [2, 1], [0, 4]] {
            let refused = rows.push(&indices, &[1.0, 1.0]);
            assert_eq!(refused, Err(RowsError::Indices { row: 0, columns: 4 }));
        }
        let refused = rows.push(&[1], &[]);
        assert_eq!(
            refused,
            Err(RowsError::Lengths {
                row: 0,
                indices: 1,
                values: 0
            })
        );
        assert!(Dense::new(2, &[1.0; 3]).is_err());
        assert!(Dense::new(0, &[]).is_err());
    }
}
