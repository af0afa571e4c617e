//! `C += A B` in single precision.
//!
//! The usual blocking (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", section 4): a
//! stripe of depth [`DEPTH`] of both factors is packed into panels [`ROWS`] and [`COLUMNS`] wide, and a kernel whose
//! accumulators stay in registers multiplies a pair of panels. Plain loops over arrays of constant length, which the
//! compiler turns into vector instructions.

const ROWS: usize = 4;
const COLUMNS: usize = 8;
const DEPTH: usize = 256;

/// `c[m][n] += a[m][k] b[k][n]`, all row-major and of exactly these lengths.
pub(super) fn gemm(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    if n == 1 {
        for (place, row) in c.iter_mut().zip(a.chunks_exact(k.max(1))) {
            *place += dot(row, b);
        }
        return;
    }
    if m < ROWS {
        // Too few rows for a panel (depthwise layers): rows of B, scaled and added.
        for (out, row) in c.chunks_exact_mut(n).zip(a.chunks_exact(k.max(1))) {
            for (&scale, line) in row.iter().zip(b.chunks_exact(n)) {
                for (place, value) in out.iter_mut().zip(line) {
                    *place += scale * value;
                }
            }
        }
        return;
    }
    let depth = DEPTH.min(k);
    let mut a_panels = vec![0.0; m.div_ceil(ROWS) * ROWS * depth];
    let mut b_panel = vec![0.0; COLUMNS * depth];
    for start in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - start);
        pack_rows(m, k, a, start, depth, &mut a_panels);
        for column in (0..n).step_by(COLUMNS) {
            let width = COLUMNS.min(n - column);
            pack_columns(n, b, start, column, width, &mut b_panel[..COLUMNS * depth]);
            for (panel, row) in a_panels.chunks_exact(ROWS * depth).zip((0..m).step_by(ROWS)) {
                let tile = kernel(panel, &b_panel[..COLUMNS * depth]);
                for (line, out) in tile.iter().zip(c[row * n..].chunks_exact_mut(n)) {
                    for (place, value) in out[column..column + width].iter_mut().zip(line) {
                        *place += value;
                    }
                }
            }
        }
    }
}

/// The product of two packed panels.
#[inline]
fn kernel(a: &[f32], b: &[f32]) -> [[f32; COLUMNS]; ROWS] {
    let mut tile = [[0.0; COLUMNS]; ROWS];
    for (x, y) in a.as_chunks::<ROWS>().0.iter().zip(b.as_chunks::<COLUMNS>().0) {
        for r in 0..ROWS {
            for s in 0..COLUMNS {
                tile[r][s] += x[r] * y[s];
            }
        }
    }
    tile
}

/// Columns `start..start + depth` of A, `ROWS` rows interleaved; the places of missing rows hold anything.
fn pack_rows(m: usize, k: usize, a: &[f32], start: usize, depth: usize, panels: &mut [f32]) {
    for (panel, row) in panels.chunks_exact_mut(ROWS * depth).zip((0..m).step_by(ROWS)) {
        for r in 0..ROWS.min(m - row) {
            let line = &a[(row + r) * k + start..][..depth];
            for (place, value) in panel[r..].iter_mut().step_by(ROWS).zip(line) {
                *place = *value;
            }
        }
    }
}

/// Rows `start..` of B, columns `column..column + width`, padded with zeros.
fn pack_columns(n: usize, b: &[f32], start: usize, column: usize, width: usize, panel: &mut [f32]) {
    for (d, place) in panel.chunks_exact_mut(COLUMNS).enumerate() {
        let line = &b[(start + d) * n + column..][..width];
        place[..width].copy_from_slice(line);
        place[width..].fill(0.0);
    }
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (y, y_rest) = y.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        for (lane, (a, b)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + x_rest.iter().zip(y_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition_around_every_block_boundary() {
        // Small integers, so that single precision is exact and the comparison can be.
        let number = |i: usize| ((i * 7919 + 5) % 7) as f32 - 3.0;
        for m in [1, 3, 4, 5, 9] {
            for n in [1, 2, 7, 8, 9, 17] {
                for k in [1, 15, 16, 17, 255, 256, 257, 513] {
                    let a: Vec<f32> = (0..m * k).map(number).collect();
                    let b: Vec<f32> = (0..k * n).map(|i| number(i + 3)).collect();
                    let mut c: Vec<f32> = (0..m * n).map(number).collect();
                    let expected: Vec<f32> = (0..m * n)
                        .map(|at| c[at] + (0..k).map(|d| a[at / n * k + d] * b[d * n + at % n]).sum::<f32>())
                        .collect();
                    gemm(m, n, k, &a, &b, &mut c);
                    assert_eq!(c, expected, "{m} {n} {k}");
                }
            }
        }
    }
}
