//! The `phineus` program: a provider serves a trained network, a client gets the prediction; the provider never
//! sees the input, the client never sees the weights.
#![forbid(unsafe_code)]

mod command;
mod compile;
mod data;
mod encrypted;
mod extractor;
mod failure;
mod metrics;
mod options;
mod pair;
mod process;
mod size;
mod station;
mod table;
mod tls;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Polynomials come and go by the thousand: memory must not go back to the system in between.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Private neural-network inference.
#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Say on standard error how far a private inference or its preparation is, layer by layer.
    #[arg(long, global = true)]
    progress: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run both sides on this machine on a real model and a real image, and show what each side saw.
    Demo(command::demo::Arguments),
    /// Say whether a model can be compiled, operator by operator.
    Check(command::check::Arguments),
    /// Turn an ONNX model into integers, prove ring widths and parameters, and write a .phn file.
    Compile(command::compile::Arguments),
    /// Compare trained networks of different operators: accuracy against private cost, as a table and a plot.
    Operators(command::operators::Arguments),
    /// Show how every activation can be run over a link, at which cost, and which way is taken.
    Plan(command::plan::Arguments),
    /// Serve compiled models.
    Serve(command::serve::Arguments),
    /// Fill the pool of pre-computes.
    Prepare(command::prepare::Arguments),
    /// Get a private prediction.
    Infer(command::infer::Arguments),
    /// Compare private results with the clear-text reference, bit for bit, and measure accuracy.
    Verify(command::verify::Arguments),
    /// Say how long requests wait that come at random, for given storage and rates.
    Simulate(command::simulate::Arguments),
    /// Run a network as two processes on this machine and report what it costs.
    Bench(command::bench::Arguments),
    /// Write a network architecture with random weights as ONNX.
    Zoo(command::zoo::Arguments),
}

fn main() -> ExitCode {
    end_with_standard_output();
    let Arguments { command, progress } = Arguments::parse();
    let events = if progress { "warn,phineus::progress=info" } else { "warn" };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("PHINEUS_LOG").unwrap_or_else(|_| EnvFilter::new(events)))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match command {
        Command::Demo(arguments) => runtime.block_on(command::demo::run(arguments)),
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Compile(arguments) => command::compile::run(&arguments),
        Command::Operators(arguments) => command::operators::run(&arguments),
        Command::Plan(arguments) => command::plan::run(&arguments),
        Command::Serve(arguments) => runtime.block_on(command::serve::run(arguments)),
        Command::Prepare(arguments) => runtime.block_on(command::prepare::run(arguments)),
        Command::Infer(arguments) => runtime.block_on(command::infer::run(arguments)),
        Command::Verify(arguments) => runtime.block_on(command::verify::run(arguments)),
        Command::Simulate(arguments) => runtime.block_on(command::simulate::run(&arguments)),
        Command::Bench(arguments) => runtime.block_on(command::bench::run(arguments)),
        Command::Zoo(arguments) => command::zoo::run(&arguments),
    };
    // A stalled peer must not hold the program: whatever still runs is abandoned.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads the output may leave early, as a pager does: that ends the program, with an error but no panic.
fn end_with_standard_output() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|words| words.starts_with("failed printing to stdout")) {
            eprintln!("error: standard output was closed");
            std::process::exit(1);
        }
        report(panic);
    }));
}
