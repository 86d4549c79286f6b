//! Arrays in every layout have the bits of slices, and what is wrong with them is refused.

mod layout;

use half::{bf16, f16};
use layout::{Laid, Layout, SHAPES, values};
use ndarray::{Array1, Array2, ArrayD, IxDyn};
use rootstep::optimizer::{
    Draws, INT8_BLOCK, MomentumMut, Optimizer, Power, Rule, Step, StorageMut, TensorStep,
};
use rootstep::{Element, Executor, Float, Level, reference};
use rootstep_ndarray::{ArrayExecutor as _, Error, Momentum, Storage, Tensor};

fn executors() -> Vec<Executor> {
    let of_level = |&level| [Executor::new(level), Executor::new(level).serial()];
    Level::available().iter().flat_map(of_level).collect()
}

fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    values.iter().map(|value| Float::to_bits(value.widen())).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    Nothing,
    Full,
    Bf16,
    Int8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    Nearest,
    Stochastic,
    Split16,
    Split8,
    Master,
}

/// All that a tensor has, in row-major order.
#[derive(Clone)]
struct Model<T: Element> {
    parameters: Vec<T>,
    momentum: Vec<T::Compute>,
    bf16: Vec<u16>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    split16: Vec<i16>,
    split8: Vec<i8>,
    master: Vec<f32>,
}

impl<T: Element> Model<T> {
    fn new(length: usize) -> Self {
        let parameters = values::<T>(length, 1);
        Self {
            momentum: vec![T::Compute::from_f64(7.0); length],
            bf16: vec![0x4040; length],
            codes: vec![3; length],
            scales: vec![1.0; length.div_ceil(INT8_BLOCK)],
            split16: vec![0; length],
            split8: vec![0; length],
            master: parameters.iter().map(|x| x.widen().to_f32()).collect(),
            parameters,
        }
    }

    fn bits(&self) -> Vec<Vec<u64>> {
        let of = |values: Vec<i64>| values.into_iter().map(i64::cast_unsigned).collect();
        vec![
            bits(&self.parameters),
            bits(&self.momentum),
            of(self.bf16.iter().map(|&x| x.into()).collect()),
            of(self.codes.iter().map(|&x| x.into()).collect()),
            bits(&self.scales),
            of(self.split16.iter().map(|&x| x.into()).collect()),
            of(self.split8.iter().map(|&x| x.into()).collect()),
            bits(&self.master),
        ]
    }

    /// The bare step.
    fn step_slices<G: Element<Compute = T::Compute>>(
        &mut self,
        step: Step<T::Compute>,
        gradient: &[G],
        (kept, stored, draws): (Kept, Stored, Draws),
    ) {
        let momentum = match kept {
            Kept::Nothing => MomentumMut::None,
            Kept::Full => MomentumMut::Full(&mut self.momentum),
            Kept::Bf16 => MomentumMut::Bf16(&mut self.bf16),
            Kept::Int8 => MomentumMut::Int8 { codes: &mut self.codes, scales: &mut self.scales },
        };
        let storage = match stored {
            Stored::Nearest => StorageMut::Nearest,
            Stored::Stochastic => StorageMut::Stochastic(draws),
            Stored::Split16 => StorageMut::Split16(&mut self.split16),
            Stored::Split8 => StorageMut::Split8(&mut self.split8),
            Stored::Master => StorageMut::Master(&mut self.master),
        };
        let tensor = TensorStep::new(step, &mut self.parameters, gradient, momentum);
        Executor::default().step_all(&mut [tensor.with_storage(storage)]).unwrap();
    }

