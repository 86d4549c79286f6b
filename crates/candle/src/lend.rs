//! Variables lend their memory, all at the same time.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};
use std::cell::RefCell;

/// The memory of several variables, until it is dropped: then all have it back, also when a panic unwinds.
///
/// An operation in place is lent the storage of one tensor at a time, under the lock of the storage. So each one
/// leaves its storage behind and goes: locks that are held together could wait for each other.
pub(crate) struct Loan<'a> {
    doors: &'a [Tensor],
    storages: &'a mut Vec<CpuStorage>,
}

impl<'a> Loan<'a> {
    /// Takes the storages that are behind the doors. `storages` is emptied, and has its memory again afterwards.
    pub(crate) fn take(doors: &'a [Tensor], storages: &'a mut Vec<CpuStorage>) -> Result<Self> {
        storages.clear();
        storages.reserve(doors.len());
        let loan = Self { doors, storages };
        for door in doors {
            loan.storages.push(exchange(door, LENT)?);
        }
        Ok(loan)
    }

    pub(crate) fn storages(&mut self) -> impl Iterator<Item = &mut CpuStorage> {
        self.storages.iter_mut()
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        for (door, storage) in self.doors.iter().zip(self.storages.drain(..)) {
            // It was taken through the same door.
            drop(exchange(door, storage));
        }
    }
}

/// What is in a storage that is lent. No operation takes this type, so that another thread that uses a variable
/// meanwhile has an error, and none that trusts a shape finds less memory than that.
const LENT: CpuStorage = CpuStorage::F4(Vec::new());

/// Puts a storage behind a door, and gives back the one that was there.
fn exchange(door: &Tensor, storage: CpuStorage) -> Result<CpuStorage> {
    let exchange = Exchange(RefCell::new(storage));
    door.inplace_op1(&exchange)?;
    Ok(exchange.0.into_inner())
}

struct Exchange(RefCell<CpuStorage>);

impl InplaceOp1 for Exchange {
    fn name(&self) -> &'static str {
        "rootstep"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        std::mem::swap(storage, &mut self.0.borrow_mut());
        Ok(())
    }
}

/// A tensor without dimensions in the storage of `tensor`, of which it takes nothing to find out that its elements
/// do not overlap; none if there are no elements.
pub(crate) fn door(tensor: &Tensor) -> Result<Option<Tensor>> {
    if tensor.elem_count() == 0 {
        return Ok(None);
    }
    let first = tensor.detach().flatten_all()?.narrow(0, 0, 1)?;
    first.squeeze(0).map(Some)
}
