//! Schedules: the values of PyTorch and optax, as `schedules/record.py` has recorded them; their ends;
//! and bad settings.

use crate::support::random_bits;
use proptest::prelude::*;
use rootstep::Error;
use rootstep::optimizer::{Plateau, Schedule};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

const FINITE: &str = "0 to 1.7976931348623157e308, the largest f64";
const POSITIVE: &str = "5e-324 to 1.7976931348623157e308, the smallest and the largest f64";

fn recorded() -> HashMap<String, Vec<f64>> {
    serde_json::from_str(include_str!("schedules/recorded.json")).unwrap()
}

fn schedules() -> Result<Vec<(&'static str, Schedule)>, Error> {
    let sequence = [(Schedule::constant(0.3)?, 5), (Schedule::linear(0.2, 0.1, 10)?, 20)];
    Ok(vec![
        ("linear", Schedule::linear(0.1, 0.02, 40)?),
        ("polynomial", Schedule::polynomial(0.1, 0.02, 40, 2.5)?),
        ("polynomial_torch", Schedule::polynomial(0.1, 0.0, 40, 0.9)?),
        ("step", Schedule::step(0.1, 0.3, 7)?),
        ("multi_step", Schedule::multi_step(0.1, 0.3, [3, 11, 40])?),
        ("exponential", Schedule::exponential(0.1, 0.93)?),
        ("cosine", Schedule::cosine(0.1, 0.005, 40)?),
        ("cosine_torch", Schedule::cosine(0.1, 0.005, 40)?),
        ("restarts", Schedule::cosine_restarts(0.1, 0.005, 7, 2)?),
        ("restarts_even", Schedule::cosine_restarts(0.1, 0.0, 9, 1)?),
        ("one_cycle", Schedule::one_cycle(0.4 / 25.0, 0.4, 0.4 / 25.0 / 1e4, 61, 0.3)?),
        ("one_cycle_other", Schedule::one_cycle(0.04, 0.4, 0.0004, 61, 0.45)?),
        ("warm_up", Schedule::cosine(0.1, 0.002, 32)?.warm_up(0.01, 8)?),
        ("sequence", Schedule::sequence(sequence, Schedule::constant(0.05)?)?),
    ])
}

fn assert_close(name: &str, step: usize, value: f64, expected: f64) {
    let close = (value - expected).abs() <= 1e-12 * expected.abs().max(1e-6);
    assert!(close, "{name}, step {step}: {value}, recorded {expected}");
}

#[test]
fn the_values_of_pytorch_and_optax() {
    let recorded = recorded();
    let schedules = schedules().unwrap();
    assert_eq!(recorded.len(), schedules.len() + 3, "all that is recorded is compared");
    for (name, schedule) in &schedules {
        let expected = &recorded[*name];
        assert!(expected.len() >= 41);
        for (step, &expected) in expected.iter().enumerate() {
            assert_close(name, step, schedule.at(step as u64), expected);
        }
    }
}

#[test]
fn plateaus_fall_as_those_of_pytorch() {
    let recorded = recorded();
    let other = Plateau::new(0.1, 0.2, 1).unwrap().threshold(0.02).unwrap();
    let other = other.cooldown(3).lowest_rate(0.001).unwrap();
    for (name, mut plateau) in
        [("plateau", Plateau::new(0.1, 0.5, 2).unwrap()), ("plateau_other", other)]
    {
        for (step, (&loss, &expected)) in recorded["losses"].iter().zip(&recorded[name]).enumerate()
        {
            assert_close(name, step, plateau.observe(loss), expected);
        }
        assert!(plateau.rate() < 0.1);
    }
}

/// A diverged training: PyTorch's values.
#[test]
fn a_loss_of_infinity_is_no_progress() {
    let infinite = f64::INFINITY;
    let mut plateau = Plateau::new(0.1, 0.5, 1).unwrap();
    let losses = [infinite, infinite, infinite, infinite, 2.0, infinite, 1.0, infinite, infinite];
    let rates = losses.map(|loss| plateau.observe(loss));
    assert_eq!(rates, [0.1, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025, 0.025, 0.0125]);
    let mut plateau = Plateau::new(0.1, 0.5, 0).unwrap();
    let rates = [f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0].map(|loss| plateau.observe(loss));
    assert_eq!(rates, [0.1, 0.05, 0.025]);
}

