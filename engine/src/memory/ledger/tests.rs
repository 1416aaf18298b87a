use std::collections::VecDeque;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const fn cost(held: u64, turn: u64) -> Cost {
    Cost { held, turn, shared: 0 }
}

#[rstest]
#[case::room(100, &[cost(20, 30)], cost(10, 30), 0, Verdict::Fits)]
#[case::exactly(100, &[cost(20, 30)], cost(40, 30), 0, Verdict::Fits)]
#[case::one_turn_at_a_time(100, &[cost(20, 30)], cost(30, 40), 0, Verdict::Fits)]
#[case::one_more(100, &[cost(20, 30)], cost(41, 30), 0, Verdict::Wait)]
#[case::alone(100, &[], cost(50, 40), 0, Verdict::Fits)]
#[case::too_much_alone(100, &[], cost(50, 41), 0, Verdict::Never)]
#[case::too_much_beside(100, &[cost(1, 1)], cost(50, 41), 0, Verdict::Never)]
#[case::cache_goes_first(100, &[cost(20, 30)], cost(10, 30), 50, Verdict::Evict(20))]
#[case::cache_does_not_help(100, &[cost(80, 5)], cost(10, 5), 50, Verdict::Wait)]
fn verdicts(
    #[case] budget: u64,
    #[case] running: &[Cost],
    #[case] request: Cost,
    #[case] cached: u64,
    #[case] expected: Verdict,
) {
    let mut ledger = Ledger::new(Some(budget), 10, Sharing::Turns);
    for &cost in running {
        ledger.reserve(cost);
    }
    assert_eq!(ledger.judge(request, cached), expected);
}

#[rstest]
#[case::room(20, 20, Verdict::Fits)]
#[case::others_go_first(20, 21, Verdict::Evict(1))]
#[case::all_others(40, 40, Verdict::Evict(40))]
#[case::too_much_beside_what_runs(41, 0, Verdict::Wait)]
fn what_is_kept_has_to_fit_beside_what_runs(
    #[case] bytes: u64,
    #[case] cached: u64,
    #[case] expected: Verdict,
) {
    let mut ledger = Ledger::new(Some(100), 10, Sharing::Turns);
    ledger.reserve(cost(20, 30));
    assert_eq!(ledger.judge_kept(bytes, cached), expected);
    let unbounded = Ledger::new(None, 10, Sharing::Turns);
    assert_eq!(unbounded.judge_kept(bytes, cached), Verdict::Fits);
}

#[rstest]
#[case::alone(&[(30, 5)], 30 + 5)]
#[case::up_to_twice_its_own(&[(90, 5), (30, 8)], 90 + 60 + 8 + 2 * 5)]
#[case::no_longer_than_the_longest(&[(40, 5), (30, 8)], 40 + 40 + 8 + 2 * 5)]
#[case::short_ones_up_to_the_floor(&[(90, 5), (1, 1), (2, 1)], 90 + 20 + 20 + 5 + 3 * 5)]
#[case::all_below_the_floor(&[(7, 5), (1, 1)], 7 + 7 + 5 + 2 * 5)]
fn rows_of_a_batch_are_padded(#[case] costs: &[(u64, u64)], #[case] running: u64) {
    let mut ledger = Ledger::new(Some(1000), 10, Sharing::Calls { floor: 20, room: 2 });
    for &(held, turn) in costs {
        ledger.reserve(Cost { held, turn, shared: 3 });
    }
    assert_eq!(ledger.reserved(), 10 + running);
}

#[rstest]
fn requests_of_one_length_come_to_the_same_either_way(#[values(1, 2, 7)] n: usize) {
    let cost = Cost { held: 30, turn: 5, shared: 3 };
    for sharing in [Sharing::Turns, Sharing::Calls { floor: 20, room: 2 }] {
        assert_eq!(sharing.alike(n as u64, cost), sharing.together(&vec![cost; n]));
    }
}

#[test]
fn a_request_that_fits_alone_waits_for_those_it_would_be_padded_beside() {
    let mut ledger = Ledger::new(Some(100), 10, Sharing::Calls { floor: 0, room: 0 });
    ledger.reserve(cost(40, 5));
    assert_eq!(ledger.judge(cost(20, 5), 0), Verdict::Fits);
    assert_eq!(ledger.judge(cost(20, 16), 0), Verdict::Wait);
    assert_eq!(ledger.judge(cost(90, 1), 0), Verdict::Never);
}

