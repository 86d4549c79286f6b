//! The tensors of a step, from what the caller says of them to what the core takes.

#![allow(unsafe_code, reason = "the memory of the caller")]

use crate::constants::{MomentumFormat, Storage, Type, either};
use crate::executor::{Executor, run};
use crate::memory::{
    Claim, Claims, Name, Plain, Span, may_overlap, no_memory, overlap_of_few, overlapping,
};
use crate::sized::{read, size_of_given};
use crate::status::{Problem, Status};
use crate::step::{Rule, Tensor, rootstep_int8_scales};
use half::{bf16, f16};
use rootstep::optimizer::{Draws, MomentumMut, Step, StorageMut, TensorStep};
use rootstep::{Element, Float};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::slice::from_mut;
use std::thread::LocalKey;

/// Parameters or a gradient, in one of the types that are computed in `C`.
#[derive(Debug, Clone, Copy)]
enum Numbers<C> {
    Full(Span<C>),
    Bf16(Span<bf16>),
    F16(Span<f16>),
}

#[derive(Debug, Clone, Copy)]
enum Momentum<C> {
    None,
    Full(Span<C>),
    Bf16(Span<u16>),
    Int8(Span<i8>, Span<f32>),
}

#[derive(Debug, Clone, Copy)]
enum Stored {
    Nearest,
    Stochastic(Draws),
    Split16(Span<i16>),
    Split8(Span<i8>),
    Master(Span<f32>),
}

/// A tensor of the caller's whose pointers could be what they should be.
#[derive(Debug, Clone, Copy)]
struct Checked<C> {
    rule: *const Rule,
    first: bool,
    bytes: usize,
    parameters: Numbers<C>,
    gradient: Numbers<C>,
    momentum: Momentum<C>,
    storage: Stored,
}

/// A type that steps are computed in.
trait Computed: Element<Compute = Self> + Float + Plain {
    /// The types of elements that are.
    const TYPES: &'static [Type];
    /// Of each thread.
    const LAST: &'static LocalKey<RefCell<Option<Last<Self>>>>;

    /// The step on parameters and a gradient that are in memory of their own.
    ///
    /// # Safety
    ///
    /// As for [`Checked::lend`].
    unsafe fn lend<'a>(
        tensor: &Checked<Self>,
        step: Step<Self>,
        momentum: MomentumMut<'a, Self>,
    ) -> TensorStep<'a, Self>;
}

impl Computed for f64 {
    const TYPES: &'static [Type] = &[Type::F64];
    const LAST: &'static LocalKey<RefCell<Option<Last<Self>>>> = &F64_LAST;

    #[inline(always)] // As all that hands on a step: it is long.
    unsafe fn lend<'a>(
        tensor: &Checked<Self>,
        step: Step<Self>,
        momentum: MomentumMut<'a, Self>,
    ) -> TensorStep<'a, Self> {
        let (Numbers::Full(parameters), Numbers::Full(gradient)) =
            (tensor.parameters, tensor.gradient)
        else {
            unreachable!("no other type is computed in f64");
        };
        // SAFETY: as of the caller.
        let (parameters, gradient) = (unsafe { parameters.write() }, unsafe { gradient.read() });
        TensorStep::new(step, parameters, gradient, momentum)
    }
}

impl Computed for f32 {
    const TYPES: &'static [Type] = &[Type::F32, Type::Bf16, Type::F16];
    const LAST: &'static LocalKey<RefCell<Option<Last<Self>>>> = &F32_LAST;

    #[inline(always)]
    unsafe fn lend<'a>(
        tensor: &Checked<Self>,
        step: Step<Self>,
        momentum: MomentumMut<'a, Self>,
    ) -> TensorStep<'a, Self> {
        let gradient = tensor.gradient;
        match tensor.parameters {
            // SAFETY: as of the caller.
            Numbers::Full(parameters) => unsafe { pair(step, parameters, gradient, momentum) },
            // SAFETY: as of the caller.
            Numbers::Bf16(parameters) => unsafe { pair(step, parameters, gradient, momentum) },
            // SAFETY: as of the caller.
            Numbers::F16(parameters) => unsafe { pair(step, parameters, gradient, momentum) },
        }
    }
}