#[test]
fn a_loss_of_nan_is_no_progress() {
    let mut plateau = Plateau::new(0.1, 0.5, 0).unwrap();
    assert_eq!(plateau.observe(f64::NAN), 0.05);
    assert_eq!(plateau.observe(1.0), 0.05);
    assert_eq!(plateau.observe(f64::NAN), 0.025);
    assert_eq!(plateau.observe(0.5), 0.025);
}

/// The ends of what a plateau takes: an equal loss is no fall, and a rate falls by more than 1e-8 or not.
#[test]
fn plateaus_at_their_bounds() {
    for factor in [0.0, 1.0] {
        let error = Plateau::new(0.1, factor, 3).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("the factor of a plateau is {factor}; allowed: above 0 and below 1")
        );
    }
    let mut plateau = Plateau::new(0.1, 0.5, 0).unwrap().threshold(0.0).unwrap();
    assert_eq!(plateau.rate(), 0.1);
    assert_eq!(
        [1.0, 1.0, 1.0_f64.next_down()].map(|loss| plateau.observe(loss)),
        [0.1, 0.05, 0.05]
    );
    assert_eq!(plateau.rate(), 0.05);
    let mut small = Plateau::new(4e-8, 0.5, 0).unwrap();
    assert_eq!([1.0, 1.0, 1.0, 1.0].map(|loss| small.observe(loss)), [4e-8, 2e-8, 2e-8, 2e-8]);
}

/// The ends are the numbers that were given, and behind the last step nothing changes.
#[test]
fn ends_are_exact() {
    for (from, to) in [(0.1, 0.003), (0.3, 0.7), (1e-7, 123.0)] {
        for steps in [4, 7, 1000] {
            for schedule in [
                Schedule::linear(from, to, steps).unwrap(),
                Schedule::polynomial(from, to, steps, 3.0).unwrap(),
                Schedule::cosine(from, to, steps).unwrap(),
            ] {
                assert_eq!(schedule.at(0), from);
                assert_eq!(schedule.at(steps), to);
                assert_eq!(schedule.at(u64::MAX), to);
            }
            let cycle = Schedule::one_cycle(from, 1.0, to, steps, 0.5).unwrap();
            assert_eq!((cycle.at(0), cycle.at(steps - 1), cycle.at(u64::MAX)), (from, to, to));
            // The longest way up.
            let share = (steps - 2) as f64 / steps as f64;
            let cycle = Schedule::one_cycle(from, 1.0, to, steps, share).unwrap();
            assert_eq!((cycle.at(0), cycle.at(steps - 3), cycle.at(steps - 1)), (from, 1.0, to));
            let warm = Schedule::linear(from, to, steps).unwrap().warm_up(0.0, steps).unwrap();
            assert_eq!((warm.at(0), warm.at(steps), warm.at(2 * steps)), (0.0, from, to));
        }
    }
    let restarts = Schedule::cosine_restarts(0.5, 0.1, 3, 2).unwrap();
    assert_eq!([0, 3, 9, 21].map(|step| restarts.at(step)), [0.5; 4]);
    assert!(restarts.at(u64::MAX) > 0.0);
    let transformer = Schedule::inverse_sqrt(0.4, 100.0).unwrap();
    assert_eq!((transformer.at(0), transformer.at(300)), (0.4, 0.2));
}