    /// The step on arrays in these layouts: of the parameters, the gradient, and the others.
    fn step_arrays<G: Element<Compute = T::Compute>>(
        &mut self,
        executor: Executor,
        (shape, layouts): (&[usize], [Layout; 3]),
        (step, gradient): (Step<T::Compute>, &[G]),
        (kept, stored, draws): (Kept, Stored, Draws),
    ) {
        let [own, of_gradient, other] = layouts;
        let mut parameters = Laid::new(shape, own, &self.parameters);
        let gradient = Laid::new(shape, of_gradient, gradient);
        let mut momentum = Laid::new(shape, other, &self.momentum);
        let mut bf16 = Laid::new(shape, other, &self.bf16);
        let mut codes = Laid::new(shape, other, &self.codes);
        let mut split16 = Laid::new(shape, other, &self.split16);
        let mut split8 = Laid::new(shape, other, &self.split8);
        let mut master = Laid::new(shape, other, &self.master);
        {
            let (mut parameters, gradient) = (parameters.view_mut(), gradient.view());
            let (mut momentum, mut bf16, mut codes) =
                (momentum.view_mut(), bf16.view_mut(), codes.view_mut());
            let (mut split16, mut split8, mut master) =
                (split16.view_mut(), split8.view_mut(), master.view_mut());
            let momentum = match kept {
                Kept::Nothing => Momentum::None,
                Kept::Full => Momentum::full(&mut momentum),
                Kept::Bf16 => Momentum::bf16(&mut bf16),
                Kept::Int8 => Momentum::int8(&mut codes, &mut self.scales),
            };
            let storage = match stored {
                Stored::Nearest => Storage::Nearest,
                Stored::Stochastic => Storage::stochastic(draws),
                Stored::Split16 => Storage::split16(&mut split16),
                Stored::Split8 => Storage::split8(&mut split8),
                Stored::Master => Storage::master(&mut master),
            };
            let tensor = Tensor::new(step, &mut parameters, &gradient, momentum);
            executor.step_arrays(&mut [tensor.with_storage(storage)]).unwrap();
        }
        self.parameters = parameters.into_values();
        self.momentum = momentum.into_values();
        self.bf16 = bf16.into_values();
        self.codes = codes.into_values();
        self.split16 = split16.into_values();
        self.split8 = split8.into_values();
        self.master = master.into_values();
    }
}

/// Two steps in any mixture of layouts have the bits of slices.
fn steps_agree<T: Element, G: Element<Compute = T::Compute>>(storages: &[Stored]) {
    let executors = executors();
    let mut case = 0;
    for shape in SHAPES {
        let length = shape.iter().product();
        let gradients = [values::<G>(length, 2), values::<G>(length, 3)];
        for own in Layout::ALL {
            for of_gradient in Layout::ALL {
                case += 1;
                let other = Layout::ALL[case % Layout::ALL.len()];
                // Half of the cases have one layout for what is written.
                let layouts = [own, of_gradient, if case % 2 == 0 { own } else { other }];
                let kept = [Kept::Full, Kept::Nothing, Kept::Bf16, Kept::Int8][case % 4];
                let stored = storages[case / 4 % storages.len()];
                let mut rule = Rule::powerstep(0.1).with_power(
                    [Power::Half, Power::Quarter, Power::One, Power::Zero][case / 3 % 4],
                );
                if kept == Kept::Nothing {
                    rule = rule.with_momentum(0.0);
                }
                for &executor in &executors {
                    let (mut slices, mut arrays) =
                        (Model::<T>::new(length), Model::<T>::new(length));
                    for (t, gradient) in gradients.iter().enumerate() {
                        let step = if t == 0 { Step::first(&rule) } else { Step::later(&rule) };
                        let (step, how) =
                            (step.unwrap(), (kept, stored, Draws::new(5, t as u64, 1)));
                        slices.step_slices(step, gradient, how);
                        arrays.step_arrays(executor, (shape, layouts), (step, gradient), how);
                        let context =
                            format!("{shape:?} {layouts:?} {how:?} {executor:?} step {t}");
                        assert_eq!(slices.bits(), arrays.bits(), "{context}");
                    }
                }
            }
        }
    }
    assert_eq!(case, SHAPES.len() * Layout::ALL.len().pow(2));
}

