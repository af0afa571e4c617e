//! The client's two halves.

use phineus_net::{Channel, Client, Step};
use rand::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

use crate::ProtocolError;
use crate::clock::{Clock, Side};
use crate::exec::material::{ClientLayer, ClientMaterial, OutputShare};
use crate::exec::transfers::Transfers;
use crate::local;
use crate::masks::Seed;
use crate::plan::{Choice, LinearLayer, LinearPlan, NonLinear, Plan};
use crate::progress::progress;
use crate::protocol::linear_he::ClientKeys;
use crate::protocol::{act_cg, act_gc, act_ot, act_product, linear_he};
use crate::report::Cost;

/// The masked input.
pub(crate) const INPUT: Step = Step::new("infer.input");
/// The server's share of the revealed values.
pub(crate) const OUTPUT: Step = Step::new("infer.output");

/// This party's share of every node; `None` where it is not known yet.
pub(crate) type Shares = Vec<Option<Vec<u32>>>;

/// The client's half of a pre-compute when the linear layers are done.
pub(crate) struct Shared {
    seed: Seed,
    shares: Zeroizing<Shares>,
    costs: Vec<Cost>,
}

/// Offline, first part: masks and linear layers of `linear.count()` inferences.
pub(crate) async fn linear(
    channel: &mut Channel<Client>,
    plan: &Plan,
    linear: &LinearPlan,
    keys: &ClientKeys,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Shared>, ProtocolError> {
    let graph = &plan.public().graph;
    // 1. Masks of the input and of every activation, and what follows from them.
    let mut all: Vec<Shared> = (0..linear.count()).map(|_| Shared::masks(plan, Seed::random(rng))).collect();
    // 2. All linear layers at once.
    let input = |layer: &LinearLayer| {
        let ring = layer.spec.ring();
        let node = graph.nodes[layer.node].inputs[0];
        let shares: Vec<&[u32]> = all.iter().map(|s| s.shares[node].as_deref().unwrap_or_default()).collect();
        let mut tall = Zeroizing::new(layer.stack.join(&shares));
        tall.iter_mut().for_each(|word| *word = ring.reduce(*word));
        tall
    };
    let outputs = linear_he::client(channel, plan, linear, keys, input, rng).await?;
    for (layer, (shares, cost)) in linear.layers().iter().zip(outputs) {
        for (i, (shared, share)) in all.iter_mut().zip(shares).enumerate() {
            shared.shares[layer.node] = Some(share);
            shared.costs[layer.node] = cost.part(i as u64, linear.count() as u64);
        }
    }
    // 3. The rest of its shares, of which only those stay that are asked for later.
    for shared in &mut all {
        shared.local(plan);
        shared.forget(plan);
    }
    Ok(all)
}

impl Shared {
    fn masks(plan: &Plan, seed: Seed) -> Self {
        let graph = &plan.public().graph;
        let shares = Zeroizing::new(vec![None; graph.nodes.len()]);
        let mut shared = Self { seed, shares, costs: vec![Cost::default(); plan.rows()] };
        for (node, choice) in plan.choices().iter().enumerate() {
            shared.shares[node] = match choice {
                Choice::Input => {
                    Some(shared.seed.mask(node, graph.facts[node].bits, graph.nodes[node].len()))
                }
                Choice::NonLinear(layer) => {
                    Some(shared.seed.mask(node, layer.mask_bits(), layer.instances()))
                }
                Choice::Linear(_) | Choice::Local | Choice::Cipher(_) => None,
            };
        }
        shared.local(plan);
        shared
    }

    /// Applies the local operations whose inputs are there.
    fn local(&mut self, plan: &Plan) {
        for (node, choice) in plan.choices().iter().enumerate() {
            if let (Choice::Local, None) = (choice, &self.shares[node]) {
                self.shares[node] = local::apply(&plan.public().graph, node, &self.shares);
            }
        }
    }

    /// Wipes and frees all shares but those of the output and of what non-linear layers read.
    fn forget(&mut self, plan: &Plan) {
        let mut kept = vec![false; self.shares.len()];
        kept[plan.public().graph.output] = true;
        plan.nonlinear().flat_map(NonLinear::inputs).for_each(|node| kept[*node] = true);
        for (share, kept) in self.shares.iter_mut().zip(kept) {
            if !kept {
                share.zeroize();
            }
        }
    }
}

/// Offline, second part: the non-linear layers of one inference, protocol by protocol.
pub(crate) async fn nonlinear(
    channel: &mut Channel<Client>,
    plan: &Plan,
    shared: Shared,
    transfers: &mut Transfers<Client>,
    rng: &mut impl CryptoRng,
) -> Result<ClientMaterial, ProtocolError> {
    let Shared { seed, shares, mut costs } = shared;
    let share = |node: usize| shares[node].as_deref().unwrap_or_default();
    let mut garbled = Vec::new();
    // 4. What the server garbles.
    let layers: Vec<_> = plan.server_garbled().collect();
    let mut tweak = 0;
    if !layers.is_empty() {
        let inputs: Vec<_> = layers.iter().map(|layer| share(layer.input)).collect();
        let cot = transfers.receive()?.cot();
        let prepared;
        (tweak, prepared) = act_gc::prepare_evaluator(channel, cot, &layers, &inputs, Side::Client).await?;
        for (layer, (evaluator, cost)) in layers.iter().zip(prepared) {
            costs[layer.node] += cost;
            garbled.push(evaluator);
        }
    }
    // 5. What is compared by oblivious transfer.
    let layers: Vec<_> = plan.by_transfers().collect();
    let mut records = Vec::new();
    if !layers.is_empty() {
        let inputs: Vec<_> = layers.iter().map(|layer| share(layer.input)).collect();
        let prepared =
            act_ot::prepare_client(channel, &layers, &inputs, &seed, transfers.both()?, rng).await?;
        for (layer, (record, cost)) in layers.iter().zip(prepared) {
            costs[layer.node] += cost;
            records.push(record);
        }
    }
    // 6. Products of two values.
    let layers: Vec<_> = plan.products().collect();
    let mut products = Vec::new();
    if !layers.is_empty() {
        let inputs: Vec<_> = layers.iter().map(|layer| layer.inputs.map(share)).collect();
        let prepared = act_product::prepare_client(channel, &layers, &inputs, transfers.receive()?).await?;
        for (layer, (record, cost)) in layers.iter().zip(prepared) {
            costs[layer.node] += cost;
            products.push(record);
        }
    }
    // 7. What the client garbles.
    let layers: Vec<_> = plan.client_garbled().collect();
    let (mut decodings, mut delta) = (Vec::new(), None);
    if !layers.is_empty() {
        let inputs: Vec<_> = layers.iter().map(|layer| share(layer.input)).collect();
        let cot = transfers.send()?.cot();
        let side = Side::Client;
        let prepared = act_cg::prepare_garbler(channel, cot, &layers, &inputs, &seed, side, rng).await?;
        delta = Some(cot.delta().clone());
        for (layer, (decoding, cost)) in layers.iter().zip(prepared) {
            costs[layer.node] += cost;
            decodings.push(decoding);
        }
    }
    let (mut garbled, mut records) = (garbled.into_iter(), records.into_iter());
    let (mut products, mut decodings) = (products.into_iter(), decodings.into_iter());
    let layers = plan.nonlinear().map(|layer| match layer {
        NonLinear::ServerGarbles(_) => garbled.next().map(ClientLayer::Evaluator),
        NonLinear::Ot(_) => records.next().map(ClientLayer::Ot),
        NonLinear::Product(_) => products.next().map(ClientLayer::Ot),
        NonLinear::ClientGarbles(_) => decodings.next().map(ClientLayer::Garbler),
    });
    let layers = layers.collect::<Option<_>>().ok_or(ProtocolError::Material)?;
    let output = OutputShare(shares[plan.public().graph.output].clone().unwrap_or_default());
    Ok(ClientMaterial { plan: *plan.digest(), seed, tweak, delta, layers, output, costs })
}

/// Online: the revealed integers (or the index of the largest), and what each row of the report cost.
pub(crate) async fn online(
    channel: &mut Channel<Client>,
    plan: &Plan,
    mut material: ClientMaterial,
    input: &[i32],
) -> Result<(Vec<i64>, Vec<Cost>), ProtocolError> {
    let graph = &plan.public().graph;
    let mut costs = vec![Cost::default(); plan.rows()];
    let mut clock = Clock::start(Side::Client, channel.traffic());
    // Every layer's material is freed as soon as it is used.
    let mut layers = plan.nonlinear().zip(std::mem::take(&mut material.layers));
    let seed = &material.seed;
    let mut tweaks = act_gc::tweaks(plan.server_garbled(), material.tweak).map(|(_, tweak)| tweak);
    for (node, choice) in plan.choices().iter().enumerate() {
        progress("online, nodes", node, plan.choices().len());
        match choice {
            Choice::Input => {
                // 1. x - r.
                let ring = local::ring(graph, node);
                let mut masked = seed.mask(node, ring.bits(), input.len());
                masked
                    .iter_mut()
                    .zip(input)
                    .for_each(|(r, x)| *r = ring.sub(ring.from_signed((*x).into()), *r));
                let mut bytes = Vec::new();
                phineus_kernel::pack::pack(&masked, ring.bits(), &mut bytes);
                channel.send_bytes(INPUT, &bytes).await?;
                channel.flush().await?;
            }
            Choice::NonLinear(_) => {
                // 2. The protocol of the layer.
                let layer = layers.next().ok_or(ProtocolError::Material)?;
                nonlinear_online(channel, layer, &mut tweaks, &material).await?;
            }
            Choice::Linear(_) | Choice::Local | Choice::Cipher(_) => continue,
        }
        costs[node] = clock.lap(channel.traffic());
    }
    // 3. The result.
    let values = match layers.next() {
        Some(layer) => {
            let index = nonlinear_online(channel, layer, &mut tweaks, &material).await?;
            // A single output has an index of no bits.
            vec![index.first().copied().unwrap_or(0).into()]
        }
        None => {
            let ring = local::ring(graph, graph.output);
            let share = &material.output.0;
            let bytes = channel
                .recv_bytes(OUTPUT, phineus_kernel::pack::packed_len(share.len(), ring.bits()))
                .await?;
            let theirs: Vec<u32> =
                phineus_kernel::pack::unpack(OUTPUT.name(), &bytes, share.len(), ring.bits())
                    .map_err(phineus_net::ChannelError::from)?;
            theirs.iter().zip(share).map(|(y, c)| ring.to_signed(ring.add(*y, *c))).collect()
        }
    };
    if let Some(cost) = costs.last_mut() {
        *cost = clock.lap(channel.traffic());
    }
    Ok((values, costs))
}

/// One non-linear layer; what the client learns, which is nothing but in the arg-max layer.
async fn nonlinear_online(
    channel: &mut Channel<Client>,
    layer: (&NonLinear, ClientLayer),
    tweaks: &mut impl Iterator<Item = u128>,
    all: &ClientMaterial,
) -> Result<Vec<u32>, ProtocolError> {
    match layer {
        (NonLinear::ServerGarbles(layer), ClientLayer::Evaluator(material)) => {
            let tweak = tweaks.next().ok_or(ProtocolError::Material)?;
            let mask = match layer.mask_bits {
                0 => Vec::new(),
                bits => all.seed.mask(layer.node, bits, layer.instances),
            };
            act_gc::evaluator(channel, layer, tweak, &material, &Zeroizing::new(mask)).await
        }
        (NonLinear::Ot(layer), ClientLayer::Ot(record)) => {
            let mask = match layer.mask_bits {
                0 => Vec::new(),
                bits => all.seed.mask(layer.node, bits, layer.instances),
            };
            act_ot::client(channel, layer, &record, &all.seed, &Zeroizing::new(mask)).await
        }
        (NonLinear::Product(layer), ClientLayer::Ot(record)) => {
            let mask = Zeroizing::new(all.seed.mask(layer.node, layer.product.bits(), layer.instances));
            act_product::client(channel, layer, &record, &mask).await?;
            Ok(Vec::new())
        }
        (NonLinear::ClientGarbles(layer), ClientLayer::Garbler(decoding)) => {
            let delta = all.delta.as_ref().ok_or(ProtocolError::Material)?;
            act_cg::garbler(channel, layer, delta, &all.seed, decoding.as_ref()).await
        }
        _ => Err(ProtocolError::Material),
    }
}
