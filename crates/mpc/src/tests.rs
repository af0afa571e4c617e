//! Correlated OT and garbling together, as a layer uses them: the outputs of the transfer are wire labels.

use crate::gc::gadgets::{ActSpec, act, act_shared, argmax};
use crate::gc::{Circuit, GarblerInputs, GarblerLabels, InputSeed, Span, evaluate, garble};
use crate::ot::cot::{Receiver, Sender};
use crate::{Bits, Delta};
use phineus_kernel::block::Block;
use phineus_kernel::prg::Prg;
use phineus_net::{Channel, Role, Step, mem};
use rand::Rng;

const TABLES: Step = Step::new("test.tables");
const LABELS: Step = Step::new("test.labels");
const OUTPUT: Step = Step::new("test.output");

/// The garbler: tables and the evaluator's labels offline, its own labels online; returns the decoded outputs.
async fn garbler<R: Role>(channel: &mut Channel<R>, circuit: &Circuit, span: Span, inputs: &Bits) -> Bits {
    let rng = &mut Prg::new([1; 16]);
    let mut sender = Sender::setup(channel, &[8; 32], Delta::random(rng), rng).await.unwrap();
    let zero_labels = sender.extend(channel, span.count * circuit.evaluator_inputs()).await.unwrap();
    let seed = InputSeed::random(rng);
    let garbled = garble(circuit, sender.delta(), span, GarblerInputs::Later(&seed), &zero_labels).unwrap();
    channel.send_bytes(TABLES, &garbled.tables).await.unwrap();
    let labels = seed.labels(circuit, sender.delta(), span, inputs).unwrap();
    channel.send_bytes(LABELS, Block::as_bytes(&labels)).await.unwrap();
    let bits = span.count * circuit.outputs();
    let colours = channel.recv_bytes(OUTPUT, bits.div_ceil(8)).await.unwrap();
    circuit.decode(&garbled.decoding, &Bits::from_bytes(colours, bits).unwrap())
}

async fn evaluator<R: Role>(channel: &mut Channel<R>, circuit: &Circuit, span: Span, inputs: &Bits) {
    masking_evaluator(channel, circuit, span, inputs, |output| output).await;
}

/// The evaluator that sends `mask(output)`.
async fn masking_evaluator<R: Role>(
    channel: &mut Channel<R>,
    circuit: &Circuit,
    span: Span,
    inputs: &Bits,
    mask: impl FnOnce(Bits) -> Bits,
) {
    let mut receiver = Receiver::setup(channel, &[8; 32], &mut Prg::new([2; 16])).await.unwrap();
    let own = receiver.extend(channel, inputs).await.unwrap();
    let tables = channel.recv_bytes(TABLES, circuit.table_bytes(span.count)).await.unwrap();
    let bytes = span.count * circuit.garbler_inputs() * Block::BYTES;
    let theirs = Block::vec_from_bytes(&channel.recv_bytes(LABELS, bytes).await.unwrap()).unwrap();
    let colours = mask(evaluate(circuit, span, &tables, GarblerLabels::Sent(&theirs), &own).unwrap());
    channel.send_bytes(OUTPUT, colours.as_bytes()).await.unwrap();
    channel.flush().await.unwrap();
}

/// Words of `value`, one per element, as inputs in the order of the circuit.
fn interleave(parts: &[(&[u32], usize)], count: usize) -> Bits {
    let bit = |w: u32, b: usize| w >> b & 1 == 1;
    (0..count).flat_map(|i| parts.iter().flat_map(move |(w, n)| (0..*n).map(move |b| bit(w[i], b)))).collect()
}