/// # Safety
///
/// As for [`Checked::lend`].
#[inline(always)]
unsafe fn pair<T: Element<Compute = f32> + Plain>(
    step: Step<f32>,
    parameters: Span<T>,
    gradient: Numbers<f32>,
    momentum: MomentumMut<'_, f32>,
) -> TensorStep<'_, f32> {
    // SAFETY: as of the caller.
    let parameters = unsafe { parameters.write() };
    match gradient {
        // SAFETY: as of the caller.
        Numbers::Full(g) => TensorStep::new(step, parameters, unsafe { g.read() }, momentum),
        // SAFETY: as of the caller.
        Numbers::Bf16(g) => TensorStep::new(step, parameters, unsafe { g.read() }, momentum),
        // SAFETY: as of the caller.
        Numbers::F16(g) => TensorStep::new(step, parameters, unsafe { g.read() }, momentum),
    }
}

impl<C: Computed> Checked<C> {
    /// Checks tensor number `i`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    #[inline(always)] // The result is too long to be handed over.
    fn of(i: usize, tensor: &Tensor) -> Result<Self, Problem> {
        let name = |field| Name { field, tensor: Some(i) };
        let length = tensor.length;
        let start = tensor.parameters.cast_const();
        let names = (name("parameters"), name("parameters_type"));
        let parameters = Numbers::of(names, tensor.parameters_type, start, length)?;
        let names = (name("gradient"), name("gradient_type"));
        let gradient = Numbers::of(names, tensor.gradient_type, tensor.gradient, length)?;
        Ok(Self {
            rule: tensor.rule,
            first: either(name("first"), tensor.first)?,
            // No more than memory can be: the parameters have fewer.
            bytes: length.saturating_mul(size_of::<C>()),
            parameters,
            gradient,
            momentum: Momentum::of(name, tensor)?,
            storage: Stored::of(name, tensor)?,
        })
    }

    /// What tensor number `i` claims, in the order of [`FIELDS`]; some may be empty.
    #[inline(always)]
    fn claims(&self, i: usize) -> [Claim; FIELDS.len()] {
        let first = i * FIELDS.len();
        let numbers = |numbers: &Numbers<C>, number, written| match numbers {
            Numbers::Full(span) => span.claim(number, written),
            Numbers::Bf16(span) => span.claim(number, written),
            Numbers::F16(span) => span.claim(number, written),
        };
        let (momentum, scales) = match self.momentum {
            Momentum::None => (Claim::nothing(), Claim::nothing()),
            Momentum::Full(span) => (span.claim(first + 2, true), Claim::nothing()),
            Momentum::Bf16(span) => (span.claim(first + 2, true), Claim::nothing()),
            Momentum::Int8(codes, scales) => {
                (codes.claim(first + 2, true), scales.claim(first + 3, true))
            }
        };
        let storage = match self.storage {
            Stored::Nearest | Stored::Stochastic(_) => Claim::nothing(),
            Stored::Split16(span) => span.claim(first + 4, true),
            Stored::Split8(span) => span.claim(first + 4, true),
            Stored::Master(span) => span.claim(first + 4, true),
        };
        let parameters = numbers(&self.parameters, first, true);
        let gradient = numbers(&self.gradient, first + 1, false);
        [parameters, gradient, momentum, scales, storage]
    }

    /// Lends its memory to a step.
    ///
    /// # Safety
    ///
    /// The memory must be there, of the types that are said, and nobody else may write to it for all of `'a`, or read
    /// what is written. What it claims must have been seen to overlap with nothing else that is lent.
    #[inline(always)]
    unsafe fn lend<'a>(&self, step: Step<C>) -> TensorStep<'a, C> {
        let momentum = match self.momentum {
            Momentum::None => MomentumMut::None,
            // SAFETY: as of the caller.
            Momentum::Full(span) => MomentumMut::Full(unsafe { span.write() }),
            // SAFETY: as of the caller.
            Momentum::Bf16(span) => MomentumMut::Bf16(unsafe { span.write() }),
            Momentum::Int8(codes, scales) => {
                // SAFETY: as of the caller.
                let (codes, scales) = (unsafe { codes.write() }, unsafe { scales.write() });
                MomentumMut::Int8 { codes, scales }
            }
        };
        let storage = match self.storage {
            Stored::Nearest => StorageMut::Nearest,
            Stored::Stochastic(draws) => StorageMut::Stochastic(draws),
            // SAFETY: as of the caller.
            Stored::Split16(span) => StorageMut::Split16(unsafe { span.write() }),
            // SAFETY: as of the caller.
            Stored::Split8(span) => StorageMut::Split8(unsafe { span.write() }),
            // SAFETY: as of the caller.
            Stored::Master(span) => StorageMut::Master(unsafe { span.write() }),
        };
        // SAFETY: as of the caller.
        unsafe { C::lend(self, step, momentum) }.with_storage(storage)
    }
}

