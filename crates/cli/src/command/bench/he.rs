//! `phineus bench he`: networks under encryption, client and server over a loopback socket, one row per mode.
//!
//! Every figure is a median over the images of one session, keys already sent. End to end is encoding, encryption,
//! both crossings, evaluation, reply, decryption.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phineus_infer::cipher::InputForm;
use phineus_infer::plan::{Engine, Offer, Options, Precision, Wishes};
use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::client::{Request, Session};
use phineus_infer::session::server;
use phineus_infer::store::{Limits, MemoryStore};
use phineus_kernel::prg::Prg;
use phineus_model::{float, onnx, zoo};
use phineus_net::tcp;
use serde::Serialize;
use tokio::net::TcpListener;

use super::provenance::Provenance;
use crate::command::zoo::random_pixels;
use crate::compile::{self, Quantisation};
use crate::data::{Sample, Split};
use crate::failure::Failure;
use crate::{process, table};

/// A row of the table.
struct Mode {
    name: &'static str,
    network: Network,
    form: InputForm,
    /// Bits of the scale at least.
    precision: u32,
    weight_bits: u32,
}

/// Where a network comes from.
enum Network {
    Trained(&'static [u8]),
    Zoo(&'static str),
}

const LOLA: Network = Network::Trained(include_bytes!("../../../../../assets/lola-mnist.onnx"));
const SMALL: Network = Network::Trained(include_bytes!("../../../../../assets/lola-small.onnx"));
const CALTECH: Network = Network::Trained(include_bytes!("../../../../../assets/caltech-linear.onnx"));

const MODES: [Mode; 6] = [
    Mode { name: "LoLa", network: LOLA, form: InputForm::Convolution, precision: 24, weight_bits: 12 },
    Mode { name: "LoLa-Dense", network: LOLA, form: InputForm::Message, precision: 24, weight_bits: 12 },
    Mode { name: "LoLa-Small", network: SMALL, form: InputForm::Any, precision: 24, weight_bits: 12 },
    Mode { name: "Caltech-101", network: CALTECH, form: InputForm::Any, precision: 20, weight_bits: 8 },
    Mode {
        name: "4096 to 102",
        network: Network::Zoo("linear-4096-102"),
        form: InputForm::Any,
        precision: 20,
        weight_bits: 8,
    },
    Mode {
        name: "LoLa-CIFAR",
        network: Network::Zoo("lola-cifar"),
        form: InputForm::Any,
        precision: 24,
        weight_bits: 8,
    },
];

/// What was measured of a mode.
#[derive(Debug, Serialize)]
struct Row {
    mode: &'static str,
    slots: usize,
    images: usize,
    end_to_end_ms: f64,
    encrypt_ms: f64,
    server_ms: f64,
    decrypt_ms: f64,
    key_switches: usize,
    products: usize,
    request_bytes: u64,
    reply_bytes: u64,
    key_bytes: u64,
    /// Images for which the class is that of the network in the clear.
    same_class: usize,
    /// Largest error of a logit, relative to the largest logit.
    worst_error: f64,
    /// Right predictions, where labels are known.
    right: Option<usize>,
    peak_rss_bytes: u64,
}

#[derive(Serialize)]
struct Figures {
    provenance: Provenance,
    rows: Vec<Row>,
}

/// Measures all modes whose names contain `only`; digits come from `data` (the MNIST files), if it is given.
pub(super) async fn table(
    data: Option<&Path>,
    count: usize,
    only: Option<&str>,
    json: bool,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for mode in MODES.iter().filter(|mode| only.is_none_or(|only| mode.name.contains(only))) {
        let row = measure(mode, data, count.max(1)).await?;
        tracing::info!("{row:?}");
        rows.push(row);
    }
    let figures = Figures { provenance: Provenance::collect(), rows };
    if let Some(path) = output {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)?;
    }
    if json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures.rows);
    }
    Ok(())
}

