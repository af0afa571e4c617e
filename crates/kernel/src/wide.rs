//! Plain loops, compiled once for the machine that the crate is built for and once each for AVX2 and AVX-512.

/// Compiles functions without a result for every backend and chooses at run time. All run the same code; the loops
/// become vector code where that pays.
macro_rules! wide {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident $([const $N:ident: usize])? ($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        $vis fn $name $(<const $N: usize>)? ($($arg: $ty),*) {
            #[inline(always)]
            fn body $(<const $N: usize>)? ($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
            fn avx512 $(<const $N: usize>)? ($($arg: $ty),*) {
                body $(::<$N>)? ($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2 $(<const $N: usize>)? ($($arg: $ty),*) {
                body $(::<$N>)? ($($arg),*)
            }

            match $crate::cpu::Backend::detected() {
                // SAFETY: the backend was detected on this machine.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::Backend::Avx512 => unsafe { avx512 $(::<$N>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::Backend::Avx2 => unsafe { avx2 $(::<$N>)? ($($arg),*) },
                _ => body $(::<$N>)? ($($arg),*),
            }
        }
    )*};
}
