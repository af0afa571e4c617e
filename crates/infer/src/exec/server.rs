//! The server's two halves.

use phineus_mpc::Delta;
use phineus_net::{Channel, Server};
use rand::CryptoRng;

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::compute::compute;
use crate::exec::client::{INPUT, OUTPUT, Shares};
use crate::exec::material::{ServerLayer, ServerMaterial};
use crate::exec::transfers::Transfers;
use crate::local;
use crate::masks::Seed;
use crate::plan::{Choice, LinearPlan, NonLinear};
use crate::protocol::linear_he::ServerKeys;
use crate::protocol::{act_cg, act_gc, act_ot, act_product, linear_he};
use crate::served::Served;

/// The server's half of a pre-compute when the linear layers are done.
pub(crate) struct Shared {
    seed: Seed,
    cpu_seconds: Vec<f64>,
}

/// Offline, first part: the linear layers of `linear.count()` inferences.
pub(crate) async fn linear(
    channel: &mut Channel<Server>,
    served: &Served,
    linear: &LinearPlan,
    keys: &ServerKeys,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Shared>, ProtocolError> {
    let seeds: Vec<Seed> = (0..linear.count()).map(|_| Seed::random(rng)).collect();
    let mut cpu_seconds = vec![0.0; served.plan().rows()];
    // 2. All linear layers at once (the numbers are those of the client's half).
    let costs = linear_he::server(channel, served, linear, keys, &seeds, rng).await?;
    for (layer, cost) in linear.layers().iter().zip(costs) {
        cpu_seconds[layer.node] = cost.server_cpu_seconds / linear.count() as f64;
    }
    Ok(seeds.into_iter().map(|seed| Shared { seed, cpu_seconds: cpu_seconds.clone() }).collect())
}

/// Offline, second part: the non-linear layers of one inference, protocol by protocol.
pub(crate) async fn nonlinear(
    channel: &mut Channel<Server>,
    served: &Served,
    shared: Shared,
    transfers: &mut Transfers<Server>,
    rng: &mut impl CryptoRng,
) -> Result<ServerMaterial, ProtocolError> {
    let Shared { seed, mut cpu_seconds } = shared;
    let plan = served.plan();
    let (mut garbled, mut delta) = (Vec::new(), None);
    // 4. What the server garbles.
    let layers: Vec<_> = plan.server_garbled().collect();
    if !layers.is_empty() {
        let cot = transfers.send()?.cot();
        let (_, prepared) = act_gc::prepare_garbler(channel, cot, &layers, &seed, Side::Server, rng).await?;
        delta = Some(cot.delta().clone());
        for (layer, (bits, cost)) in layers.iter().zip(prepared) {
            cpu_seconds[layer.node] += cost.server_cpu_seconds;
            garbled.push(bits);
        }
    }
    // 5. What is compared by oblivious transfer.
    let layers: Vec<_> = plan.by_transfers().collect();
    let mut records = Vec::new();
    if !layers.is_empty() {
        let prepared = act_ot::prepare_server(channel, &layers, transfers.both()?, rng).await?;
        for (layer, (record, cost)) in layers.iter().zip(prepared) {
            cpu_seconds[layer.node] += cost.server_cpu_seconds;
            records.push(record);
        }
    }
    // 6. Products of two values.
    let layers: Vec<_> = plan.products().collect();
    let mut products = Vec::new();
    if !layers.is_empty() {
        let prepared = act_product::prepare_server(channel, &layers, transfers.send()?).await?;
        for (layer, (record, cost)) in layers.iter().zip(prepared) {
            cpu_seconds[layer.node] += cost.server_cpu_seconds;
            products.push(record);
        }
    }
    // 7. What the client garbles.
    let layers: Vec<_> = plan.client_garbled().collect();
    let mut tables = Vec::new();
    if !layers.is_empty() {
        let cot = transfers.receive()?.cot();
        let prepared = act_cg::prepare_evaluator(channel, cot, &layers, Side::Server, rng).await?;
        for (layer, (evaluator, cost)) in layers.iter().zip(prepared) {
            cpu_seconds[layer.node] += cost.server_cpu_seconds;
            tables.push(evaluator);
        }
    }
    let (mut garbled, mut records) = (garbled.into_iter(), records.into_iter());
    let (mut products, mut tables) = (products.into_iter(), tables.into_iter());
    let layers = plan.nonlinear().map(|layer| match layer {
        NonLinear::ServerGarbles(_) => garbled.next().map(ServerLayer::Garbler),
        NonLinear::Ot(_) => records.next().map(ServerLayer::Ot),
        NonLinear::Product(_) => products.next().map(ServerLayer::Ot),
        NonLinear::ClientGarbles(_) => tables.next().map(ServerLayer::Evaluator),
    });
    let layers = layers.collect::<Option<_>>().ok_or(ProtocolError::Material)?;
    Ok(ServerMaterial { seed, delta, layers, cpu_seconds })
}

/// Online; the CPU seconds of every row of the report.
pub(crate) async fn online(
    channel: &mut Channel<Server>,
    served: &Served,
    material: ServerMaterial,
) -> Result<Vec<f64>, ProtocolError> {
    let plan = served.plan();
    let graph = &plan.public().graph;
    let last_reader = last_readers(plan.public());
    let mut cpu_seconds = vec![0.0; plan.rows()];
    let mut clock = Clock::start(Side::Server, channel.traffic());
    let ServerMaterial { seed, delta, layers, .. } = material;
    let mut layers = layers.into_iter();
    let mut shares: Shares = vec![None; graph.nodes.len()];
    let value = |shares: &Shares, node: usize| shares[node].clone().unwrap_or_default();
    for (node, choice) in plan.choices().iter().enumerate() {
        let inputs = &graph.nodes[node].inputs;
        shares[node] = match choice {
            Choice::Input => {
                // 1. x - r.
                let (bits, len) = (graph.facts[node].bits, graph.nodes[node].len());
                let bytes = channel.recv_bytes(INPUT, phineus_kernel::pack::packed_len(len, bits)).await?;
                let words = phineus_kernel::pack::unpack(INPUT.name(), &bytes, len, bits);
                Some(words.map_err(phineus_net::ChannelError::from)?)
            }
            Choice::Linear(index) => {
                let layer = &plan.linear().layers()[*index];
                let x = shares[inputs[0]].as_deref().unwrap_or_default();
                Some(compute(|| linear_he::online(served, layer, &seed, x)))
            }
            Choice::NonLinear(layer) => {
                // 2. The protocol of the layer.
                let material = layers.next().ok_or(ProtocolError::Material)?;
                let y: Vec<_> = layer.inputs().iter().map(|input| value(&shares, *input)).collect();
                Some(nonlinear_online(channel, (layer, material), delta.as_ref(), &seed, &y).await?)
            }
            Choice::Local => compute(|| {
                let mut share = local::apply(graph, node, &shares)?;
                served.add_bias(node, &mut share);
                Some(share)
            }),
            // Plans with such nodes have no pre-computes.
            Choice::Cipher(_) => return Err(ProtocolError::Material),
        };
        for input in inputs {
            if last_reader[*input] == Some(node) {
                shares[*input] = None;
            }
        }
        cpu_seconds[node] = clock.lap(channel.traffic()).server_cpu_seconds;
    }
    // 3. The result.
    let y = value(&shares, graph.output);
    match (plan.argmax(), layers.next()) {
        (Some(layer), Some(material)) => {
            nonlinear_online(channel, (layer, material), delta.as_ref(), &seed, &[y]).await?;
        }
        _ => {
            let mut bytes = Vec::new();
            phineus_kernel::pack::pack(&y, graph.facts[graph.output].bits, &mut bytes);
            channel.send_bytes(OUTPUT, &bytes).await?;
            channel.flush().await?;
        }
    }
    if let Some(seconds) = cpu_seconds.last_mut() {
        *seconds = clock.lap(channel.traffic()).server_cpu_seconds;
    }
    Ok(cpu_seconds)
}

/// One non-linear layer, from the server's shares of what it reads; its share of the output, nothing in the arg-max layer.
async fn nonlinear_online(
    channel: &mut Channel<Server>,
    layer: (&NonLinear, ServerLayer),
    delta: Option<&Delta>,
    seed: &Seed,
    inputs: &[Vec<u32>],
) -> Result<Vec<u32>, ProtocolError> {
    let [y, factor] = [0, 1].map(|i| inputs.get(i).map(Vec::as_slice).unwrap_or_default());
    match layer {
        (NonLinear::ServerGarbles(layer), ServerLayer::Garbler(decoding)) => {
            let delta = delta.ok_or(ProtocolError::Material)?;
            act_gc::garbler(channel, layer, delta, seed, &decoding, y).await
        }
        (NonLinear::Ot(layer), ServerLayer::Ot(record)) => act_ot::server(channel, layer, &record, y).await,
        (NonLinear::Product(layer), ServerLayer::Ot(record)) => {
            act_product::server(channel, layer, &record, [y, factor]).await
        }
        (NonLinear::ClientGarbles(layer), ServerLayer::Evaluator(mut material)) => {
            act_cg::evaluator(channel, layer, &mut material, y).await
        }
        _ => Err(ProtocolError::Material),
    }
}

/// The last node that reads each value, after which the value can be dropped; `None` for the output.
fn last_readers(public: &phineus_model::phn::Public) -> Vec<Option<usize>> {
    let graph = &public.graph;
    let mut last = vec![None; graph.nodes.len()];
    for (node, this) in graph.nodes.iter().enumerate() {
        this.inputs.iter().for_each(|input| last[*input] = Some(node));
    }
    last[graph.output] = None;
    last
}
