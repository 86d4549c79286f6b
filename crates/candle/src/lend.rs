//! Variables lend their memory, all at the same time.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};
use std::cell::RefCell;

/// The memory of several variables, until it is dropped: then all have it back, also when a panic unwinds.
///
/// An operation in place is lent the storage of one tensor at a time, under the lock of the storage. So each one
/// leaves its storage behind and goes: locks that are held together could wait for each other.
pub(crate) struct Loan<'a> {
    doors: &'a [&'a Tensor],
    storages: &'a mut Vec<CpuStorage>,
}

impl<'a> Loan<'a> {
    /// Takes the storages that are behind the doors. `storages` is emptied, and has its memory again afterwards.
    ///
    /// # Errors
    ///
    /// The place of a door whose storage is lent already, by a step on another thread.
    pub(crate) fn take(
        doors: &'a [&'a Tensor],
        storages: &'a mut Vec<CpuStorage>,
    ) -> std::result::Result<Self, Refused> {
        storages.clear();
        storages.reserve(doors.len());
        let loan = Self { doors, storages };
        for (place, door) in doors.iter().enumerate() {
            match exchange(door, LENT).map_err(Refused::Failed)? {
                // It is not to be given back: the other step may have done so before.
                CpuStorage::F4(_) => return Err(Refused::Lent(place)),
                storage => loan.storages.push(storage),
            }
        }
        Ok(loan)
    }

    pub(crate) fn storages(&mut self) -> impl Iterator<Item = &mut CpuStorage> {
        self.storages.iter_mut()
    }
}

/// Why there is no loan.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The storage of the tensor at this place is lent already.
    Lent(usize),
    Failed(candle_core::Error),
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn variables() -> [Var; 3] {
        let rows = Var::new(&[[1.0_f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let double = Var::new(&[5.0_f64], &Device::Cpu).unwrap();
        let single = Var::new(&[6.0_f32; 100], &Device::Cpu).unwrap();
        [rows, double, single]
    }

    fn unchanged(variables: &[Var; 3]) {
        assert_eq!(variables[0].to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(variables[1].to_vec1::<f64>().unwrap(), [5.0]);
        assert_eq!(variables[2].to_vec1::<f32>().unwrap(), [6.0; 100]);
    }

    #[test]
    fn what_was_lent_is_given_back() {
        let variables = variables();
        let doors = variables.each_ref().map(|variable| door(variable).unwrap().unwrap());
        let doors = doors.each_ref();
        let mut storages = Vec::new();
        let mut loan = Loan::take(&doors, &mut storages).unwrap();
        let CpuStorage::F32(values) = loan.storages().next().unwrap() else { panic!() };
        assert_eq!(values[..], [1.0, 2.0, 3.0, 4.0]);
        let address = values.as_ptr();
        drop(loan);
        unchanged(&variables);
        // Its own memory, not a copy.
        let (storage, _) = variables[0].storage_and_layout();
        let candle_core::Storage::Cpu(CpuStorage::F32(values)) = &*storage else { panic!() };
        assert_eq!(values.as_ptr(), address);
    }

    #[test]
    fn what_was_lent_is_given_back_after_a_panic() {
        let variables = variables();
        let doors = variables.each_ref().map(|variable| door(variable).unwrap().unwrap());
        let doors = doors.each_ref();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut storages = Vec::new();
            let _loan = Loan::take(&doors, &mut storages).unwrap();
            panic!("in the middle of a step");
        }));
        assert!(panicked.is_err());
        unchanged(&variables);
    }

    /// What another thread would see.
    #[test]
    fn a_variable_that_is_lent_has_errors_for_those_who_use_it() {
        let variables = variables();
        let doors = variables.each_ref().map(|variable| door(variable).unwrap().unwrap());
        let doors = doors.each_ref();
        let mut storages = Vec::new();
        let loan = Loan::take(&doors, &mut storages).unwrap();
        let [rows, _, single] = &variables;
        let other = Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(rows.matmul(&other).is_err());
        assert!(other.matmul(rows).is_err());
        assert!((rows.as_tensor() + &other).is_err());
        assert!(rows.exp().is_err());
        assert!(rows.sum_all().is_err());
        assert!(rows.t().unwrap().force_contiguous().is_err());
        assert!(single.to_vec1::<f32>().is_err());
        drop(loan);
        unchanged(&variables);
    }

    /// As two steps on two threads would, in either order of their ends.
    #[test]
    fn what_is_lent_is_not_lent_twice() {
        for first_ends_first in [true, false] {
            let variables = variables();
            let doors = variables.each_ref().map(|variable| door(variable).unwrap().unwrap());
            let doors = doors.each_ref();
            let (mut storages, mut others) = (Vec::new(), Vec::new());
            let first = Loan::take(&doors[1..2], &mut storages).unwrap();
            let second = Loan::take(&doors, &mut others);
            let Err(Refused::Lent(1)) = second else { panic!("it is lent twice") };
            if first_ends_first {
                drop(first);
                drop(second);
            } else {
                drop(second);
                drop(first);
            }
            unchanged(&variables);
        }
    }

    #[test]
    fn a_variable_without_elements_has_no_door() {
        let empty = Var::zeros((0, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(door(&empty).unwrap().is_none());
    }
}
