//! Project tasks: `cargo xtask test` runs all tests, `cargo xtask check` everything else a change must pass,
//! `cargo xtask results` and `cargo xtask backbones` measure networks for README.md.
#![forbid(unsafe_code)]

mod backbones;
mod cargo;
mod check;
mod figures;
mod results;
mod test;

use std::process::ExitCode;

/// What a task ends with: done, or the reason it failed.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => test::run(),
        ["check"] => check::run(),
        ["results"] => results::run(),
        ["backbones", ref options @ ..] => backbones::run(options),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask TASK
  test    all tests, by cargo-nextest where it is installed, and the examples in the documentation
  check   format, lints, documentation, layering, unsafe code, licences, file sizes, seeded generators
  results  measure networks and rewrite the table of README.md
  backbones [--data DIR] [--only NAME]  the same for networks of 224x224 images and presets, as far as this version has not
          measured them yet; on images of DIR; --only measures one again";
