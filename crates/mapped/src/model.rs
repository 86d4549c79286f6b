//! A model in mapped files.

use crate::chunk::{self, Chunk};
use crate::error::{Cause, Error};
use crate::files::{Commit, Files, Generation};
use crate::layout::{Place, Tensor, places, runs};
use crate::settings::{Phase, Settings};
use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};
use rootstep::optimizer::Step;
use rootstep::{Element, Executor};
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A model in files of a folder: parameters, momentum, and what is stored beside them. Made by [`create`](Self::create),
/// and found again by [`open`](Self::open).
///
/// See the [crate](crate) for an example.
pub struct Model {
    tensors: Vec<Tensor>,
    places: Vec<Place>,
    settings: Settings,
    files: Files,
    committed: Commit,
    interrupted: bool,
    /// Whether the commit may not be on the disk.
    pending: bool,
    /// How many steps the other generation has, if it is whole, and more than the committed one.
    working: Option<u64>,
    windows: Vec<Range<usize>>,
    batch_bytes: usize,
    buffer: Buffer,
}

/// Where gradients come from.
enum Source<'a, G> {
    Slices(&'a [&'a [G]]),
    /// Written to the memory that is lent, which is as long as the chunk.
    Given(&'a mut Give<'a, G>, Vec<G>),
}

/// What fills the gradient of a chunk.
type Give<'a, G> = dyn FnMut(&Chunk<'_>, &mut [G]) -> Result<(), Cause> + 'a;

impl Model {
    /// Makes a model of these tensors in a folder, which is made if it is not there. `first` gives the first parameters of
    /// the tensor with a number, from an element on; they are rounded to its storage. Momentum begins with zeros.
    ///
    /// The disk has room for the whole model, twice, when this returns. Not before then there is a model in the folder: what
    /// a killed call leaves is made anew by the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is a model, [`Error::Setting`] if a tensor has a storage that its type does not
    /// allow or the memory is too little, [`Error::Given`] if `first` fails, [`Error::Locked`], and [`Error::Io`], say if the
    /// disk is full. What was made by then is removed.
    pub fn create(
        folder: impl AsRef<Path>,
        tensors: &[Tensor],
        settings: Settings,
        mut first: impl FnMut(usize, usize, &mut [f32]) -> Result<(), Cause>,
    ) -> Result<Self, Error> {
        for (i, tensor) in tensors.iter().enumerate() {
            tensor.check(i)?;
        }
        let places = places(tensors);
        let plan = Plan::new(&places, &settings)?;
        let mut buffer = Buffer::default();
        let (files, committed) = Files::create(folder.as_ref(), tensors, bytes(&places), |file| {
            let mut values = Vec::new();
            for place in &places {
                values.clear();
                values.resize(place.elements, 0.0);
                let (tensor, start) = (place.tensor, place.start);
                first(tensor, start, &mut values).map_err(|source| Error::Given {
                    tensor,
                    start,
                    source,
                })?;
                let memory = buffer.bytes(place.bytes);
                chunk::begin(&tensors[tensor], place, &values, memory);
                file.write(memory, place.offset)?;
            }
            Ok(())
        })?;
        Ok(Self::new(tensors.to_vec(), places, settings, plan, (files, committed, false)))
    }

    /// Opens the model in a folder, as its last committed step left it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is none or it may not be written, [`Error::Locked`], [`Error::Length`] if a file was cut,
    /// [`Error::Damaged`], and [`Error::Setting`] if the memory is too little. Nothing is changed.
    pub fn open(folder: impl AsRef<Path>, settings: Settings) -> Result<Self, Error> {
        let mut found = None;
        let (files, tensors, committed, interrupted) =
            Files::open(folder.as_ref(), |tensors| bytes(found.insert(places(tensors))))?;
        let places = found.unwrap_or_default();
        let plan = Plan::new(&places, &settings)?;
        Ok(Self::new(tensors, places, settings, plan, (files, committed, interrupted)))
    }

