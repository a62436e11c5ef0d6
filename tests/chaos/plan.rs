//! What goes wrong, when, to whom and for how long: drawn from a seed before anything runs.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::fleet::REPLICAS;

/// What a link does to its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    Cut,
    Reset,
    BlackHole,
    /// Requests vanish.
    DeafServer,
    /// Answers vanish.
    MuteServer,
    Delay,
}

/// Whose links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    One,
    All,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, and a start.
    Kill,
    /// SIGTERM and a start, one replica after the other.
    RollingRestart,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// The server quits at once, and is started again.
    Crash,
    /// Every connection of the daemons is ended by the server.
    Terminate,
    /// Others use up the server's connections, or the role's are limited; no daemon keeps one.
    Exhaust,
    /// Nothing can be written.
    ReadOnly,
    /// Somebody holds the hot tables.
    Lock,
    Database(Harm, Whom),
    Provider(Harm, Whom),
}

const HARMS: [Harm; 6] = [Harm::Cut, Harm::Reset, Harm::BlackHole, Harm::DeafServer, Harm::MuteServer, Harm::Delay];

impl Kind {
    /// Every kind there is.
    pub fn all() -> Vec<Self> {
        let mut kinds = vec![
            Self::Kill,
            Self::RollingRestart,
            Self::Pause,
            Self::Crash,
            Self::Terminate,
            Self::Exhaust,
            Self::ReadOnly,
            Self::Lock,
        ];
        for harm in HARMS {
            kinds.extend([Whom::One, Whom::All].map(|whom| Self::Database(harm, whom)));
            kinds.extend([Whom::One, Whom::All].map(|whom| Self::Provider(harm, whom)));
        }
        kinds
    }

    /// The ones a short run has time for.
    pub fn important() -> Vec<Self> {
        vec![
            Self::Kill,
            Self::RollingRestart,
            Self::Pause,
            Self::Crash,
            Self::Terminate,
            Self::Exhaust,
            Self::ReadOnly,
            Self::Lock,
            Self::Database(Harm::Reset, Whom::All),
            Self::Database(Harm::BlackHole, Whom::One),
            Self::Database(Harm::MuteServer, Whom::One),
            Self::Provider(Harm::Reset, Whom::All),
            Self::Provider(Harm::BlackHole, Whom::One),
        ]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(harm, whom) => write!(f, "database {harm:?} {whom:?}"),
            Self::Provider(harm, whom) => write!(f, "provider {harm:?} {whom:?}"),
            kind @ (Self::Kill
            | Self::RollingRestart
            | Self::Pause
            | Self::Crash
            | Self::Terminate
            | Self::Exhaust
            | Self::ReadOnly
            | Self::Lock) => write!(f, "{kind:?}"),
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub kind: Kind,
    /// The replica it is about, where it is about one.
    pub replica: usize,
    pub lasts: Duration,
    /// How long all is well afterwards.
    pub rest: Duration,
    /// Decides between variants of a kind.
    pub coin: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, replica, lasts, rest, coin } = self;
        write!(f, "{kind} (replica {replica}, {lasts:?}, then {rest:?}, {})", if *coin { "heads" } else { "tails" })
    }
}

/// Every kind of `kinds` once in each round, in an order of its own.
pub fn draw(seed: u64, kinds: &[Kind], rounds: usize, lasts_ms_max: u64, rest_ms: Range<u64>) -> Vec<Step> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut steps = Vec::new();
    for _ in 0..rounds {
        let mut round = kinds.to_vec();
        round.shuffle(&mut chance);
        for kind in round {
            // A stop may be longer than a lease, and is shorter than the time after which a lost sender counts as gone.
            let longer = if kind == Kind::Pause { 4 } else { 1 };
            let millis = chance.random_range(300..lasts_ms_max) * longer;
            steps.push(Step {
                kind,
                replica: chance.random_range(0..REPLICAS.len()),
                lasts: Duration::from_millis(millis),
                rest: Duration::from_millis(chance.random_range(rest_ms.clone())),
                coin: chance.random(),
            });
        }
    }
    steps
}
