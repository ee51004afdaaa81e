use proptest::prelude::*;

use super::*;
use crate::scope::Scope;

const START: i64 = 1_700_000_000;

fn at(days: i64) -> Time {
    Time::from_seconds(START).plus(days * DAY)
}

fn scopes() -> impl Strategy<Value = Scopes> {
    proptest::sample::subsequence(Scope::ALL.to_vec(), 0..=5).prop_map(Scopes::from_iter)
}

fn models() -> impl Strategy<Value = Option<ModelList>> {
    let names = ["gpt-4", "gpt-5", "gpt-*", "claude-*", "llama"].map(str::to_owned).to_vec();
    let list = proptest::sample::subsequence(names, 1..=5);
    proptest::option::of(list.prop_map(|names| ModelList::check(&names).expect("a list")))
}

fn rules() -> impl Strategy<Value = Rules> {
    let days = proptest::option::of(1..400_i64);
    (days, proptest::sample::select(NeverExpire::ALL.to_vec()), scopes(), 1..2000_u32, models()).prop_map(
        |(longest_days, never, scopes, largest_rpm, member_models)| Rules {
            longest_days,
            never,
            member_scopes: scopes.intersection(Rules::offered_to_members()),
            largest_rpm,
            member_models,
            ..Rules::default()
        },
    )
}

/// A key created before the first change, on day 0.
fn key_terms() -> impl Strategy<Value = KeyTerms> {
    let role = proptest::option::of(proptest::sample::select(Role::ALL.to_vec()));
    (-500..=0_i64, proptest::option::of(1..500_i64), scopes(), 1..2000_u32, models(), role).prop_map(
        |(made, ends, scopes, rpm, models, role)| KeyTerms {
            made: at(made),
            ends: ends.map(at),
            scopes,
            rpm,
            models,
            role,
        },
    )
}

fn never_before(one: Option<Time>, other: Option<Time>) -> bool {
    one.is_none_or(|one| other.is_some_and(|other| other <= one))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn policy_change_takes_nothing_from_a_key_before_its_date(
        first in rules(), second in rules(), key in key_terms(), date in 1..100_i64, later in 1..100_i64,
    ) {
        let before = Policy::default();
        let one = before.changed(first, at(date), at(0));
        for day in 0..date {
            let (was, is) = (before.effective(&key, at(day)), one.effective(&key, at(day)));
            prop_assert!(was.scopes.without(is.scopes).is_empty());
            prop_assert!(was.rpm <= is.rpm);
            prop_assert!(!list::reaches_further(was.models.as_ref(), is.models.as_ref()));
            prop_assert!(never_before(is.ends, was.ends.min(Some(at(date))).or(Some(at(date)))));
        }
        // A second change while the first is pending takes nothing before its own date either.
        let two = one.changed(second, at(later), at(0));
        for day in 0..later.min(date) {
            let (was, is) = (one.effective(&key, at(day)), two.effective(&key, at(day)));
            prop_assert!(was.scopes.without(is.scopes).is_empty());
            prop_assert!(was.rpm <= is.rpm);
            prop_assert!(!list::reaches_further(was.models.as_ref(), is.models.as_ref()));
        }
    }

    #[test]
    fn every_key_follows_the_rules_from_the_date_on(
        first in rules(), second in rules(), key in key_terms(), date in 1..100_i64, later in 1..100_i64,
    ) {
        let policy = Policy::default().changed(first, at(date), at(0)).changed(second.clone(), at(later), at(0));
        for day in later..later + 50 {
            let is = policy.effective(&key, at(day));
            let allowed = key.role.map_or(Scopes::NONE, |role| second.scopes(role));
            prop_assert_eq!(is.scopes, key.scopes.intersection(allowed));
            prop_assert_eq!(is.rpm, key.rpm.min(second.largest_rpm));
            match is.ends {
                None => prop_assert!(second.never != NeverExpire::Nobody),
                Some(end) => {
                    let lives = end > at(day);
                    prop_assert!(!lives || end <= key.made.plus(second.longest() * DAY) || key.ends == Some(end));
                    prop_assert!(second.longest_days.is_none() || !lives || end <= key.made.plus(second.longest() * DAY));
                }
            }
        }
    }

    #[test]
    fn expiry_offered_for_a_new_key_is_never_shortened(
        first in rules(), second in rules(), made in 1..50_i64, days in 1..400_i64, date in 1..100_i64,
    ) {
        let policy = Policy::default().changed(first, at(date), at(0)).changed(second, at(date), at(0));
        for role in [Role::Owner, Role::Member] {
            for end in [None, Some(at(made + days))] {
                if policy.check_end(at(made), end, role).is_ok() {
                    prop_assert_eq!(policy.bound_end(at(made), end), end);
                    prop_assert!(end.is_some_and(|end| end <= at(made).plus(policy.rules.longest() * DAY)) || policy.allows_never(role));
                }
            }
        }
    }
}

#[test]
fn policy_change_that_takes_nothing_away_needs_no_date() {
    let policy = Policy::default();
    let wider = Rules { member_scopes: Rules::offered_to_members(), ..Rules::default() };
    let changed = policy.changed(wider, at(30), at(0));
    assert_eq!(changed.earlier, None);
    assert!(changed.rights(Some(Role::Member)).scopes(at(0)).has(Scope::KeysVerify));
    assert_eq!(changed.changed(changed.rules.clone(), at(30), at(1)).earlier, None);
    let narrower = changed.changed(Rules::default(), at(30), at(1));
    assert_eq!(narrower.earlier.map(|earlier| earlier.until), Some(at(30)));
}

#[test]
fn key_that_lives_too_long_expires_at_the_date_or_its_maximum_lifetime() {
    let rules = Rules { longest_days: Some(90), never: NeverExpire::Admins, ..Rules::default() };
    let policy = Policy::default().changed(rules, at(30), at(0));
    assert_eq!(policy.bound_end(at(-200), Some(at(100))), Some(at(30)));
    assert_eq!(policy.bound_end(at(-10), Some(at(100))), Some(at(80)));
    assert_eq!(policy.bound_end(at(-10), Some(at(20))), Some(at(20)));
    assert_eq!(policy.bound_end(at(-10), None), None);
    assert!(policy.check_end(at(1), Some(at(91)), Role::Owner).is_ok());
    assert!(policy.check_end(at(1), Some(at(92)), Role::Owner).is_err());
    assert!(policy.check_end(at(1), None, Role::Admin).is_ok());
    assert!(policy.check_end(at(1), None, Role::Member).is_err());
}

#[test]
fn members_choose_limits_up_to_the_default_and_admins_up_to_the_maximum() {
    let policy = Policy { rules: Rules { largest_rpm: 1_000, ..Rules::default() }, ..Policy::default() };
    assert_eq!((policy.most_rpm(Role::Member, 600), policy.most_rpm(Role::Owner, 600)), (600, 1_000));
    assert_eq!((policy.default_rpm(5_000), policy.most_rpm(Role::Member, 5_000)), (1_000, 1_000));
    let named = Policy { rules: Rules { default_rpm: Some(60), ..policy.rules }, ..Policy::default() };
    assert_eq!(named.most_rpm(Role::Member, 600), 60);
}