    fn new(
        tensors: Vec<Tensor>,
        places: Vec<Place>,
        settings: Settings,
        Plan { windows, batch_bytes }: Plan,
        (files, committed, interrupted): (Files, Commit, bool),
    ) -> Self {
        let (working, pending, buffer) = (None, false, Buffer::default());
        Self {
            tensors,
            places,
            settings,
            files,
            committed,
            interrupted,
            pending,
            working,
            windows,
            batch_bytes,
            buffer,
        }
    }

    /// The tensors.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// How many steps were taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.working.unwrap_or(self.committed.steps)
    }

    /// How many of them are committed: a kill leaves these.
    #[must_use]
    pub const fn committed_steps(&self) -> u64 {
        self.committed.steps
    }

    /// Whether steps behind the committed one had begun when the model was closed or killed, before it was opened. They are
    /// not in it, and are to be taken again.
    #[must_use]
    pub const fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Takes a step: the step with the number of a tensor on each tensor, by the gradient with its number.
    ///
    /// The bits are those of [`step_all`](Executor::step_all) in memory. Parameters that are rounded at random have the
    /// draws of the number of [`steps`](Self::steps) before this one, of their tensor's number, and of their place in it.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if there is another number of steps or gradients than tensors, or a gradient has another length,
    /// or a step has a momentum and its tensor has none; [`Error::Length`] if a file was cut. Nothing is written then.
    ///
    /// [`Error::Io`], say of the disk, may come in the midst of a step. Then, and whenever a step
    /// fails behind its first window, the model goes back to its committed step: [`steps`](Self::steps) says which one it is.
    pub fn step<G: Element<Compute = f32>>(
        &mut self,
        steps: &[Step<f32>],
        gradients: &[&[G]],
    ) -> Result<(), Error> {
        let (given, tensors) = (gradients.len(), self.tensors.len());
        if given != tensors {
            return Err(Error::setting(
                "the number of gradients",
                given,
                format!("{tensors}, one for each tensor"),
            ));
        }
        for (i, (gradient, tensor)) in gradients.iter().zip(&self.tensors).enumerate() {
            if gradient.len() != tensor.elements {
                let setting = format!("the length of the gradient of tensor {i}");
                return Err(Error::setting(
                    setting,
                    gradient.len(),
                    format!("{}, as the tensor", tensor.elements),
                ));
            }
        }
        self.take(steps, &mut Source::Slices(gradients))
    }

    /// As [`step`](Self::step), with gradients that need not be in memory all at once: `gradient` is asked for
    /// that of each chunk, in order, and told what the chunk was before the step. It writes all of the slice.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step), and [`Error::Given`] if `gradient` fails.
    pub fn step_with<G: Element<Compute = f32>>(
        &mut self,
        steps: &[Step<f32>],
        mut gradient: impl FnMut(&Chunk<'_>, &mut [G]) -> Result<(), Cause>,
    ) -> Result<(), Error> {
        self.take(steps, &mut Source::Given(&mut gradient, Vec::new()))
    }

    fn take<G: Element<Compute = f32>>(
        &mut self,
        steps: &[Step<f32>],
        gradients: &mut Source<'_, G>,
    ) -> Result<(), Error> {
        self.check(steps)?;
        self.files.check()?;
        if self.pending {
            self.count()?;
        }
        let taken = self.steps();
        self.files.mark(self.committed)?;
        self.reached(Phase::Begun);
        // Until all is done, the other generation is that of no step.
        let in_place = self.working.take().is_some();
        let windows = self.windows.len();
        for i in 0..windows {
            self.step_window(i, in_place, (steps, taken), gradients)?;
            self.reached(Phase::Stepped { window: i, windows });
        }
        self.working = Some(taken + 1);
        self.reached(Phase::Done);
        let every = self.settings.steps_per_commit;
        if every != 0 && taken + 1 - self.committed.steps >= every {
            self.commit()?;
        }
        Ok(())
    }

    fn check(&self, steps: &[Step<f32>]) -> Result<(), Error> {
        let (given, tensors) = (steps.len(), self.tensors.len());
        if given != tensors {
            return Err(Error::setting(
                "the number of steps",
                given,
                format!("{tensors}, one for each tensor"),
            ));
        }
        let without = |(step, tensor): (&Step<f32>, &Tensor)| {
            step.has_momentum() && tensor.momentum.is_none()
        };
        match steps.iter().zip(&self.tensors).position(without) {
            None => Ok(()),
            Some(i) => Err(Error::setting(
                format!("the momentum of tensor {i}"),
                "none",
                "one, since its step has a momentum",
            )),
        }
    }

    fn step_window<G: Element<Compute = f32>>(
        &mut self,
        i: usize,
        in_place: bool,
        step: (&[Step<f32>], u64),
        gradients: &mut Source<'_, G>,
    ) -> Result<(), Error> {
        let fits = self.windows.len() == 1;
        let range = self.range(&self.windows[i]);
        let next = self.windows.get(i + 1).map(|window| self.range(window));
        let before = i.checked_sub(1).map(|i| self.range(&self.windows[i]));
        let drops = !fits && !self.settings.keeps_cache;
        let batches = runs(&self.places, self.windows[i].clone(), self.batch_bytes);
        let [old, new] = both(&mut self.files.generations, self.committed.generation);
        let read = if in_place { &*new } else { &*old };
        if let Some(next) = &next {
            read.read_ahead(next);
        }
        let work = Work {
            tensors: &self.tensors,
            places: &self.places,
            executor: self.settings.executor,
            step,
        };
        if in_place {
            let bytes = new.map(&range, true)?.bytes_mut();
            for batch in batches {
                let bytes = &mut bytes[offsets(&range, &work.range(&batch))];
                work.in_place(batch, bytes, gradients)?;
            }
        } else {
            let bytes = old.map(&range, false)?.bytes();
            for batch in batches {
                let bytes = &bytes[offsets(&range, &work.range(&batch))];
                let memory = self.buffer.bytes(bytes.len());
                work.copied(batch, bytes, memory, new, gradients)?;
            }
        }
        if fits {
            return Ok(());
        }
        // What was read is not read again in this step; what was written goes to the disk beside the next window.
        new.unmap();
        old.unmap();
        if drops {
            if !in_place {
                old.drop_behind(&range)?;
            }
            if let Some(before) = &before {
                new.drop_behind(before)?;
            }
        }
        new.write_behind(&range)
    }

    /// Has the steps so far count: they are what is opened from now on, whatever happens.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk does not take it. Then the model goes back to its committed step; or, if the commit itself is
    /// what failed, no step is taken before the disk has it.
    pub fn commit(&mut self) -> Result<(), Error> {
        let Some(steps) = self.working.take() else { return Ok(()) };
        let Commit { sequence, generation, .. } = self.committed;
        let commit = Commit { sequence: sequence + 1, steps, generation: 1 - generation };
        if self.settings.syncs {
            self.files.generations[commit.generation].sync()?;
        }
        self.reached(Phase::Written);
        // From here on it may be what is opened next.
        (self.committed, self.interrupted) = (commit, false);
        self.count()
    }

    /// Has the commit count. If that fails, the disk may have this one or the one before: no step is taken, which
    /// would overwrite the latter, until it is there.
    fn count(&mut self) -> Result<(), Error> {
        self.pending = true;
        self.files.write(self.committed)?;
        self.reached(Phase::Counted);
        if self.settings.syncs {
            self.files.sync_commits()?;
        }
        self.pending = false;
        self.reached(Phase::Committed);
        Ok(())
    }

    /// Goes back to the committed step: steps since then are lost.
    pub fn roll_back(&mut self) {
        self.working = None;
    }

    /// Shows each chunk as it is now, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read, and the error that `show` gives, as [`Error::Given`].
    pub fn for_each_chunk(
        &mut self,
        mut show: impl FnMut(&Chunk<'_>) -> Result<(), Cause>,
    ) -> Result<(), Error> {
        self.files.check()?;
        let generation = &self.files.generations[self.current()];
        for place in &self.places {
            let memory = self.buffer.bytes(place.bytes);
            generation.named.read(memory, place.offset)?;
            let (tensor, start) = (place.tensor, place.start);
            show(&Chunk::new(&self.tensors[tensor], place, memory))
                .map_err(|source| Error::Given { tensor, start, source })?;
        }
        Ok(())
    }

    /// Reads the parameters of a tensor from an element on, as the numbers that they are.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if there is no such tensor or it has not as many elements, [`Error::Io`] if the file cannot be read.
    pub fn read(&mut self, tensor: usize, start: usize, out: &mut [f32]) -> Result<(), Error> {
        let Some(of_tensor) = self.tensors.get(tensor) else {
            return Err(Error::setting(
                "the number of the tensor",
                tensor,
                format!("below {}", self.tensors.len()),
            ));
        };
        let end = start.checked_add(out.len()).filter(|end| *end <= of_tensor.elements);
        let Some(end) = end else {
            let range = format!("{start} and {} more", out.len());
            return Err(Error::setting(
                "the range of elements",
                range,
                format!("one in 0..{}", of_tensor.elements),
            ));
        };
        self.files.check()?;
        let generation = &self.files.generations[self.current()];
        let first = self.places.partition_point(|place| {
            (place.tensor, place.start + place.elements) <= (tensor, start)
        });
        for place in &self.places[first..] {
            if place.tensor != tensor || place.start >= end {
                break;
            }
            let memory = self.buffer.bytes(place.bytes);
            generation.named.read(memory, place.offset)?;
            let chunk = Chunk::new(of_tensor, place, memory);
            for k in start.max(place.start)..end.min(place.start + place.elements) {
                out[k - start] = chunk.parameter(k - place.start);
            }
        }
        Ok(())
    }

    /// Which generation is the model now.
    const fn current(&self) -> usize {
        match self.working {
            Some(_) => 1 - self.committed.generation,
            None => self.committed.generation,
        }
    }

    /// The bytes of places in a row.
    fn range(&self, places: &Range<usize>) -> Range<u64> {
        range(&self.places[places.clone()])
    }

    fn reached(&self, phase: Phase) {
        (self.settings.on_phase)(phase);
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensors, settings, committed, interrupted, working, windows, .. } = self;
        let mut text = f.debug_struct("Model");
        text.field("tensors", &tensors.len()).field("settings", settings);
        text.field("committed", committed).field("interrupted", interrupted);
        text.field("working", working).field("windows", &windows.len()).finish_non_exhaustive()
    }
}