#[test]
fn steps_have_the_bits_of_slices() {
    steps_agree::<f32, f32>(&[Stored::Nearest]);
    steps_agree::<f64, f64>(&[Stored::Nearest]);
}

#[test]
fn steps_of_halves_have_the_bits_of_slices() {
    use Stored::{Master, Nearest, Split8, Split16, Stochastic};
    steps_agree::<bf16, f32>(&[Stochastic, Split16, Nearest, Split8, Master]);
    steps_agree::<f16, f16>(&[Stochastic, Nearest, Master]);
}

#[test]
fn a_step_has_the_bits_of_the_specification() {
    let shape = [5, 37];
    let (x, g) = (values::<f32>(185, 4), values::<f32>(185, 5));
    let step = Step::first(&Rule::powerstep(0.25)).unwrap();
    let specified: Vec<f32> =
        x.iter().zip(&g).map(|(&x, &g)| reference::step(&step, x, 0.0, g).0).collect();
    for layout in Layout::ALL {
        for executor in executors() {
            let mut parameters = Laid::new(&shape, layout, &x);
            let gradient = Laid::new(&shape, Layout::RowMajor, &g);
            let mut momentum = ArrayD::zeros(IxDyn(&shape));
            let given = (Momentum::full(&mut momentum), gradient.view());
            executor.step_array(&step, &mut parameters.view_mut(), &given.1, given.0).unwrap();
            assert_eq!(bits(&parameters.into_values()), bits(&specified), "{layout:?}");
            assert_eq!(bits(momentum.as_slice().unwrap()), bits(&g), "{layout:?}");
        }
    }
}

fn operations_agree<T: Element>() {
    let rate = T::Compute::from_f64(0.3);
    for (shape, executor) in SHAPES.iter().zip(executors().into_iter().cycle()) {
        let length = shape.iter().product();
        let (x, g) = (values::<T>(length, 6), values::<T>(length, 7));
        let [mut root, mut sum, mut down] = [vec![T::default(); length], x.clone(), x.clone()];
        rootstep::signed_sqrt(&g, &mut root);
        rootstep::axpy(rate, &g, &mut sum);
        rootstep::descend(&mut down, &g, rate);
        for own in Layout::ALL {
            for of_gradient in Layout::ALL {
                let gradient = Laid::new(shape, of_gradient, &g);
                let g = gradient.view();
                let mut arrays = [&x; 3].map(|x| Laid::new(shape, own, x));
                let [roots, sums, stepped] = &mut arrays;
                executor.signed_sqrt_array(&g, &mut roots.view_mut()).unwrap();
                executor.axpy_array(rate, &g, &mut sums.view_mut()).unwrap();
                executor.descend_array(&mut stepped.view_mut(), &g, rate).unwrap();
                for (array, slice) in arrays.into_iter().zip([&root, &sum, &down]) {
                    let context = format!("{shape:?} {own:?} {of_gradient:?}");
                    assert_eq!(bits(&array.into_values()), bits(slice), "{context}");
                }
            }
        }
    }
}

#[test]
fn operations_have_the_bits_of_slices() {
    operations_agree::<f32>();
    operations_agree::<f64>();
    operations_agree::<bf16>();
    operations_agree::<f16>();
}

#[test]
fn an_inspection_goes_by_row_major_order() {
    for shape in SHAPES {
        let mut g = values::<f32>(shape.iter().product(), 8);
        for poisoned in [false, true] {
            if let (true, Some(element)) = (poisoned, g.get_mut(5)) {
                *element = f32::INFINITY;
            }
            let expected = rootstep::inspect(&[&g, &g]);
            for (i, layout) in Layout::ALL.into_iter().enumerate() {
                let (a, b) =
                    (Laid::new(shape, layout, &g), Laid::new(shape, Layout::ALL[i / 2], &g));
                for executor in executors() {
                    let found = executor.inspect_arrays(&[a.view(), b.view()]);
                    assert_eq!(found, expected, "{shape:?} {layout:?}");
                    assert_eq!(found.norm.to_bits(), expected.norm.to_bits());
                }
            }
        }
    }
}