#[test]
fn settings_out_of_range() {
    const STEPS: &str = "the number of steps of a schedule";
    let message = |result: Result<Schedule, Error>| result.unwrap_err().to_string();
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        for (schedule, setting) in [
            (Schedule::constant(bad), "start"),
            (Schedule::linear(bad, 0.1, 5), "start"),
            (Schedule::linear(0.1, bad, 5), "end"),
            (Schedule::polynomial(bad, 0.1, 5, 2.0), "start"),
            (Schedule::polynomial(0.1, bad, 5, 2.0), "end"),
            (Schedule::step(bad, 0.5, 3), "start"),
            (Schedule::multi_step(bad, 0.5, [3]), "start"),
            (Schedule::piecewise(bad, [(3, 0.2)]), "start"),
            (Schedule::exponential(bad, 0.5), "start"),
            (Schedule::cosine(bad, 0.1, 5), "start"),
            (Schedule::cosine(0.1, bad, 5), "end"),
            (Schedule::cosine_restarts(bad, 0.1, 5, 2), "start"),
            (Schedule::cosine_restarts(0.1, bad, 5, 2), "end"),
            (Schedule::one_cycle(bad, 0.1, 0.1, 10, 0.5), "start"),
            (Schedule::one_cycle(0.1, bad, 0.1, 10, 0.5), "peak"),
            (Schedule::one_cycle(0.1, 0.1, bad, 10, 0.5), "end"),
            (Schedule::inverse_sqrt(bad, 3.0), "start"),
            (Schedule::constant(0.1).unwrap().warm_up(bad, 5), "start"),
        ] {
            let expected = format!("the {setting} of a schedule is {bad}; allowed: {FINITE}");
            assert_eq!(message(schedule), expected);
        }
        assert_eq!(
            message(Schedule::piecewise(0.1, [(3, 0.2), (4, bad)])),
            format!("a rate of a schedule is {bad}; allowed: {FINITE}")
        );
        for (schedule, setting) in [
            (Schedule::step(0.1, bad, 3), "factor"),
            (Schedule::multi_step(0.1, bad, [3]), "factor"),
            (Schedule::exponential(0.1, bad), "factor"),
            (Schedule::polynomial(0.1, 0.2, 3, bad), "power"),
            (Schedule::inverse_sqrt(0.1, bad), "shift"),
        ] {
            let expected = format!("the {setting} of a schedule is {bad}; allowed: {POSITIVE}");
            assert_eq!(message(schedule), expected);
        }
        assert!(Plateau::new(bad, 0.5, 3).is_err());
        assert!(Plateau::new(0.1, bad, 3).is_err());
        assert!(Plateau::new(0.1, 0.5, 3).unwrap().threshold(bad).is_err());
        assert!(Plateau::new(0.1, 0.5, 3).unwrap().lowest_rate(bad).is_err());
    }
    // 0 is a rate, but no factor, power or shift.
    assert_eq!(Schedule::constant(0.0).unwrap().at(7), 0.0);
    assert!(Schedule::exponential(0.1, 0.0).is_err());
    for (schedule, setting) in [
        (Schedule::linear(0.1, 0.2, 0), STEPS),
        (Schedule::polynomial(0.1, 0.2, 0, 2.0), STEPS),
        (Schedule::cosine(0.1, 0.2, 0), STEPS),
        (Schedule::one_cycle(0.01, 0.1, 0.0, 0, 0.3), STEPS),
        (Schedule::constant(0.1).unwrap().warm_up(0.0, 0), STEPS),
        (
            Schedule::sequence(
                [(Schedule::constant(0.1).unwrap(), 0)],
                Schedule::constant(0.2).unwrap(),
            ),
            STEPS,
        ),
        (Schedule::step(0.1, 0.5, 0), STEPS),
        (Schedule::cosine_restarts(0.1, 0.0, 0, 2), "the period of a schedule"),
        (Schedule::cosine_restarts(0.1, 0.0, 5, 0), "the growth of a schedule's period"),
        (Schedule::piecewise(0.1, [(0, 0.2)]), "a step of a schedule"),
        (Schedule::multi_step(0.1, 0.5, [0]), "a step of a schedule"),
    ] {
        assert_eq!(message(schedule), format!("{setting} is 0; allowed: 1 or more"));
    }
    assert_eq!(
        message(Schedule::multi_step(0.1, 0.5, [4, 4])),
        "a step of a schedule is 4; allowed: more than 4, the one before"
    );
    for share in [0.0, 0.1, 0.9, 1.0, f64::NAN] {
        assert_eq!(
            message(Schedule::one_cycle(0.1, 0.2, 0.1, 10, share)),
            format!(
                "the share of the warm-up is {share}; allowed: a share that leaves 2 of 10 steps or more \
                 to each side"
            )
        );
    }
}