/// How a model is gone through.
struct Plan {
    windows: Vec<Range<usize>>,
    batch_bytes: usize,
}

impl Plan {
    fn new(places: &[Place], settings: &Settings) -> Result<Self, Error> {
        let largest = places.iter().map(|place| place.bytes).max().unwrap_or(0);
        let (window_bytes, batch_bytes) = settings.windows(largest)?;
        Ok(Self { windows: runs(places, 0..places.len(), window_bytes), batch_bytes })
    }
}

/// The bytes of a model.
fn bytes(places: &[Place]) -> u64 {
    range(places).end
}

fn range(places: &[Place]) -> Range<u64> {
    match places {
        [] => 0..0,
        [first, .., last] => first.offset..last.range().end,
        [only] => only.range(),
    }
}

/// The committed generation, and the other one.
fn both(generations: &mut [Generation; 2], committed: usize) -> [&mut Generation; 2] {
    let [a, b] = generations;
    if committed == 0 { [a, b] } else { [b, a] }
}

fn offsets(outer: &Range<u64>, inner: &Range<u64>) -> Range<usize> {
    let offset = |at: u64| usize::try_from(at - outer.start).expect("a window is in memory");
    offset(inner.start)..offset(inner.end)
}

/// What a step needs of the model.
struct Work<'a> {
    tensors: &'a [Tensor],
    places: &'a [Place],
    executor: Executor,
    step: (&'a [Step<f32>], u64),
}

