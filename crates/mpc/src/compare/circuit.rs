//! Circuits on shared bits as a list of free sums and of products that cost a round.

/// A bit of the circuit.
pub(crate) type Wire = usize;

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The sum modulo 2.
    Xor(Wire, Wire),
    /// The complement.
    Not(Wire),
    /// The products of one wire with each of the others.
    And(Wire, Vec<Wire>),
}

/// Gates in the order in which they can be evaluated; a gate's outputs are the next unused wires.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Circuit {
    inputs: usize,
    /// Layer, first output, gate. Products of layer `r` need what is known after `r - 1` rounds.
    gates: Vec<(usize, Wire, Gate)>,
    layers: usize,
}

impl Circuit {
    /// Rounds: the depth in products.
    pub(crate) fn rounds(&self) -> usize {
        self.layers
    }

    /// Number of wires.
    pub(crate) fn wires(&self) -> usize {
        self.gates.last().map_or(self.inputs, |(_, first, gate)| first + outputs(gate))
    }

    /// Widths of all products, round by round: the order in which triples are consumed.
    pub(crate) fn widths(&self) -> impl Iterator<Item = usize> {
        (1..=self.layers).flat_map(|round| self.products(round).map(|(_, _, y)| y.len()))
    }

    /// The products of one round: first output, common operand, the others.
    pub(crate) fn products(&self, round: usize) -> impl Iterator<Item = (Wire, Wire, &[Wire])> {
        self.gates.iter().filter(move |(layer, ..)| *layer == round).filter_map(|(_, first, gate)| match gate
        {
            Gate::And(x, y) => Some((*first, *x, &y[..])),
            Gate::Xor(..) | Gate::Not(_) => None,
        })
    }

    /// The free gates that can be evaluated after `round` rounds and not before: output and gate.
    pub(crate) fn free(&self, round: usize) -> impl Iterator<Item = (Wire, &Gate)> {
        let free = |gate: &Gate| !matches!(gate, Gate::And(..));
        self.gates.iter().filter(move |(layer, _, g)| *layer == round && free(g)).map(|(_, w, g)| (*w, g))
    }

    /// Planes each party sends in a round.
    pub(crate) fn opened(&self, round: usize) -> usize {
        self.products(round).map(|(_, _, y)| 1 + y.len()).sum()
    }
}

fn outputs(gate: &Gate) -> usize {
    match gate {
        Gate::Xor(..) | Gate::Not(_) => 1,
        Gate::And(_, y) => y.len(),
    }
}

/// Builds a circuit.
#[derive(Debug)]
pub(crate) struct Builder {
    circuit: Circuit,
    /// Rounds after which each wire is known.
    known: Vec<usize>,
}

/// What a run of digits does to a carry: generates one, or propagates the incoming one (`None` where none comes in).
pub(crate) type Carry = (Wire, Option<Wire>);

impl Builder {
    /// A circuit with the given number of inputs.
    pub(crate) fn new(inputs: usize) -> Self {
        Self { circuit: Circuit { inputs, ..Circuit::default() }, known: vec![0; inputs] }
    }

    /// `a + b`.
    pub(crate) fn xor(&mut self, a: Wire, b: Wire) -> Wire {
        let layer = self.known[a].max(self.known[b]);
        self.push(layer, Gate::Xor(a, b))
    }

    /// `1 + a`.
    pub(crate) fn not(&mut self, a: Wire) -> Wire {
        self.push(self.known[a], Gate::Not(a))
    }

    /// `x y_j` for all `j`.
    pub(crate) fn and<const N: usize>(&mut self, x: Wire, y: [Wire; N]) -> [Wire; N] {
        let layer = 1 + y.iter().map(|w| self.known[*w]).fold(self.known[x], usize::max);
        let first = self.push(layer, Gate::And(x, y.to_vec()));
        std::array::from_fn(|j| first + j)
    }

    /// The product of all wires, as a tree; `None` if there are none.
    pub(crate) fn all(&mut self, mut wires: Vec<Wire>) -> Option<Wire> {
        while wires.len() > 1 {
            wires = wires
                .chunks(2)
                .map(|pair| match *pair {
                    [a, b] => self.and(a, [b])[0],
                    _ => pair[0],
                })
                .collect();
        }
        wires.first().copied()
    }

    /// The carry of a run of digits, lowest first, as a tree (Brent and Kung, *A regular layout for parallel adders*,
    /// 1982); `None` if there are none.
    pub(crate) fn chain(&mut self, mut digits: Vec<Carry>) -> Option<Carry> {
        while digits.len() > 1 {
            digits = digits
                .chunks(2)
                .map(|pair| match *pair {
                    [low, high] => self.after(high, low),
                    _ => pair[0],
                })
                .collect();
        }
        digits.first().copied()
    }

    /// `high` after `low`.
    fn after(&mut self, (g, p): Carry, low: Carry) -> Carry {
        match (p, low) {
            (Some(p), (g_low, Some(p_low))) => {
                let [through, both] = self.and(p, [g_low, p_low]);
                (self.xor(g, through), Some(both))
            }
            (Some(p), (g_low, None)) => {
                let [through] = self.and(p, [g_low]);
                (self.xor(g, through), None)
            }
            (None, _) => (g, None),
        }
    }

    /// The circuit.
    pub(crate) fn finish(self) -> Circuit {
        self.circuit
    }

    fn push(&mut self, layer: usize, gate: Gate) -> Wire {
        let first = self.known.len();
        self.known.extend(std::iter::repeat_n(layer, outputs(&gate)));
        self.circuit.layers = self.circuit.layers.max(layer);
        self.circuit.gates.push((layer, first, gate));
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(circuit: &Circuit, inputs: &[bool]) -> Vec<bool> {
        let mut wires = inputs.to_vec();
        wires.resize(circuit.wires(), false);
        for round in 0..=circuit.rounds() {
            for (out, x, y) in circuit.products(round) {
                for (j, y) in y.iter().enumerate() {
                    wires[out + j] = wires[x] && wires[*y];
                }
            }
            for (out, gate) in circuit.free(round) {
                wires[out] = match gate {
                    Gate::Xor(a, b) => wires[*a] != wires[*b],
                    Gate::Not(a) => !wires[*a],
                    Gate::And(..) => unreachable!(),
                };
            }
        }
        wires
    }

    #[test]
    fn a_chain_adds_and_a_tree_multiplies() {
        let bits = 5;
        let mut b = Builder::new(2 * bits + 1);
        let digits = (0..bits).map(|i| (2 * i, Some(2 * i + 1))).collect();
        let (g, p) = b.chain(digits).unwrap();
        let [through] = b.and(p.unwrap(), [2 * bits]);
        let carry = b.xor(g, through);
        let carry = b.not(carry);
        let all = b.all((0..bits).map(|i| 2 * i + 1).collect()).unwrap();
        let circuit = b.finish();
        assert_eq!(circuit.rounds(), 4);
        for case in 0..1 << 11_u32 {
            let (x, y, c) = (case & 31, case >> 5 & 31, case >> 10);
            let bit = |v: u32, i: usize| v >> i & 1 == 1;
            let mut inputs: Vec<bool> = (0..bits).flat_map(|i| [bit(x & y, i), bit(x ^ y, i)]).collect();
            inputs.push(c == 1);
            let wires = run(&circuit, &inputs);
            assert_eq!(!wires[carry], x + y + c > 31);
            assert_eq!(wires[all], x ^ y == 31);
        }
    }
}
