//! The arithmetic of amounts, against worked examples and laws.
//! Owns: those examples. Called by: the test harness. Does not: test who uses the arithmetic.

use proptest::prelude::*;

use super::*;

const GB: u64 = 1_024;

fn gb(memory: u64, cores: u64) -> ResourceVector {
    ResourceVector::new(memory * GB, cores)
}

#[test]
fn e01_normalisation() {
    let (minimum, maximum) = (ResourceVector::new(1_024, 1), ResourceVector::new(8_192, 4));
    for (asked, by_memory, by_dominance) in [
        ((1_500, 3), (2_048, 1), (2_048, 3)),
        ((100, 0), (1_024, 1), (1_024, 1)),
        ((8_192, 4), (8_192, 1), (8_192, 4)),
    ] {
        let asked = ResourceVector::new(asked.0, asked.1);
        for (calculator, (memory, cores)) in
            [(Calculator::Memory, by_memory), (Calculator::Dominant, by_dominance)]
        {
            let size = calculator.normalize(&asked, &minimum, &maximum, &minimum);
            assert_eq!(size, ResourceVector::new(memory, cores), "{asked:?} {calculator:?}");
        }
    }
    // Whatever passes validation, which looks at every type, the maximum is not passed.
    for asked in [ResourceVector::new(9_000, 1), ResourceVector::new(1_024, 5)] {
        assert!(!asked.fits_in(&maximum));
    }
    let odd = ResourceVector::new(5_000, 4);
    assert_eq!(Calculator::Dominant.normalize(&odd, &minimum, &odd, &minimum).memory_mb(), 5_000);
    let zero_step = Calculator::Dominant.normalize(&odd, &minimum, &maximum, &ResourceVector::ZERO);
    assert_eq!(zero_step, odd);
}

#[test]
fn e02_dominant_compare_and_fits_in() {
    let (cluster, dominant) = (gb(100, 100), Calculator::Dominant);
    for (a, b, order, fits) in [
        (gb(10, 30), gb(25, 5), Ordering::Greater, false),
        (gb(30, 10), gb(10, 30), Ordering::Equal, false),
        (gb(30, 20), gb(30, 10), Ordering::Greater, false),
        (gb(20, 5), gb(25, 5), Ordering::Less, true),
    ] {
        assert_eq!(dominant.compare(&cluster, &a, &b), order, "{a:?} {b:?}");
        assert_eq!(dominant.compare(&cluster, &b, &a), order.reverse());
        assert_eq!(dominant.fits_in(&a, &b), fits);
    }
    assert_eq!(dominant.compute_available_containers(&gb(10, 3), &gb(2, 1)), 3);
    assert_eq!(Calculator::Memory.compute_available_containers(&gb(10, 3), &gb(2, 1)), 5);
    assert_eq!(dominant.compute_available_containers(&gb(10, 3), &ResourceVector::ZERO), 2_147_483_647);
    assert_eq!(Calculator::Memory.compare(&cluster, &gb(1, 9), &gb(2, 1)), Ordering::Less);
    assert_eq!(dominant.compare_single(&cluster, &gb(30, 20), &gb(30, 10)), Ordering::Equal);
    assert_eq!(dominant.max(&cluster, &gb(10, 30), &gb(25, 5)), &gb(10, 30));
    assert_eq!(dominant.min(&cluster, &gb(10, 30), &gb(25, 5)), &gb(25, 5));
}

#[test]
fn a_cluster_without_a_type_passes_it_over_and_an_empty_one_compares_amounts() {
    let dominant = Calculator::Dominant;
    let no_cores = gb(100, 0);
    assert_eq!(dominant.compare(&no_cores, &gb(2, 1), &gb(1, 50)), Ordering::Greater);
    let nothing = ResourceVector::ZERO;
    assert_eq!(dominant.compare(&nothing, &gb(2, 1), &gb(1, 1)), Ordering::Greater);
    assert_eq!(dominant.compare(&nothing, &gb(2, 1), &gb(1, 2)), Ordering::Equal);
    assert_eq!(dominant.max_share(&nothing, &gb(1, 1)), Ratio::ZERO);
    assert_eq!(Calculator::Memory.max_share(&nothing, &gb(1, 1)), Ratio::ZERO);
}

#[test]
fn quotients_are_of_memory_or_of_dominant_shares() {
    let cluster = gb(100, 100);
    let (used, guarantee) = (gb(10, 40), gb(50, 50));
    assert_eq!(Calculator::Dominant.divide(&cluster, &used, &guarantee).value(), 0.8);
    assert_eq!(Calculator::Memory.divide(&cluster, &used, &guarantee).value(), 0.2);
    assert_eq!(Calculator::Dominant.divide(&cluster, &gb(50, 50), &guarantee), Ratio::ONE);
    assert_eq!(Calculator::Dominant.divide(&cluster, &used, &ResourceVector::ZERO), Ratio::INFINITE);
    assert_eq!(
        Calculator::Dominant.divide(&cluster, &ResourceVector::ZERO, &ResourceVector::ZERO),
        Ratio::ZERO
    );
    assert_eq!(Calculator::Dominant.ratio(&gb(1, 3), &gb(2, 4)).value(), 0.75);
    assert_eq!(Calculator::Dominant.ratio(&gb(1, 1), &gb(2, 0)), Ratio::INFINITE);
    assert_eq!(Ratio::new(f64::NAN), Ratio::ZERO);
    assert_eq!(Ratio::new(-0.0).cmp(&Ratio::ZERO), Ordering::Equal);
}