#[test]
fn schedules_are_serialised() {
    for (_, schedule) in schedules().unwrap() {
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    }
    let bad = r#"{"last":{"cosine":{"from":0.1,"to":-1.0,"steps":5}}}"#;
    let error = serde_json::from_str::<Schedule>(bad).unwrap_err().to_string();
    assert_eq!(error, format!("the end of a schedule is -1; allowed: {FINITE}"));
    let bad = r#"{"parts":[[{"exponential":{"from":"0.1","factor":"0"}},3]],"last":{"cosine":{"from":0.1,"to":1,"steps":5}}}"#;
    let error = serde_json::from_str::<Schedule>(bad).unwrap_err().to_string();
    assert_eq!(error, format!("the factor of a schedule is 0; allowed: {POSITIVE}"));
    let bad = bad.replace("\"factor\":\"0\"", "\"factor\":\"1\"").replace(",3]", ",0]");
    let error = serde_json::from_str::<Schedule>(&bad).unwrap_err().to_string();
    assert_eq!(error, "the number of steps of a schedule is 0; allowed: 1 or more");
}

/// What is a sequence of sequences is one: each step has the rate that the formula gives, be it nested, and
/// as many parts as anyone wants are read back.
#[test]
fn sequences_of_sequences() {
    let inner = |rate: f64| {
        let parts = [(Schedule::linear(rate, 2.0 * rate, 3).unwrap(), 4)];
        Schedule::sequence(parts, Schedule::cosine(rate, 0.0, 5).unwrap()).unwrap()
    };
    let at = |rate, step| match step {
        0..4 => Schedule::linear(rate, 2.0 * rate, 3).unwrap().at(step),
        _ => Schedule::cosine(rate, 0.0, 5).unwrap().at(step - 4),
    };
    // Cut within the first part of the inner sequence, at its end, within the second, and behind that.
    for cut in [2, 4, 7, 30] {
        let outer = Schedule::sequence([(inner(1.0), cut), (inner(2.0), 6)], inner(3.0)).unwrap();
        for step in 0..60 {
            let expected = match step {
                step if step < cut => at(1.0, step),
                step if step < cut + 6 => at(2.0, step - cut),
                step => at(3.0, step - cut - 6),
            };
            assert_eq!(outer.at(step), expected, "cut {cut}, step {step}");
        }
        assert_eq!(outer.at(u64::MAX), 0.0);
    }
}