/// A gradient that the caller has broadcast to the shape, and strides of nothing but 0.
#[test]
fn a_broadcast_view_is_a_gradient() {
    let mut w = Array2::<f32>::ones((3, 200));
    let row = Array1::from(values::<f32>(200, 9));
    rootstep_ndarray::descend(&mut w, &row.broadcast((3, 200)).unwrap(), 0.5).unwrap();
    let mut expected = vec![1.0; 200];
    rootstep::descend(&mut expected, row.as_slice().unwrap(), 0.5);
    for lane in w.rows() {
        assert_eq!(bits(lane.as_slice().unwrap()), bits(&expected));
    }
    let scalar = ndarray::arr0(4.0_f32);
    rootstep_ndarray::axpy(1.0, &scalar.broadcast((3, 200)).unwrap(), &mut w).unwrap();
    assert_eq!(w[[2, 7]].to_bits(), (expected[7] + 4.0).to_bits());
}

#[test]
fn shapes_that_differ_are_refused_by_both() {
    let mut w = Array2::<f32>::ones((3, 4));
    let row = Array2::<f32>::ones((1, 4));
    let transposed = Array2::<f32>::ones((4, 3));
    let end = "; allowed: the same shape, since nothing is broadcast";
    let error = rootstep_ndarray::descend(&mut w, &row, 0.5).unwrap_err();
    let message = "`gradient` has the shape [1, 4] and `parameters` has [3, 4]";
    assert_eq!(error.to_string(), format!("{message}{end}"));
    let error = rootstep_ndarray::signed_sqrt(&transposed, &mut w).unwrap_err();
    let message = "`gradient` has the shape [4, 3] and `out` has [3, 4]";
    assert_eq!(error.to_string(), format!("{message}{end}"));
    let error = rootstep_ndarray::axpy(0.5, &row.row(0), &mut w).unwrap_err();
    let message = "`x` has the shape [4] and `y` has [3, 4]";
    assert_eq!(error.to_string(), format!("{message}{end}"));
    assert_eq!(w, Array2::<f32>::ones((3, 4)));
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Gradient,
    Momentum,
    NoMomentum,
    Codes,
    Scales,
    MasterShape,
    Master,
}

/// What is said if the second of three tensors has this fault. Nothing is written, whether the tensors have gaps or not.
fn refused(fault: Fault, gaps: bool) -> String {
    let step = Step::first(&Rule::powerstep(0.5)).unwrap();
    let layout = if gaps { Layout::GapBehindRows } else { Layout::RowMajor };
    let ones = vec![1.0_f32; 900];
    let laid = || Laid::new(&[3, 300], layout, &ones);
    let mut arrays = [(); 6].map(|()| laid());
    let (mut small, mut codes) = (Array2::<f32>::ones((1, 300)), Array2::<i8>::zeros((3, 300)));
    let (mut few_codes, mut scales) = (Array2::<i8>::zeros((300, 3)), vec![1.0; 8]);
    let gradient = laid();
    {
        let [mut first, mut second, mut third, mut of_first, mut own, mut of_third] =
            arrays.each_mut().map(Laid::view_mut);
        let (gradient, row) = (gradient.view(), small.clone().into_dyn());
        let of_second = if matches!(fault, Fault::Gradient) { row.view() } else { gradient.view() };
        let mut master = Array2::<f32>::ones((3, 300));
        let momentum = match fault {
            Fault::Momentum => Momentum::full(&mut small),
            Fault::NoMomentum => Momentum::None,
            Fault::Codes => Momentum::int8(&mut few_codes, &mut scales),
            Fault::Scales => Momentum::int8(&mut codes, &mut scales[..7]),
            _ => Momentum::full(&mut own),
        };
        let mut few = Array2::<f32>::ones((3, 299));
        let storage = match fault {
            Fault::MasterShape => Storage::master(&mut few),
            Fault::Master => Storage::master(&mut master),
            _ => Storage::Nearest,
        };
        let error = rootstep_ndarray::step_all(&mut [
            Tensor::new(step, &mut first, &gradient, Momentum::full(&mut of_first)),
            Tensor::new(step, &mut second, &of_second, momentum).with_storage(storage),
            Tensor::new(step, &mut third, &gradient, Momentum::full(&mut of_third)),
        ]);
        let error = error.unwrap_err();
        assert_eq!(
            matches!(error, Error::Step(_)),
            matches!(fault, Fault::NoMomentum | Fault::Master)
        );
        assert!(scales.iter().all(|&scale| scale == 1.0));
        for array in [first, second, third, of_first, own, of_third] {
            assert!(array.iter().all(|&element| element == 1.0), "{fault:?}, gaps: {gaps}");
        }
        error.to_string()
    }
}

