//! How a model is stepped: with how much memory, and when a step counts.

use crate::error::Error;
use rootstep::Executor;

/// What happens within a step and a commit, in this order: what a kill leaves between two of them is in
/// [`design`](crate::design).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The step is possible, and noted as begun. No state has changed.
    Begun,
    /// A window was stepped: this one of so many.
    Stepped {
        /// Its number, from 0 on.
        window: usize,
        /// How many there are.
        windows: usize,
    },
    /// All windows were stepped.
    Done,
    /// All of the new state is on the disk, and does not count yet.
    Written,
    /// The commit is written, but perhaps not on the disk yet.
    Counted,
    /// It is on the disk.
    Committed,
}

/// How much memory a model may take, and when its steps count.
///
/// ```
/// let settings = rootstep_mapped::Settings::new(256 << 20).with_steps_per_commit(10);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub(crate) memory_bytes: usize,
    pub(crate) steps_per_commit: u64,
    pub(crate) executor: Executor,
    pub(crate) keeps_cache: bool,
    pub(crate) syncs: bool,
    pub(crate) on_phase: fn(Phase),
}

impl Settings {
    /// At most so many bytes of memory for the windows that are mapped and for what a step needs beside them; each step
    /// is committed.
    ///
    /// What the caller has, and what the system keeps of the files beyond that while nobody else needs the memory, is not
    /// counted. A model that fits, twice, stays mapped from step to step.
    #[must_use]
    pub fn new(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            steps_per_commit: 1,
            executor: Executor::default(),
            keeps_cache: false,
            syncs: true,
            on_phase: |_| (),
        }
    }

    /// Every so many steps are committed together: a kill loses the steps since then, which are taken again. The steps between
    /// commits change the files in place, and wait for no disk. 0 commits by
    /// [`Model::commit`](crate::Model::commit) alone.
    #[must_use]
    pub const fn with_steps_per_commit(self, steps: u64) -> Self {
        Self { steps_per_commit: steps, ..self }
    }

    /// Which level steps, and whether on several threads. The bits are the same.
    #[must_use]
    pub const fn with_executor(self, executor: Executor) -> Self {
        Self { executor, ..self }
    }

    /// Leaves to the system what it keeps of the files in memory that nobody else needs. Otherwise, a
    /// model that does not fit is dropped behind each window once the disk has it: it would push out what others have.
    #[must_use]
    pub const fn keeping_cache(self) -> Self {
        Self { keeps_cache: true, ..self }
    }

    /// Waits for no disk: a kill of the process loses as little as before, but after a power cut the files may be
    /// anything, and nothing detects it.
    #[must_use]
    pub const fn without_sync(self) -> Self {
        Self { syncs: false, ..self }
    }

    /// Calls `observe` after each phase, on the thread that steps: to show how far a step is, or to test what a kill leaves.
    #[must_use]
    pub const fn with_observer(self, observe: fn(Phase)) -> Self {
        Self { on_phase: observe, ..self }
    }

    /// The bytes of a window, which is mapped of both generations, and of a batch, of which there is a copy, and a gradient
    /// of at most twice its bytes. No chunk of the model has more than `largest`.
    pub(crate) fn windows(&self, largest: usize) -> Result<(usize, usize), Error> {
        let (given, least) = (self.memory_bytes, 5 * largest);
        if given < least {
            return Err(Error::setting(
                "the memory in bytes",
                given,
                format!("{least} or more for this model"),
            ));
        }
        let batch = (given / 16).clamp(largest, LARGEST_BATCH.max(largest));
        Ok(((given - 3 * batch) / 2, batch))
    }
}

/// As much as keeps a few threads at work.
const LARGEST_BATCH: usize = 16 << 20;
