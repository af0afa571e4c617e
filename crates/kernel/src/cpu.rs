//! The one place where a backend is chosen.
//!
//! The choice is made once, at first use, from what the processor offers; `PHINEUS_BACKEND` set to `portable`,
//! `avx2` or `avx512` lowers it (never raises it), so that tests can force each backend.

use std::sync::OnceLock;

/// A set of instructions that kernels are written for, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, DQ, BW, VL, IFMA, VNNI and VBMI.
    Avx512,
}

impl Backend {
    /// The best backend this machine offers, lowered by `PHINEUS_BACKEND` if set.
    #[must_use]
    pub fn detected() -> Self {
        static CHOICE: OnceLock<Backend> = OnceLock::new();
        *CHOICE.get_or_init(|| {
            let best = Self::best();
            match std::env::var("PHINEUS_BACKEND").as_deref() {
                Ok("portable") => Self::Portable,
                Ok("avx2") => best.min(Self::Avx2),
                _ => best,
            }
        })
    }

    /// Every backend that runs on this machine, for tests that compare them.
    #[must_use]
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|b| *b <= Self::best()).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        macro_rules! has {
            ($($f:tt),*) => { true $(&& std::is_x86_feature_detected!($f))* };
        }
        if has!("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512ifma", "avx512vnni", "avx512vbmi") {
            Self::Avx512
        } else if has!("avx2") {
            Self::Avx2
        } else {
            Self::Portable
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Self {
        Self::Portable
    }
}