async fn measure(mode: &Mode, data: Option<&Path>, count: usize) -> Result<Row, Failure> {
    let graph = mode.network.graph()?;
    let shape = compile::input_shape(&graph)?;
    let digits = data.filter(|_| (shape.channels, shape.height, shape.width) == (1, 28, 28));
    let samples = |split, limit| match digits {
        Some(path) => compile::samples(path, shape, split, Some(limit)),
        None => Ok(random_pixels(shape, limit)),
    };
    let (calibration, images) = (samples(Split::Train, CALIBRATION)?, samples(Split::Test, count)?);
    let quantisation = Quantisation::plain(mode.name).with_weight_bits(mode.weight_bits);
    let model = compile::quantise(&graph, &calibration, &quantisation)?;
    let real = |sample: &Sample| model.preprocess.apply(&sample.pixels);
    let seen = calibration.iter().map(real).collect::<Result<Vec<_>, _>>()?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", mode.name));
    let precision = Precision::new(mode.precision).map_err(|e| failed(&e))?;
    let options = Options { form: mode.form, precision, ..Options::of(Engine::He) };
    let offer = Offer { engines: vec![Engine::He], forms: vec![mode.form], precision, ..Offer::default() };
    let mut catalogue = Catalogue::new(offer);
    let served = Served::with_inputs(model.clone(), &options, 0, &seen).map_err(|e| failed(&e))?;
    catalogue.add(served).map_err(|e| failed(&e))?;
    let catalogue = Arc::new(catalogue);
    let wishes = Wishes { engine: Some(Engine::He), link: Some(options.link), ..Wishes::default() };
    let served = catalogue.find(mode.name, &wishes).map_err(|e| failed(&e))?;
    let service = served.service().ok_or_else(|| failed(&"not under encryption"))?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = {
        let catalogue = catalogue.clone();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
            let channel = tcp::from_stream(stream).map_err(|e| e.to_string())?;
            let mut rng = Prg::from_generator(&mut rand::rng());
            let store = MemoryStore::new(Limits::default(), &mut rng);
            let rss = process::peak_rss_bytes;
            server::serve(channel, &catalogue, &store, rss, &mut rng).await.map_err(|e| e.to_string())
        })
    };
    let mut channel = tcp::connect(address, DEADLINE).await?;
    channel.set_deadline(DEADLINE);
    let store = MemoryStore::new(Limits::default(), &mut rand::rng());
    let request = Request { model: mode.name.to_owned(), wishes, ..Request::default() };
    let mut session =
        Session::connect(channel, &request, &store, &mut rand::rng()).await.map_err(|e| failed(&e))?;

    let (mut total, mut encrypt, mut evaluate, mut decrypt) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut same_class, mut right, mut worst, mut largest) = (0, 0, 0.0_f64, f64::MIN_POSITIVE);
    let (mut request_bytes, mut reply_bytes) = (0, 0);
    let output = model.graph.output;
    for sample in &images {
        let input = model.encode_pixels(&sample.pixels)?;
        let start = Instant::now();
        let report = session.predict(&input).await.map_err(|e| failed(&e))?.report;
        total.push(start.elapsed());
        // The first row is the client's encryption, that of the output waits for the reply, the last one decrypts it.
        let row =
            |row: usize| Duration::from_secs_f64(report.layers.get(row).map_or(0.0, |l| l.online.seconds));
        encrypt.push(row(0));
        evaluate.push(row(output));
        decrypt.push(row(report.layers.len() - 1));
        let online = report.online;
        (request_bytes, reply_bytes) = (online.client_to_server_bytes, online.server_to_client_bytes);
        let real: Vec<f64> = input.iter().map(|&x| f64::from(x) * model.graph.facts[0].step).collect();
        let expected = service.clear(&real);
        for (a, b) in report.output.logits.iter().zip(&expected) {
            worst = worst.max((f64::from(*a) - b).abs());
            largest = largest.max(b.abs());
        }
        let class = report.output.argmax;
        same_class += usize::from(class == largest_at(&expected));
        right += usize::from(Some(class) == sample.label);
    }
    let key_bytes = session.uploaded() as u64;
    session.close().await.map_err(|e| failed(&e))?;
    serving.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    let scheme = service.scheme();
    Ok(Row {
        mode: mode.name,
        slots: scheme.params().slots(),
        images: images.len(),
        end_to_end_ms: median_ms(total),
        encrypt_ms: median_ms(encrypt),
        server_ms: median_ms(evaluate),
        decrypt_ms: median_ms(decrypt),
        key_switches: scheme.program().switches(),
        products: scheme.program().products(),
        request_bytes,
        reply_bytes,
        key_bytes,
        same_class,
        worst_error: worst / largest,
        right: digits.map(|_| right),
        peak_rss_bytes: process::peak_rss_bytes(),
    })
}

impl Network {
    fn graph(&self) -> Result<float::Graph, Failure> {
        match self {
            Self::Trained(bytes) => Ok(onnx::import(bytes)?),
            Self::Zoo(name) => Ok(zoo::build(name, 1)?),
        }
    }
}

fn print(rows: &[Row]) {
    let header = [
        "mode",
        "slots",
        "end to end ms",
        "encrypt",
        "server",
        "decrypt",
        "switches",
        "products",
        "request",
        "reply",
        "keys",
        "same class",
        "error",
        "right",
    ];
    let mut table = table::new(&header, 1);
    for row in rows {
        table.add_row([
            row.mode.to_owned(),
            row.slots.to_string(),
            format!("{:.2}", row.end_to_end_ms),
            format!("{:.2}", row.encrypt_ms),
            format!("{:.2}", row.server_ms),
            format!("{:.2}", row.decrypt_ms),
            row.key_switches.to_string(),
            row.products.to_string(),
            table::bytes(row.request_bytes),
            table::bytes(row.reply_bytes),
            table::bytes(row.key_bytes),
            format!("{} of {}", row.same_class, row.images),
            format!("{:.1e}", row.worst_error),
            row.right.map_or_else(|| "-".to_owned(), |right| format!("{right} of {}", row.images)),
        ]);
    }
    println!("{table}");
}

fn largest_at(values: &[f64]) -> usize {
    let at = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    at.map_or(usize::MAX, |(index, _)| index)
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
}

/// How long a large network may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// Images whose values a network is scaled for.
const CALIBRATION: usize = 32;