impl Work<'_> {
    fn range(&self, batch: &Range<usize>) -> Range<u64> {
        range(&self.places[batch.clone()])
    }

    /// The gradient of each chunk of a batch, whose bytes are still as before the step.
    fn gradients<'a, G: Element<Compute = f32>>(
        &self,
        batch: &[Place],
        bytes: &[u8],
        source: &'a mut Source<'_, G>,
    ) -> Result<Vec<&'a [G]>, Error> {
        let (give, memory) = match source {
            Source::Slices(slices) => {
                let part = |place: &Place| &slices[place.tensor][place.start..][..place.elements];
                return Ok(batch.iter().map(part).collect());
            }
            Source::Given(give, memory) => (give, memory),
        };
        memory.resize(batch.iter().map(|place| place.elements).sum(), G::default());
        let (whole, mut rest) = (range(batch), &mut memory[..]);
        let mut parts: Vec<&[G]> = Vec::with_capacity(batch.len());
        for place in batch {
            let (part, others) = rest.split_at_mut(place.elements);
            rest = others;
            let (tensor, start) = (place.tensor, place.start);
            let chunk =
                Chunk::new(&self.tensors[tensor], place, &bytes[offsets(&whole, &place.range())]);
            give(&chunk, part).map_err(|source| Error::Given { tensor, start, source })?;
            parts.push(part);
        }
        Ok(parts)
    }

    /// Steps a batch where it is.
    fn in_place<G: Element<Compute = f32>>(
        &self,
        batch: Range<usize>,
        bytes: &mut [u8],
        source: &mut Source<'_, G>,
    ) -> Result<(), Error> {
        let batch = &self.places[batch];
        let gradients = self.gradients(batch, bytes, source)?;
        let chunks = split(batch, bytes).zip(gradients);
        let mut tensors: Vec<_> =
            chunks.map(|((place, bytes), gradient)| self.step_of(place, bytes, gradient)).collect();
        self.executor.step_all(&mut tensors).map_err(Error::Step)
    }

    /// Steps a copy of a batch in `memory`, and writes it to the other generation: each thread a chunk at a time, which
    /// stays in its caches.
    fn copied<G: Element<Compute = f32>>(
        &self,
        batch: Range<usize>,
        bytes: &[u8],
        memory: &mut [u8],
        new: &Generation,
        source: &mut Source<'_, G>,
    ) -> Result<(), Error> {
        let batch = &self.places[batch];
        let (whole, gradients) = (range(batch), self.gradients(batch, bytes, source)?);
        let chunks: Vec<_> = split(batch, memory).zip(gradients).collect();
        let executor = self.executor.serial();
        let take = |((place, memory), gradient): ((&Place, &mut [u8]), &[G])| {
            memory.copy_from_slice(&bytes[offsets(&whole, &place.range())]);
            executor.step_all(&mut [self.step_of(place, memory, gradient)]).map_err(Error::Step)?;
            let written = new.named.file.write_all_at(memory, place.offset);
            written.map_err(Error::io("write", &new.named.path))
        };
        if self.executor.is_parallel() {
            return chunks.into_par_iter().with_max_len(1).try_for_each(take);
        }
        chunks.into_iter().try_for_each(take)
    }

    fn step_of<'a, G: Element<Compute = f32>>(
        &self,
        place: &Place,
        bytes: &'a mut [u8],
        gradient: &'a [G],
    ) -> rootstep::optimizer::TensorStep<'a, f32> {
        let (steps, taken) = self.step;
        let (tensor, step) = (&self.tensors[place.tensor], steps[place.tensor]);
        chunk::step(tensor, place, (step, taken), bytes, gradient)
    }
}

/// The chunks of a batch with their bytes.
fn split<'a, 'b>(
    batch: &'a [Place],
    mut bytes: &'b mut [u8],
) -> impl Iterator<Item = (&'a Place, &'b mut [u8])> {
    batch.iter().map(move |place| {
        let (front, rest) = std::mem::take(&mut bytes).split_at_mut(place.bytes);
        bytes = rest;
        (place, front)
    })
}

/// Memory that begins at a cache line.
#[derive(Debug, Default)]
struct Buffer(Vec<u8>);

const LINE: usize = 64;

impl Buffer {
    /// So many bytes, whatever is in them.
    fn bytes(&mut self, bytes: usize) -> &mut [u8] {
        if self.0.len() < bytes + LINE {
            self.0 = vec![0; bytes + LINE];
        }
        let start = self.0.as_ptr().align_offset(LINE);
        &mut self.0[start..start + bytes]
    }
}