#[test]
fn nothing_is_written_on_an_error() {
    let end = "; allowed: the same shape, since nothing is broadcast";
    let shape = |array: &str, shape: &str| {
        format!("`{array}` of tensor 1 has the shape {shape} and `parameters` has [3, 300]{end}")
    };
    for (fault, message) in [
        (Fault::Gradient, shape("gradient", "[1, 300]")),
        (Fault::Momentum, shape("momentum", "[1, 300]")),
        (Fault::Codes, shape("momentum", "[300, 3]")),
        (Fault::MasterShape, shape("storage", "[3, 299]")),
        (
            Fault::NoMomentum,
            "the momentum of tensor 1 does not fit: there is none; allowed: one, since its step has a momentum"
                .to_owned(),
        ),
        (
            Fault::Scales,
            "the momentum of tensor 1 has 7 scales; allowed: 8, one for each block of 128".to_owned(),
        ),
        (
            Fault::Master,
            "the storage of tensor 1 does not fit: it is one for other parameters; allowed: those in bf16 or f16"
                .to_owned(),
        ),
    ] {
        for gaps in [false, true] {
            assert_eq!(refused(fault, gaps), message, "gaps: {gaps}");
        }
    }
}

/// A step without momentum does not look at one.
#[test]
fn a_momentum_that_is_not_used_may_be_anything() {
    let step = Step::first(&Rule::sgd(1.0)).unwrap();
    let (mut w, mut momentum) = (Array2::<f32>::ones((3, 2)), Array1::<f32>::ones(1));
    rootstep_ndarray::step(
        &step,
        &mut w,
        &Array2::<f32>::ones((3, 2)),
        Momentum::full(&mut momentum),
    )
    .unwrap();
    assert_eq!((w, momentum), (Array2::<f32>::zeros((3, 2)), Array1::<f32>::ones(1)));
}

/// More tensors than are handed on without an allocation, with and without gaps.
#[test]
fn many_tensors_are_stepped_as_one_after_the_other() {
    let step = Step::first(&Rule::powerstep(0.5)).unwrap();
    let lengths: Vec<usize> = (0..40).map(|i| 1 + i * i).collect();
    let gradients: Vec<Vec<f32>> = lengths.iter().map(|&n| values(n, n as u64)).collect();
    let layouts = Layout::ALL.iter().cycle();
    let laid = |layout: Layout, values: &[f32]| Laid::new(&[values.len()], layout, values);
    let mut arrays: Vec<_> =
        gradients.iter().zip(layouts.clone()).map(|(g, &l)| laid(l, g)).collect();
    let mut momenta: Vec<_> = gradients.iter().zip(layouts).map(|(g, &l)| laid(l, g)).collect();
    let views: Vec<_> = gradients.iter().map(|g| laid(Layout::RowMajor, g)).collect();
    let views: Vec<_> = views.iter().map(Laid::view).collect();
    let mut views_mut: Vec<_> =
        arrays.iter_mut().zip(&mut momenta).map(|(a, m)| (a.view_mut(), m.view_mut())).collect();
    let mut tensors: Vec<_> = views_mut
        .iter_mut()
        .zip(&views)
        .map(|((w, m), g)| Tensor::new(step, w, g, Momentum::full(m)))
        .collect();
    rootstep_ndarray::step_all(&mut tensors).unwrap();
    drop(tensors);
    drop(views_mut);
    for (array, gradient) in arrays.into_iter().zip(&gradients) {
        let mut expected = gradient.clone();
        rootstep::descend(&mut expected, gradient, 0.5);
        assert_eq!(bits(&array.into_values()), bits(&expected));
    }
}