#[tokio::test]
async fn a_relu_layer_on_shares() {
    let spec = ActSpec { in_bits: 22, window: 1, shift: 7, lo: 0, hi: 255, quadratic: None, out_bits: 24 };
    let circuit = act(&spec).unwrap();
    let count = 1000;
    let rng = &mut Prg::new([3; 16]);
    let (mut c, mut mask) = (vec![0; count], vec![0; count]);
    rng.fill_u32(22, &mut c);
    rng.fill_u32(24, &mut mask);
    let acc: Vec<i32> = (0..count).map(|_| rng.next_u32() as i32 >> 11).collect();
    let y: Vec<u32> =
        acc.iter().zip(&c).map(|(v, c)| (*v as u32).wrapping_sub(*c).wrapping_add(1 << 6)).collect();
    let span = Span::whole(1 << 70, count);
    let (garbler_bits, evaluator_bits) =
        (interleave(&[(&y, 22)], count), interleave(&[(&c, 22), (&mask, 24)], count));
    let (mut client, mut server) = mem::pair();
    let (out, ()) = tokio::join!(
        garbler(&mut server, &circuit, span, &garbler_bits),
        evaluator(&mut client, &circuit, span, &evaluator_bits)
    );
    for (i, share) in out.to_words(24).into_iter().enumerate() {
        let z = ((acc[i] + (1 << 6)) >> 7).clamp(0, 255) as u32;
        assert_eq!((share + mask[i]) & 0xff_ffff, z, "element {i}, accumulator {}", acc[i]);
    }
}

/// The same layer with shares as outputs: the evaluator masks its share itself.
#[tokio::test]
async fn a_relu_layer_with_outputs_in_shares() {
    let spec = ActSpec { in_bits: 22, window: 1, shift: 7, lo: 0, hi: 255, quadratic: None, out_bits: 21 };
    let circuit = act_shared(&spec).unwrap();
    let count = 500;
    let rng = &mut Prg::new([5; 16]);
    let (mut c, mut mask) = (vec![0; count], vec![0; count]);
    rng.fill_u32(22, &mut c);
    rng.fill_u32(21, &mut mask);
    let acc: Vec<i32> = (0..count).map(|_| rng.next_u32() as i32 >> 11).collect();
    let y: Vec<u32> =
        acc.iter().zip(&c).map(|(v, c)| (*v as u32).wrapping_sub(*c).wrapping_add(1 << 6)).collect();
    let span = Span::whole(9 << 70, count);
    let (garbler_bits, evaluator_bits) = (Bits::from_words(&y, 22), Bits::from_words(&c, 22));
    let masked = |output: Bits| {
        let shares = output.to_words(21);
        let words: Vec<u32> = shares.iter().zip(&mask).map(|(s, r)| s.wrapping_sub(*r)).collect();
        Bits::from_words(&words, 21)
    };
    let (mut client, mut server) = mem::pair();
    let (out, ()) = tokio::join!(
        garbler(&mut server, &circuit, span, &garbler_bits),
        masking_evaluator(&mut client, &circuit, span, &evaluator_bits, masked)
    );
    for (i, share) in out.to_words(21).into_iter().enumerate() {
        let z = ((acc[i] + (1 << 6)) >> 7).clamp(0, 255) as u32;
        assert_eq!((share + mask[i]) & 0x1f_ffff, z, "element {i}, accumulator {}", acc[i]);
    }
}

/// The same code with the roles exchanged: the client garbles.
#[tokio::test]
async fn an_argmax_garbled_by_the_client() {
    let n = 10;
    let circuit = argmax(20, n).unwrap();
    let values: Vec<u32> = (0..n as u32).map(|i| (i * 7919) % 1009).collect();
    let mut c = vec![0; n];
    Prg::new([4; 16]).fill_u32(20, &mut c);
    let y: Vec<u32> = values.iter().zip(&c).map(|(v, c)| v.wrapping_sub(*c)).collect();
    let span = Span::whole(5, 1);
    let (garbler_bits, evaluator_bits) = (Bits::from_words(&y, 20), Bits::from_words(&c, 20));
    let (mut client, mut server) = mem::pair();
    let (out, ()) = tokio::join!(
        garbler(&mut client, &circuit, span, &garbler_bits),
        evaluator(&mut server, &circuit, span, &evaluator_bits)
    );
    let best = values.iter().enumerate().max_by_key(|(_, v)| **v).unwrap().0;
    assert_eq!(out.to_words(4), [best as u32]);
}
