//! Wrapping integer matrix products, shaped so that the compiler vectorises them.

/// Rows of a register tile.
const ROWS: usize = 4;
/// Columns of a register tile.
const COLUMNS: usize = 8;
/// Columns of a block of `b` that stays in cache while all rows of `a` pass.
const BLOCK: usize = 64;

/// `c += a b` modulo `2^32` for row-major `a` (`m x k`), `b` (`k x n`), `c` (`m x n`).
pub(super) fn multiply(m: usize, k: usize, n: usize, a: &[i32], b: &[i32], c: &mut [i32]) {
    let mut panel = vec![0i32; k * BLOCK];
    for start in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - start);
        // The block is copied to strips of COLUMNS columns, each contiguous; the last one is filled with zeros.
        let strips = width.div_ceil(COLUMNS);
        for (strip, lines) in panel.chunks_exact_mut(k * COLUMNS).take(strips).enumerate() {
            let first = start + strip * COLUMNS;
            let columns = COLUMNS.min(n - first);
            for (line, row) in lines.chunks_exact_mut(COLUMNS).zip(b.chunks_exact(n)) {
                line[..columns].copy_from_slice(&row[first..first + columns]);
                line[columns..].fill(0);
            }
        }
        for top in (0..m).step_by(ROWS) {
            let rows = ROWS.min(m - top);
            // Rows beyond the last one repeat it; their sums are not stored.
            let lines: [&[i32]; ROWS] = std::array::from_fn(|r| &a[(top + r.min(rows - 1)) * k..][..k]);
            for (strip, b) in panel.chunks_exact(k * COLUMNS).take(strips).enumerate() {
                let tile = tile(lines, b);
                let first = start + strip * COLUMNS;
                let columns = COLUMNS.min(n - first);
                for (r, sums) in tile.iter().enumerate().take(rows) {
                    let out = &mut c[(top + r) * n + first..][..columns];
                    out.iter_mut().zip(sums).for_each(|(c, &sum)| *c = c.wrapping_add(sum));
                }
            }
        }
    }
}

/// `c += a x` modulo `2^32` for row-major `a` with rows as long as `x`.
pub(super) fn multiply_vector(a: &[i32], x: &[i32], c: &mut [i32]) {
    for (c, row) in c.iter_mut().zip(a.chunks_exact(x.len().max(1))) {
        let dot = row.iter().zip(x).fold(0i32, |sum, (&a, &x)| sum.wrapping_add(a.wrapping_mul(x)));
        *c = c.wrapping_add(dot);
    }
}

fn tile([a0, a1, a2, a3]: [&[i32]; ROWS], b: &[i32]) -> [[i32; COLUMNS]; ROWS] {
    let mut sums = [[0i32; COLUMNS]; ROWS];
    for ((((line, &w0), &w1), &w2), &w3) in b.chunks_exact(COLUMNS).zip(a0).zip(a1).zip(a2).zip(a3) {
        for (sums, w) in sums.iter_mut().zip([w0, w1, w2, w3]) {
            for (sum, &x) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(w.wrapping_mul(x));
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition_around_the_tile_sides() {
        let value = |i: usize| (i as i32).wrapping_mul(0x9e37_79b9_u32 as i32);
        for m in [1, 3, 4, 5] {
            for k in [1, 7] {
                for n in [1, 7, 8, 9, 63, 64, 65, 130] {
                    let a: Vec<i32> = (0..m * k).map(value).collect();
                    let b: Vec<i32> = (0..k * n).map(|i| value(i + 99)).collect();
                    let mut c: Vec<i32> = (0..m * n).map(|i| i as i32).collect();
                    let expected: Vec<i32> = (0..m * n)
                        .map(|i| {
                            (0..k).fold(i as i32, |sum, t| {
                                sum.wrapping_add(a[i / n * k + t].wrapping_mul(b[t * n + i % n]))
                            })
                        })
                        .collect();
                    multiply(m, k, n, &a, &b, &mut c);
                    assert_eq!(c, expected, "{m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn vector_product() {
        let mut c = [1, i32::MAX];
        multiply_vector(&[1, 2, 3, 4], &[10, 1], &mut c);
        assert_eq!(c, [13, i32::MAX.wrapping_add(34)]);
    }
}