impl<C: Computed> Numbers<C> {
    #[inline(always)]
    fn of(
        (field, of_type): (Name, Name),
        given: i32,
        start: *const c_void,
        length: usize,
    ) -> Result<Self, Problem> {
        let kind = Type::of(of_type, given)?;
        if !C::TYPES.contains(&kind) {
            return Err(other_type::<C>(of_type, kind));
        }
        Ok(match kind {
            Type::F32 | Type::F64 => Self::Full(Span::new(field, start.cast(), length)?),
            Type::Bf16 => Self::Bf16(Span::new(field, start.cast(), length)?),
            Type::F16 => Self::F16(Span::new(field, start.cast(), length)?),
        })
    }
}

impl<C: Computed> Momentum<C> {
    #[inline(always)]
    fn of(name: impl Fn(&'static str) -> Name, tensor: &Tensor) -> Result<Self, Problem> {
        let (start, length) = (tensor.momentum.cast_const(), tensor.length);
        let field = name("momentum");
        Ok(match MomentumFormat::of(name("momentum_format"), tensor.momentum_format)? {
            MomentumFormat::None => Self::None,
            MomentumFormat::Full => Self::Full(Span::new(field, start.cast(), length)?),
            MomentumFormat::Bf16 => Self::Bf16(Span::new(field, start.cast(), length)?),
            MomentumFormat::Int8 => {
                let codes = Span::new(field, start.cast(), length)?;
                let (given, allowed) =
                    (tensor.momentum_scales_length, rootstep_int8_scales(length));
                if given != allowed {
                    return Err(wrong_scales(name("momentum_scales_length"), given, allowed));
                }
                let scales = Span::new(name("momentum_scales"), tensor.momentum_scales, given)?;
                Self::Int8(codes, scales)
            }
        })
    }
}

impl Stored {
    #[inline(always)]
    fn of(name: impl Fn(&'static str) -> Name, tensor: &Tensor) -> Result<Self, Problem> {
        let (start, length) = (tensor.storage_memory.cast_const(), tensor.length);
        let field = name("storage_memory");
        Ok(match Storage::of(name("storage"), tensor.storage)? {
            Storage::Nearest => Self::Nearest,
            Storage::Stochastic => {
                let draws = Draws::new(tensor.draw_seed, tensor.draw_step, tensor.draw_tensor);
                Self::Stochastic(draws.starting_at(tensor.draw_start))
            }
            Storage::Split16 => Self::Split16(Span::new(field, start.cast(), length)?),
            Storage::Split8 => Self::Split8(Span::new(field, start.cast(), length)?),
            Storage::Master => Self::Master(Span::new(field, start.cast(), length)?),
        })
    }
}

/// The memory of a tensor, by the fields that name it.
const FIELDS: [&str; 5] =
    ["parameters", "gradient", "momentum", "momentum_scales", "storage_memory"];

/// What is wrong if two claims overlap.
#[inline]
fn check_overlap(found: Option<(usize, usize)>) -> Result<(), Problem> {
    let name = |number: usize| Name {
        field: FIELDS[number % FIELDS.len()],
        tensor: Some(number / FIELDS.len()),
    };
    found.map_or(Ok(()), |(a, b)| Err(overlapping(name(a), name(b))))
}

#[cold]
fn other_type<C: Computed>(name: Name, given: Type) -> Problem {
    let (allowed, computed) = (C::TYPES, C::TYPE);
    let message = format!(
        "{name} is {given:?}; allowed: one of {allowed:?}, since the parameters of tensor 0 are computed in {computed}"
    );
    Problem::new(Status::Constant, message)
}

#[cold]
fn wrong_scales(name: Name, given: usize, allowed: usize) -> Problem {
    let message = format!("{name} is {given}; allowed: {allowed}, as `rootstep_int8_scales` says");
    Problem::new(Status::Length, message)
}

/// As `rootstep_step_all`.
///
/// # Errors
///
/// What is wrong with the tensors. Nothing has been written then.
///
/// # Safety
///
/// As for `rootstep_step_all`.
pub unsafe fn step_all(
    executor: *const Executor,
    tensors: *const Tensor,
    count: usize,
) -> Result<(), Problem> {
    if count == 0 {
        return Ok(());
    }
    // SAFETY: as of the caller.
    let tensors = unsafe { Tensors::new(tensors, count) }?;
    let mut own = MaybeUninit::uninit();
    // SAFETY: as of the caller; there is one.
    let of_first = unsafe { tensors.get(0, &mut own) }?.parameters_type;
    let name = Name { field: "parameters_type", tensor: Some(0) };
    match Type::of(name, of_first)? {
        // SAFETY: as of the caller.
        Type::F64 => unsafe { step_computed::<f64>(executor, tensors, &F64_LISTS) },
        // SAFETY: as of the caller.
        Type::F32 | Type::Bf16 | Type::F16 => unsafe {
            step_computed::<f32>(executor, tensors, &F32_LISTS)
        },
    }
}

/// The structs of the caller's, side by side, in the caller's version.
#[derive(Debug, Clone, Copy)]
struct Tensors {
    first: *const Tensor,
    count: usize,
    size: usize,
}

impl Tensors {
    /// # Safety
    ///
    /// As for `rootstep_step_all`; there is one.
    unsafe fn new(first: *const Tensor, count: usize) -> Result<Self, Problem> {
        // SAFETY: as of the caller.
        let size = unsafe { size_of_given(first) }?;
        if count > isize::MAX.unsigned_abs() / size {
            let message = format!("`count` is {count}; allowed: as many structs as there can be");
            return Err(Problem::new(Status::Length, message));
        }
        Ok(Self { first, count, size })
    }