#[test]
fn hundreds_of_warm_ups_and_not_a_million() {
    let mut schedule = Schedule::constant(0.1).unwrap();
    for _ in 0..400 {
        schedule = schedule.warm_up(0.0, 3).unwrap();
    }
    let text = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    assert_eq!((schedule.at(1199), schedule.at(1200)), (0.2 / 3.0, 0.1));
    let mut built = 400;
    let error = loop {
        match schedule.clone().warm_up(0.0, 1) {
            Ok(longer) => schedule = longer,
            Err(error) => break error,
        }
        built += 1;
    };
    assert_eq!(built, 4096);
    let message = "the number of parts of a schedule is 4097; allowed: 0 to 4096";
    assert_eq!(error.to_string(), message);
    let part = r#"[{"exponential":{"from":1,"factor":1}},1]"#;
    let last = r#"{"exponential":{"from":1,"factor":1}}"#;
    let longer = format!(r#"{{"parts":[{}],"last":{last}}}"#, vec![part; 4097].join(","));
    assert_eq!(serde_json::from_str::<Schedule>(&longer).unwrap_err().to_string(), message);
}

/// Where a factor above 1 overflows, the rate is the largest number; a rate of 0 stays 0.
#[test]
fn schedules_stay_finite() {
    let last = |schedule: Result<Schedule, Error>| schedule.unwrap().at(u64::MAX);
    assert_eq!(last(Schedule::exponential(0.1, 2.0)), f64::MAX);
    assert_eq!(last(Schedule::exponential(0.0, 2.0)), 0.0);
    assert_eq!(last(Schedule::step(0.0, 2.0, 1)), 0.0);
    assert_eq!(last(Schedule::step(1.0, 0.5, 1)), 0.0);
    // The power alone is beyond the numbers; the rate is not.
    for (from, factor, step, exact) in
        [(1e-300, 10.0, 310, 1e10), (1e300, 0.1, 330, 1e-30), (1e300, 0.1, 615, 1e-315)]
    {
        let rate = Schedule::exponential(from, factor).unwrap().at(step);
        assert!((rate / exact - 1.0).abs() < 1e-9, "{rate:e}, not {exact:e}");
    }
    assert_eq!(last(Schedule::multi_step(0.1, 1e200, [1, 2])), f64::MAX);
    assert_eq!(last(Schedule::multi_step(0.0, 1e200, [1, 2])), 0.0);
    let nearly_all = Schedule::cosine(f64::MAX, 0.0, 1000).unwrap().at(1);
    assert!((0.999..1.0).contains(&(nearly_all / f64::MAX)));
}

/// Losses below 0, such as accuracies negated.
#[test]
fn plateaus_of_negative_losses() {
    let mut plateau = Plateau::new(0.1, 0.5, 2).unwrap();
    let losses = [-0.9, -0.9, -0.900_01, -0.899_95, -0.9002, -0.9002, -0.9003];
    let rates = losses.map(|loss| plateau.observe(loss));
    assert_eq!(rates, [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]);
}

#[test]
fn plateaus_are_serialised() {
    let mut plateau = Plateau::new(0.1, 0.5, 1).unwrap().lowest_rate(0.01).unwrap();
    plateau.observe(1.0);
    plateau.observe(1.0);
    let text = serde_json::to_string(&plateau).unwrap();
    let mut read: Plateau = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plateau);
    assert_eq!((read.observe(1.0), plateau.observe(1.0)), (0.05, 0.05));
    let wrong = text.replace("\"best\":\"1.0\"", "\"best\":\"NaN\"");
    let error = serde_json::from_str::<Plateau>(&wrong).unwrap_err().to_string();
    assert!(
        error.contains("the lowest loss of a plateau is NaN; allowed: any number but NaN"),
        "{error}"
    );
    let wrong = text.replace("\"factor\":\"0.5\"", "\"factor\":1.5");
    let error = serde_json::from_str::<Plateau>(&wrong).unwrap_err().to_string();
    assert!(error.contains("the factor of a plateau is 1.5"), "{error}");
}

/// A number in (0, 1), by exact operations.
type Draw<'a> = &'a mut dyn FnMut() -> f64;

/// Schedules of each kind, from one number of steps.
fn of_each_kind(unit: Draw, steps: u64) -> Vec<Result<Schedule, Error>> {
    vec![
        Schedule::polynomial(unit(), unit(), steps, 5.0 * unit()),
        Schedule::step(unit(), unit(), 7),
        Schedule::multi_step(unit(), 2.0 * unit(), [3, 11, 40]),
        Schedule::exponential(unit(), unit()),
        Schedule::cosine(unit(), unit(), steps),
        Schedule::cosine_restarts(unit(), unit(), steps, 2),
        Schedule::one_cycle(unit(), unit(), unit(), steps, 0.5),
        Schedule::inverse_sqrt(unit(), 100.0 * unit()),
        Schedule::linear(unit(), unit(), steps),
        Schedule::cosine(unit(), unit(), steps).unwrap().warm_up(unit(), steps),
    ]
}

