//! The tokens of the instruction sets of x86-64: detection is the only way to have one.

use std::sync::OnceLock;

/// Proves that the CPU and the operating system support AVX2, FMA and F16C. (All CPUs with AVX2 but one line
/// of VIA's have all three.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where there is what it proves.
    pub fn detect() -> Option<Self> {
        let all = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c");
        all.then_some(Self(()))
    }
}

/// Proves that the CPU and the operating system support the foundation of AVX-512, avx512f.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx512(Maker);

impl Avx512 {
    /// The token, where there is what it proves.
    pub fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx512f").then(|| Self(Maker::detect()))
    }

    /// This machine's token, and those that it would have if others had made it.
    #[cfg(test)]
    pub fn of_all_makers() -> impl Iterator<Item = Self> {
        let makers = [Maker::Intel, Maker::Other];
        Self::detect().into_iter().flat_map(move |_| makers.map(Self))
    }

    /// Who made the CPU.
    #[inline(always)]
    pub(super) const fn maker(self) -> Maker {
        self.0
    }
}

/// Who made the CPU: the units of its cores differ in speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Maker {
    Intel,
    /// AMD, or another one that has not been measured.
    Other,
}

impl Maker {
    /// Asked once: in a virtual machine the answer takes microseconds.
    fn detect() -> Self {
        static MAKER: OnceLock<Maker> = OnceLock::new();
        *MAKER.get_or_init(|| match raw_cpuid::CpuId::new().get_vendor_info() {
            Some(vendor) if vendor.as_str() == "GenuineIntel" => Self::Intel,
            _ => Self::Other,
        })
    }
}

/// A value that exists only where the token `I` does: the token, and registers made from it.
pub trait Proof<I>: Copy {
    /// Nothing: the value is the proof.
    #[inline(always)]
    fn proves(self) {}
}

impl Proof<Self> for Avx2 {}
impl Proof<Self> for Avx512 {}

/// Methods of a register `$raw` whose bodies are intrinsics: `name(a, b) { .. }` for a register of raw
/// registers, all run by the macro `$with` of the instruction set.
macro_rules! intrinsics {
    ($with:ident, $raw:ty: $($(#[$attribute:meta])* $name:ident($first:ident $(, $other:ident)*) $body:block)*) => {$(
        $(#[$attribute])*
        #[inline(always)]
        fn $name(self $(, $other: Self)*) -> Self {
            Self($with!(self, ($first: $raw = self.0 $(, $other: $raw = $other.0)*) -> $raw $body))
        }
    )*};
}
pub(super) use intrinsics;

/// The bits of a plain value as another one of the same size. (`bytemuck::cast` goes through memory in a
/// build with debug assertions.)
macro_rules! reinterpret {
    ($value:expr, $from:ty => $to:ty) => {{
        const fn plain<T: bytemuck::Pod>() {}
        plain::<$from>();
        plain::<$to>();
        // SAFETY: both are plain data, of which all bits are valid; `transmute` checks the size.
        unsafe { std::mem::transmute::<$from, $to>($value) }
    }};
}
pub(super) use reinterpret;

/// The memory of a register of raw registers `$raw`, with `$stream` to write past the caches.
macro_rules! memory {
    ($isa:ty, [$element:ty; $lanes:literal], $raw:ty, $stream:ident) => {
        type Element = $element;
        type Isa = $isa;
        type Lanes = [$element; $lanes];

        #[inline(always)]
        fn splat(isa: $isa, value: $element) -> Self {
            Self::load(isa, &[value; $lanes])
        }
        #[inline(always)]
        fn load(_: $isa, lanes: &Self::Lanes) -> Self {
            Self(reinterpret!(*lanes, [$element; $lanes] => $raw))
        }
        #[inline(always)]
        fn store(self, lanes: &mut Self::Lanes) {
            *lanes = reinterpret!(self.0, $raw => [$element; $lanes]);
        }
        // The ordering of the write is the business of the `Streaming` value, which outlives it.
        #[inline(always)]
        fn stream(self, lanes: &mut Self::Lanes, _: &Streaming) {
            if !$stream(self, self.0, lanes) {
                self.store(lanes);
            }
        }
    };
}
pub(super) use memory;