/// A linear regression on made points: its parameters and momentum after the steps from `start` to `end`.
fn train(w: &mut Array2<f32>, momentum: &mut Array2<f32>, steps: std::ops::Range<u32>) {
    let x = Array2::from_shape_vec((50, 4), values::<f32>(200, 10)).unwrap();
    let y = Array2::from_shape_vec((50, 1), values::<f32>(50, 11)).unwrap();
    for t in steps {
        let gradient = x.t().dot(&(x.dot(w) - &y)) / 50.0;
        let rule = Rule::powerstep(0.1 / f64::from(1 + t));
        let step = if t == 0 { Step::first(&rule) } else { Step::later(&rule) };
        rootstep_ndarray::step(&step.unwrap(), w, &gradient, Momentum::full(momentum)).unwrap();
    }
}

#[test]
fn a_training_that_was_saved_goes_on_as_if_it_had_not_been() {
    let [mut w, mut momentum] = [(); 2].map(|()| Array2::zeros((4, 1)));
    train(&mut w, &mut momentum, 0..60);

    let [mut half_way, mut half_momentum] = [(); 2].map(|()| Array2::zeros((4, 1)));
    train(&mut half_way, &mut half_momentum, 0..30);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for (name, array) in [("w", &half_way), ("momentum", &half_momentum)] {
        let bytes: Vec<u8> = array.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(file(name), bytes).unwrap();
    }
    let [mut loaded, mut loaded_momentum] = ["w", "momentum"].map(|name| {
        let bytes = std::fs::read(file(name)).unwrap();
        let values = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Array2::from_shape_vec((4, 1), values).unwrap()
    });
    train(&mut loaded, &mut loaded_momentum, 30..60);
    assert_eq!(bits(loaded.as_slice().unwrap()), bits(w.as_slice().unwrap()));
    assert_eq!(bits(loaded_momentum.as_slice().unwrap()), bits(momentum.as_slice().unwrap()));
    assert_ne!(w, half_way);
}

/// The optimizer of `rootstep` takes row-major arrays as slices, and is saved as a file.
#[test]
fn an_owner_of_momentum_is_saved_and_loaded() {
    let gradient = |t: u64| Array2::from_shape_vec((20, 20), values::<f32>(400, t)).unwrap();
    let new =
        || Optimizer::<f32>::builder(Rule::powerstep(0.1)).with_clip_norm(1.0).build().unwrap();
    let take = |optimizer: &mut Optimizer<f32>, w: &mut Array2<f32>, t| {
        optimizer
            .step(&mut [w.as_slice_mut().unwrap()], &[gradient(t).as_slice().unwrap()])
            .unwrap();
    };
    let (mut whole, mut w) = (new(), Array2::zeros((20, 20)));
    (0..10).for_each(|t| take(&mut whole, &mut w, t));

    let (mut first, mut parts) = (new(), Array2::zeros((20, 20)));
    (0..5).for_each(|t| take(&mut first, &mut parts, t));
    let mut file = Vec::new();
    first.write_safetensors(&mut file).unwrap();
    let mut second = new();
    second.read_safetensors(&file[..]).unwrap();
    (5..10).for_each(|t| take(&mut second, &mut parts, t));
    assert_eq!(bits(parts.as_slice().unwrap()), bits(w.as_slice().unwrap()));
}