#[test]
fn products_are_rounded_to_steps() {
    let step = gb(1, 1);
    let up =
        |calculator: Calculator, factor| calculator.multiply_and_normalize_up(&gb(10, 10), factor, &step);
    assert_eq!(up(Calculator::Memory, 0.55), gb(6, 1));
    assert_eq!(up(Calculator::Dominant, 0.55), gb(6, 6));
    let down =
        |calculator: Calculator, factor| calculator.multiply_and_normalize_down(&gb(10, 10), factor, &step);
    assert_eq!(down(Calculator::Memory, 0.55), gb(5, 1));
    assert_eq!(down(Calculator::Dominant, 0.55), gb(5, 5));
    assert_eq!(Calculator::Dominant.divide_and_ceil(&gb(10, 10), 3.0), ResourceVector::new(3_414, 4));
    assert_eq!(Calculator::Dominant.divide_and_ceil(&gb(10, 10), 0.0), gb(10, 10));
    assert_eq!(multiply_down(100, 0.7), 70);
    assert_eq!(multiply_down(u64::MAX, 2.0), u64::MAX);
    assert!(Calculator::Dominant.is_invalid_divisor(&gb(1, 0), 2));
    assert!(!Calculator::Memory.is_invalid_divisor(&gb(1, 0), 2));
}

#[test]
fn shares_add_up_and_go_away_again_without_drift() {
    let mut sum = FixedShare::ZERO;
    let parts: Vec<FixedShare> = (1..1_000).map(|n| FixedShare::nearest(Ratio::of(n, 7_777_777))).collect();
    parts.iter().for_each(|part| sum.add(*part));
    assert!((sum.ratio().value() - 499_500.0 / 7_777_777.0).abs() < 1e-12);
    parts.iter().rev().for_each(|part| sum.subtract(*part));
    assert_eq!(sum, FixedShare::ZERO);
    assert_eq!(FixedShare::nearest(Ratio::INFINITE), FixedShare(u64::MAX));
}

fn vector() -> impl Strategy<Value = ResourceVector> {
    // Few values, so that ties are common.
    prop::collection::vec(prop_oneof![0..6u64, Just(u64::MAX)], 0..7)
        .prop_map(|amounts| ResourceVector::from_amounts(&amounts))
}

proptest! {
    #[test]
    fn comparing_is_a_total_preorder(cluster in vector(), a in vector(), b in vector(), c in vector()) {
        prop_assume!(!cluster.is_zero());
        let compare = |a, b| Calculator::Dominant.compare(&cluster, a, b);
        prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
        if a.fits_in(&b) {
            prop_assert!(compare(&a, &b).is_le());
        }
    }

    #[test]
    fn a_quotient_never_falls_as_the_amount_grows(
        cluster in vector(), a in vector(), more in vector(), b in vector(),
    ) {
        for calculator in [Calculator::Memory, Calculator::Dominant] {
            let larger = a.plus(&more);
            prop_assert!(calculator.divide(&cluster, &a, &b) <= calculator.divide(&cluster, &larger, &b));
            prop_assert!(calculator.ratio(&a, &b) <= calculator.ratio(&larger, &b));
        }
    }

    /// Short cuts are short, not different.
    #[test]
    fn what_is_known_without_computing_shares_is_what_comparing_says(
        cluster in vector(), a in vector(), b in vector(), amount in 0..EXACT, divisor in 1u32..,
    ) {
        for calculator in [Calculator::Memory, Calculator::Dominant] {
            let order = calculator.compare(&cluster, &a, &b);
            prop_assert_eq!(calculator.exceeds(&cluster, &a, &b), order.is_gt());
            prop_assert_eq!(calculator.max(&cluster, &a, &b), if order.is_lt() { &b } else { &a });
            prop_assert_eq!(calculator.min(&cluster, &a, &b), if order.is_gt() { &b } else { &a });
            for divisor in [divisor, divisor % 1_000 + 1] {
                let parts = calculator.divide_and_ceil(&ResourceVector::new(amount, 1), divisor.into());
                prop_assert_eq!(parts.memory_mb(), whole_up(amount as f64 / f64::from(divisor)));
            }
        }
    }

    #[test]
    fn as_many_containers_fit_as_are_computed(available in vector(), size in vector()) {
        let count = Calculator::Dominant.compute_available_containers(&available, &size);
        if count < i32::MAX.unsigned_abs() {
            prop_assert!(size.times(u64::from(count)).fits_in(&available));
            let one_more = |index| u128::from(size.get(index)) * (u128::from(count) + 1);
            prop_assert!((0..size.len()).any(|index| one_more(index) > u128::from(available.get(index))));
        }
    }
}
