//! Eight rows side by side, so that one instruction works on several of them.
//!
//! A tile holds one feature of eight rows in one short array. Loops over the lanes have a fixed
//! length and no branches, which the compiler turns into vector code on any machine; every lane
//! adds its features in the order of the features, so a tile gives the same bits as the plain row.
//! Training uses these kernels too.

/// Rows in a tile.
pub const LANES: usize = 8;

/// One number for each row of a tile.
pub type Lanes = [f64; LANES];

/// Lays `filled` rows side by side; lanes beyond them repeat the last row, so that their results
/// are harmless.
#[inline]
pub fn fill<'rows>(tile: &mut [Lanes], filled: usize, row: impl Fn(usize) -> &'rows [f64]) {
    // Slices of the tile's own length let the compiler drop the bounds checks in the loop.
    let width = tile.len();
    let source = |lane: usize| &row(lane.min(filled - 1))[..width];
    let (a, b, c, d) = (source(0), source(1), source(2), source(3));
    let (e, f, g, h) = (source(4), source(5), source(6), source(7));
    for (i, slot) in tile.iter_mut().enumerate() {
        *slot = [a[i], b[i], c[i], d[i], e[i], f[i], g[i], h[i]];
    }
}

/// The squared Euclidean distances of the rows of a tile to one point.
#[inline]
pub fn squared_distances(tile: &[Lanes], point: &[f64]) -> Lanes {
    let mut sums = [0.0; LANES];
    for (values, &coordinate) in tile.iter().zip(point) {
        for lane in 0..LANES {
            let offset = values[lane] - coordinate;
            sums[lane] += offset * offset;
        }
    }
    sums
}

/// The squared Euclidean distance of one row to a point, bit-equal to its lane in
/// [`squared_distances`].
#[inline]
pub fn squared_distance(row: &[f64], point: &[f64]) -> f64 {
    row.iter().zip(point).fold(0.0, |sum, (value, coordinate)| {
        let offset = value - coordinate;
        sum + offset * offset
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_beyond_the_rows_repeat_the_last_row() {
        let rows = [[1.0, 2.0], [3.0, 5.0]];
        let mut tile = [[0.0; LANES]; 2];
        fill(&mut tile, 2, |lane| &rows[lane]);
        let distances = squared_distances(&tile, &[0.0, 1.0]);
        assert_eq!(distances[0], 2.0);
        assert_eq!(distances[1..], [25.0; 7]);
        assert_eq!(squared_distance(&rows[1], &[0.0, 1.0]), 25.0);
    }
}
