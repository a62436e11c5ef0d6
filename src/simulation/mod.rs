//! The real engine in an imagined world: virtual time, a database in memory, telephones that misbehave, people who change
//! their minds, and up to three replicas, each of which is killed, stopped or drained between any two steps.
//!
//! One seed is one run, the same on every machine. After each step the promises are checked from outside. A failure
//! prints its seed and the last lines of its trace: `OUTDIAL_SIM_SEED=7` replays that seed alone, with every line;
//! `OUTDIAL_SIM_SEEDS=5000` plays more of them.

mod clock;
mod judge;
mod past;
mod people;
mod process;
mod replica;
mod run;
mod scenario;
mod step;
mod takeover;
mod telephone;
mod timeline;
pub(crate) mod trace;
mod world;

use crate::port::mutation::Mutation;

use run::{Report, play};
use scenario::Scenario;
use world::Stats;

/// Seeds in an ordinary test run.
const SEEDS: u64 = 1_000;
/// Parts that run side by side.
const PARTS: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("the variable holds a number"))
}

/// Plays one part of the seeds; shows the first that breaks a promise, and names the others.
fn play_part(part: u64) {
    if let Some(seed) = number("OUTDIAL_SIM_SEED") {
        if seed % PARTS == part {
            let report = play(seed, true);
            println!("{}", report.trace);
            assert!(report.violations.is_empty(), "seed {seed} breaks promises: {:#?}", report.violations);
        }
        return;
    }
    let seeds = number("OUTDIAL_SIM_SEEDS").unwrap_or(SEEDS);
    let began = std::time::Instant::now();
    let (sum, broken) = play_side_by_side((part..seeds).step_by(PARTS as usize).collect(), seeds);
    println!("{:?}: {sum:#?}", began.elapsed());
    if let Some((seed, report)) = broken.first() {
        let others: Vec<_> = broken.iter().map(|(seed, report)| format!("{seed}: {}", report.violations[0])).collect();
        panic!(
            "seed {seed} breaks promises: {:#?}\n{}replay it with OUTDIAL_SIM_SEED={seed}; {} seeds fail:\n{}",
            report.violations,
            report.trace,
            broken.len(),
            others.join("\n"),
        );
    }
    assert!(
        seeds < SEEDS
            || (sum.calls > 1000
                && sum.kills > 100
                && sum.unknown > 50
                && sum.stops > 100
                && sum.takeovers > 200
                && sum.late > 20
                && sum.faults.get("clock: set wrong").is_some_and(|count| *count > 100)
                && sum.faults.get("database: attempts lost").is_some_and(|count| *count > 20)),
        "the runs are too tame: {sum:?}"
    );
}

/// Plays seeds: on one thread in an ordinary run, where other tests want the other cores, else on all of them.
fn play_side_by_side(seeds: Vec<u64>, of: u64) -> (Stats, Vec<(u64, Report)>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if of <= SEEDS { 1 } else { cores.div_ceil(PARTS as usize) };
    let seeds = &seeds;
    let play_every = |first: usize| {
        let mut sum = Stats::default();
        let mut broken = Vec::new();
        for seed in seeds.iter().skip(first).step_by(threads) {
            let mut report = play(*seed, false);
            sum += std::mem::take(&mut report.stats);
            if !report.violations.is_empty() {
                broken.push((*seed, report));
            }
        }
        (sum, broken)
    };
    if threads == 1 {
        return play_every(0);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || play_every(first))).collect();
        let mut all = (Stats::default(), Vec::new());
        for thread in running {
            let (sum, broken) = thread.join().expect("a run's panics are its violations");
            all.0 += sum;
            all.1.extend(broken);
        }
        all.1.sort_by_key(|(seed, _)| *seed);
        all
    })
}

#[test]
fn promises_hold_in_the_first_part() {
    play_part(0);
}

#[test]
fn promises_hold_in_the_second_part() {
    play_part(1);
}

#[test]
fn promises_hold_in_the_third_part() {
    play_part(2);
}

#[test]
fn promises_hold_in_the_fourth_part() {
    play_part(3);
}

#[test]
fn one_seed_has_one_trace() {
    for replicas in 1..=3 {
        let stopped = |seed: &u64| {
            let scenario = Scenario::of_seed(*seed);
            scenario.replicas == replicas && !scenario.stop_max.is_zero() && scenario.faults.late > 0.0
        };
        let seed = (0..).find(stopped).expect("one of many seeds does");
        let (first, second) = (play(seed, true), play(seed, true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// A simulation that finds nothing proves nothing: each mistake has to be found within so many seeds.
#[test]
fn mistakes_are_found() {
    const SEEDS: u64 = 1_000;
    for mutation in Mutation::ALL {
        let found = mutation.make(|| {
            (0..SEEDS).map(|seed| (seed, play(seed, false))).find(|(_, report)| !report.violations.is_empty())
        });
        let (seed, report) = found.unwrap_or_else(|| panic!("{mutation:?} is not found in {SEEDS} seeds"));
        println!("{mutation:?} is found by seed {seed}: {}", report.violations[0]);
    }
}