    /// Tensor number `i`: the caller's own struct, or what this version knows of it, in `own`.
    ///
    /// # Safety
    ///
    /// As for `rootstep_step_all`; `i` is less than the count.
    #[inline]
    unsafe fn get(self, i: usize, own: &mut MaybeUninit<Tensor>) -> Result<&Tensor, Problem> {
        // SAFETY: within the structs.
        let tensor = unsafe { self.first.byte_add(i * self.size) };
        // SAFETY: as of the caller; aligned, as the first one and the size are.
        let tensor = unsafe { read(tensor, self.size, own) };
        let tensor = tensor.map_err(|problem| of_tensor(problem, i))?;
        if tensor.size == self.size {
            Ok(tensor)
        } else {
            Err(other_size(i, tensor.size, self.size))
        }
    }
}

#[cold]
fn other_size(i: usize, given: usize, size: usize) -> Problem {
    let message = format!("the size of tensor {i} is {given}; allowed: {size}, as of tensor 0");
    Problem::new(Status::Size, message)
}

#[cold]
fn of_tensor(problem: Problem, i: usize) -> Problem {
    problem.of_part(format_args!("tensor {i}"))
}

/// What a thread keeps for its next step, so that nothing is allocated for it.
struct Lists<C: 'static> {
    claims: Claims,
    /// Empty between the calls.
    steps: Vec<TensorStep<'static, C>>,
}

impl<C> Default for Lists<C> {
    fn default() -> Self {
        Self { claims: Claims::default(), steps: Vec::new() }
    }
}

type Kept<C> = LocalKey<Cell<Lists<C>>>;

thread_local! {
    static F32_LISTS: Cell<Lists<f32>> = Cell::default();
    static F64_LISTS: Cell<Lists<f64>> = Cell::default();
    static F32_LAST: RefCell<Option<Last<f32>>> = const { RefCell::new(None) };
    static F64_LAST: RefCell<Option<Last<f64>>> = const { RefCell::new(None) };
}

/// # Safety
///
/// As for `rootstep_step_all`; there is one.
unsafe fn step_computed<C: Computed>(
    executor: *const Executor,
    tensors: Tensors,
    kept: &'static Kept<C>,
) -> Result<(), Problem> {
    if tensors.count == 1 {
        // SAFETY: as of the caller.
        return unsafe { step_one::<C>(executor, tensors) };
    }
    // In a thread that ends there may be no place for them any more.
    let mut lists = kept.try_with(Cell::take).unwrap_or_default();
    // SAFETY: as of the caller.
    let result = unsafe { step_many(executor, tensors, &mut lists) };
    lists.steps.clear();
    let _ = kept.try_with(|cell| cell.set(lists));
    result
}

/// # Safety
///
/// As for `rootstep_step_all`; there is one.
unsafe fn step_one<C: Computed>(
    executor: *const Executor,
    tensors: Tensors,
) -> Result<(), Problem> {
    let mut own = MaybeUninit::uninit();
    // SAFETY: as of the caller.
    let tensor = Checked::<C>::of(0, unsafe { tensors.get(0, &mut own) }?)?;
    let claims = tensor.claims(0);
    if may_overlap(&claims) {
        check_overlap(overlap_of_few(&claims))?;
    }
    // SAFETY: as of the caller.
    let step = unsafe { new_step(tensor.rule, tensor.first) };
    let step = step.map_err(|problem| of_tensor(problem, 0))?;
    // SAFETY: as of the caller; its parts do not overlap.
    let mut lent = unsafe { tensor.lend(step) };
    let lent = from_mut(&mut lent);
    // SAFETY: as of the caller.
    let result = unsafe { run(executor, tensor.bytes, move |core| core.step_all(lent)) };
    result.map_err(|error| Problem::of(&error))
}

/// # Safety
///
/// As for `rootstep_step_all`. The steps are to be cleared before the call returns.
unsafe fn step_many<C: Computed>(
    executor: *const Executor,
    tensors: Tensors,
    lists: &mut Lists<C>,
) -> Result<(), Problem> {
    let Lists { claims, steps } = lists;
    let mut own = MaybeUninit::uninit();
    claims.clear();
    let mut bytes: usize = 0;
    for i in 0..tensors.count {
        // SAFETY: as of the caller.
        let tensor = Checked::<C>::of(i, unsafe { tensors.get(i, &mut own) }?)?;
        bytes = bytes.saturating_add(tensor.bytes);
        claims.extend(&tensor.claims(i))?;
    }
    check_overlap(claims.overlap()?)?;
    steps.try_reserve(tensors.count).map_err(|_| no_memory())?;
    let mut rules = Rules::default();
    for i in 0..tensors.count {
        // SAFETY: as of the caller.
        let tensor = Checked::<C>::of(i, unsafe { tensors.get(i, &mut own) }?)?;
        // SAFETY: as of the caller.
        let step = unsafe { rules.step(i, &tensor) }?;
        // SAFETY: as of the caller; nothing that is written overlaps with anything else of the call.
        steps.push(unsafe { tensor.lend(step) });
    }
    // SAFETY: as of the caller.
    let result = unsafe { run(executor, bytes, |core| core.step_all(steps)) };
    result.map_err(|error| Problem::of(&error))
}

/// The rules of a call: many tensors share one.
struct Rules<C>(Option<(*const Rule, bool, Step<C>)>);

impl<C> Default for Rules<C> {
    fn default() -> Self {
        Self(None)
    }
}

impl<C: Computed> Rules<C> {
    /// The numbers of the step on tensor number `i`.
    ///
    /// # Safety
    ///
    /// A rule that is not NULL must be one whose size is set.
    #[inline]
    unsafe fn step(&mut self, i: usize, tensor: &Checked<C>) -> Result<Step<C>, Problem> {
        if let Some((rule, first, step)) = self.0
            && (rule, first) == (tensor.rule, tensor.first)
        {
            return Ok(step);
        }
        // SAFETY: as of the caller.
        let step = unsafe { new_step(tensor.rule, tensor.first) };
        let step = step.map_err(|problem| of_tensor(problem, i))?;
        self.0 = Some((tensor.rule, tensor.first, step));
        Ok(step)
    }
}

/// The numbers of the last rule of a thread: tensors that are stepped in calls of their own share one as well, and
/// to make them takes as long as to step some hundred elements.
#[derive(Debug, Clone, Copy)]
struct Last<C> {
    rule: [u64; Rule::WORDS],
    first: bool,
    step: Step<C>,
}

/// # Safety
///
/// A rule that is not NULL must be one whose size is set.
#[inline(always)]
unsafe fn new_step<C: Computed>(rule: *const Rule, first: bool) -> Result<Step<C>, Problem> {
    // SAFETY: as of the caller.
    let size = unsafe { size_of_given(rule) }?;
    let mut own = MaybeUninit::uninit();
    // SAFETY: as of the caller.
    let rule = unsafe { read(rule, size, &mut own) }?;
    let words = rule.words();
    let known = |last: &Last<C>| last.rule == words && last.first == first;
    let known = |last: &Option<Last<C>>| last.as_ref().filter(|last| known(last)).map(|l| l.step);
    // In a thread that ends there may be no place for it any more.
    if let Ok(Some(step)) = C::LAST.try_with(|last| known(&last.borrow())) {
        return Ok(step);
    }
    let step = rule.step(first)?;
    let new = Last { rule: words, first, step };
    let _ = C::LAST.try_with(|last| *last.borrow_mut() = Some(new));
    Ok(step)
}