/// Those that grow, that leave the numbers, that are long, and that consist of others.
fn of_other_settings(unit: Draw, steps: u64) -> Vec<Result<Schedule, Error>> {
    let parts = [
        (Schedule::exponential(unit(), 1.0 + unit()).unwrap(), steps / 5),
        (Schedule::polynomial(unit(), unit(), steps, unit()).unwrap(), steps / 3),
    ];
    vec![
        Schedule::exponential(unit(), 1.0 + unit() / 64.0),
        // The powers are beyond the numbers, the rates are not.
        Schedule::exponential(1e-300 * unit(), 20.0 + 20.0 * unit()),
        Schedule::exponential(1e300 * unit(), 0.02 + 0.02 * unit()),
        Schedule::step(unit(), 1.0 + unit(), 3),
        Schedule::polynomial(unit(), 0.0, steps, unit()),
        Schedule::polynomial(unit(), unit(), 3 * steps, 20.0 * unit()),
        Schedule::cosine(1e300 * unit(), 0.0, steps << 40),
        Schedule::cosine_restarts(unit(), unit(), 3, 1),
        Schedule::one_cycle(unit(), unit(), unit(), 5 * steps, 0.1 + 0.8 * unit()),
        Schedule::inverse_sqrt(unit(), unit()),
        Schedule::exponential(unit(), unit()).unwrap().warm_up(unit(), steps / 2),
        Schedule::sequence(parts, Schedule::cosine(unit(), unit(), steps).unwrap()),
    ]
}

/// The SHA-256 of 25 rates of each schedule of 200 draws.
fn digest_of_rates(draw: fn(Draw, u64) -> Vec<Result<Schedule, Error>>) -> String {
    let mut bits = random_bits(15);
    let mut unit = || ((bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    let mut hasher = Sha256::new();
    for _ in 0..200 {
        let steps = 5 + u64::from(unit().to_bits().to_le_bytes()[3]);
        for schedule in draw(&mut unit, steps) {
            let schedule = schedule.unwrap();
            for step in 0..25 {
                let rate = schedule.at(step * steps / 20);
                hasher.update(rate.to_bits().to_le_bytes());
            }
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// They never change.
fn assert_the_promised_rates() {
    assert_eq!(
        [digest_of_rates(of_each_kind), digest_of_rates(of_other_settings)],
        [
            "b4347a37f22d3dd1b3715a86c804b88daa18331801d865cdf8229fdf14348c67",
            "853f95e1fcdfab8482b30062aa06b5d74921a4d8bf4eb9756c87b3d84e8daad8",
        ]
    );
}

/// The rates of pseudo-random schedules are the same on every machine, whatever its CPU and its C library.
#[test]
fn the_same_rates_on_every_machine() {
    assert_the_promised_rates();
}

/// The C library chooses its `cos` and `pow` by the CPU: the rates are those of every choice.
#[cfg(not(target_family = "wasm"))]
#[test]
fn the_same_rates_on_a_cpu_without_fma() {
    use crate::own_process::{WITHOUT_FMA, in_own_process};
    let name = "schedules::the_same_rates_on_a_cpu_without_fma";
    in_own_process(name, &[WITHOUT_FMA], assert_the_promised_rates);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Between the ends of a schedule no rate is beyond them.
    #[test]
    fn rates_stay_within_the_ends(
        from in 0.0..10.0,
        to in 0.0..10.0,
        steps in 4..10_000_u64,
        step in any::<u64>(),
        power in 0.1..5.0,
        growth in 1..4_u64,
    ) {
        let step = step % (2 * steps);
        for schedule in [
            Schedule::linear(from, to, steps).unwrap(),
            Schedule::polynomial(from, to, steps, power).unwrap(),
            Schedule::cosine(from, to, steps).unwrap(),
            Schedule::cosine_restarts(from, to, steps, growth).unwrap(),
            Schedule::one_cycle(from, to, from, steps, 0.5).unwrap(),
        ] {
            let rate = schedule.at(step);
            prop_assert!((from.min(to) * (1.0 - 1e-12)..=from.max(to) * (1.0 + 1e-12)).contains(&rate));
        }
    }
}