#[rstest]
#[case::none_to_spare(Some(100), 65, 0)]
#[case::a_byte_too_many(Some(100), 66, 1)]
#[case::nothing_cached(Some(20), 0, 15)]
#[case::no_budget(None, 1 << 60, 0)]
fn what_the_cache_has_too_much(
    #[case] budget: Option<u64>,
    #[case] cached: u64,
    #[case] surplus: u64,
) {
    let mut ledger = Ledger::new(budget, 10, Sharing::Turns);
    ledger.reserve(cost(20, 5));
    assert_eq!(ledger.surplus(cached), surplus);
}

#[test]
fn without_a_budget_everything_fits_and_is_counted() {
    let mut ledger = Ledger::new(None, 10, Sharing::Turns);
    assert_eq!(ledger.judge(cost(u64::MAX, u64::MAX), u64::MAX), Verdict::Fits);
    let place = ledger.reserve(cost(5, 7));
    assert_eq!(ledger.reserved(), 22);
    ledger.release(place);
    assert_eq!(ledger.reserved(), 10);
}

/// What the worker does with the books: takes requests in order, lets the first one wait until it
/// fits, and runs each for so many rounds.
struct Model {
    ledger: Ledger,
    waiting: VecDeque<(usize, Cost, u32)>,
    running: Vec<(usize, Place, u32)>,
    cached: u64,
    ended: Vec<usize>,
    taken: Vec<usize>,
    refused: usize,
}

impl Model {
    fn round(&mut self) {
        while let Some(&(id, cost, rounds)) = self.waiting.front() {
            match self.ledger.judge(cost, self.cached) {
                Verdict::Wait => break,
                Verdict::Never => self.refused += 1,
                verdict => {
                    if let Verdict::Evict(bytes) = verdict {
                        self.cached = self.cached.saturating_sub(bytes);
                    }
                    self.taken.push(id);
                    self.running.push((id, self.ledger.reserve(cost), rounds));
                }
            }
            self.waiting.pop_front();
        }
        for (id, place, left) in &mut self.running {
            *left -= 1;
            if *left == 0 {
                self.ledger.release(*place);
                self.ended.push(*id);
                // What it computed goes to the prompt cache.
                self.cached += 7;
            }
        }
        self.running.retain(|(_, _, left)| *left > 0);
    }
}

proptest! {
    #[test]
    fn the_budget_holds_and_nobody_starves(
        budget in 10_u64..200,
        requests in prop::collection::vec((0_u64..150, 0_u64..80, 1_u32..6, 0_usize..3), 1..60),
        batched: bool,
    ) {
        let sharing = if batched { Sharing::Calls { floor: 15, room: 1 } } else { Sharing::Turns };
        let ledger = Ledger::new(Some(budget), 9, sharing);
        let mut model = Model {
            ledger, waiting: VecDeque::new(), running: Vec::new(), cached: 0,
            ended: Vec::new(), taken: Vec::new(), refused: 0,
        };
        let total = requests.len();
        let mut arriving: VecDeque<_> = requests.into_iter().enumerate().collect();
        let mut rounds = 0;
        while model.ended.len() + model.refused < total {
            if let Some((id, (held, turn, rounds, pause))) = arriving.pop_front() {
                model.waiting.push_back((id, cost(held, turn), rounds));
                for _ in 0..pause {
                    model.round();
                }
            }
            model.round();
            prop_assert!(model.ledger.reserved() <= budget);
            rounds += 1;
            prop_assert!(rounds <= 6 * total + 6, "nothing moves any more");
        }
        prop_assert!(model.taken.is_sorted(), "nobody is overtaken");
        prop_assert_eq!(model.ledger.reserved(), 9);
    }
}

#[test]
fn an_adapter_has_to_fit_beside_what_runs() {
    let mut ledger = Ledger::new(Some(100), 10, Sharing::Turns);
    ledger.reserve(cost(30, 20));
    assert_eq!(ledger.judge_resident(40, 0), Ok(0));
    assert_eq!(ledger.judge_resident(30, 25), Ok(15), "the cache goes first");
    let shortage = ledger.judge_resident(41, 0).unwrap_err();
    assert_eq!((shortage.resident, shortage.request, shortage.budget), (60, 41, 100));
    assert!(shortage.to_string().contains("this adapter takes 41 B beside 60 B"), "{shortage}");
    assert!(shortage.is_passing() && ledger.judge_resident(90, 0).unwrap_err().is_passing());
    let never = ledger.judge_resident(91, 0).unwrap_err();
    assert!(!never.is_passing() && never.resident == 10, "{never}");
    assert_eq!(Ledger::new(None, 10, Sharing::Turns).judge_resident(u64::MAX, 5), Ok(0));
}
