//! The providers: a closed family, one file or folder each.

pub mod autocalls;
pub mod brand;
mod gate;
pub mod happyrobot;
mod http;
mod listing;
mod look;
mod quota;
mod reply;
mod report;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::domain::assistant::Assistant;
use crate::domain::id::{AccountName, ProviderCallId};
use crate::domain::report::{CallReport, Source, Undecodable};
use crate::port::allowance::RequestGuard;
use crate::port::metric;
use crate::port::permit::DialPermit;
use crate::port::provider::{
    Abilities, AccountStanding, CallPage, CallQuery, CancelError, PlaceReply, Provider, ReadError,
};

pub use autocalls::{Autocalls, AutocallsOptions};
pub use happyrobot::{HappyRobot, HappyRobotOptions};
pub use http::ClientError;

/// Any provider there is.
#[derive(Debug)]
pub enum AnyProvider {
    /// The Autocalls family: Famulor, Sondos AI and the other brands.
    Autocalls(Box<Autocalls>),
    /// HappyRobot, v1 and v2.
    HappyRobot(Box<HappyRobot>),
}

impl AnyProvider {
    fn account(&self) -> &AccountName {
        match self {
            Self::Autocalls(provider) => provider.account(),
            Self::HappyRobot(provider) => provider.account(),
        }
    }
}

fn itself(error: &ReadError) -> Option<&ReadError> {
    Some(error)
}

fn read_behind(error: &CancelError) -> Option<&ReadError> {
    match error {
        CancelError::Read(error) => Some(error),
        CancelError::NotSupported | CancelError::Refused { .. } => None,
    }
}

/// Measures how long the provider takes. What our own budget kept from being sent says nothing of the provider.
async fn timed<T, E>(
    account: &AccountName,
    operation: &str,
    answer: impl Future<Output = Result<T, E>>,
    read_error: impl Fn(&E) -> Option<&ReadError>,
) -> Result<T, E> {
    let began = Instant::now();
    let answer = answer.await;
    let unsent = |error: &ReadError| matches!(error, ReadError::Unavailable { reason } if reason == http::NOT_SENT);
    if !answer.as_ref().err().and_then(read_error).is_some_and(unsent) {
        let result = if answer.is_ok() { "ok" } else { "failed" };
        metric::PROVIDER_REQUESTS.record([account.as_str(), operation, result], began.elapsed().as_secs_f64());
    }
    answer
}

impl Provider for AnyProvider {
    fn attach(&self, guard: Arc<dyn RequestGuard>) {
        match self {
            Self::Autocalls(provider) => provider.attach(guard),
            Self::HappyRobot(provider) => provider.attach(guard),
        }
    }

    async fn place(&self, permit: DialPermit) -> PlaceReply {
        match self {
            Self::Autocalls(provider) => provider.place(permit).await,
            Self::HappyRobot(provider) => provider.place(permit).await,
        }
    }

    async fn read_call(&self, id: &ProviderCallId) -> Result<Bytes, ReadError> {
        let answer = async {
            match self {
                Self::Autocalls(provider) => provider.read_call(id).await,
                Self::HappyRobot(provider) => provider.read_call(id).await,
            }
        };
        timed(self.account(), "read", answer, itself).await
    }

    async fn list_calls(&self, query: &CallQuery) -> Result<CallPage, ReadError> {
        let answer = async {
            match self {
                Self::Autocalls(provider) => provider.list_calls(query).await,
                Self::HappyRobot(provider) => provider.list_calls(query).await,
            }
        };
        timed(self.account(), "list", answer, itself).await
    }

    async fn assistants(&self) -> Result<Vec<Assistant>, ReadError> {
        let answer = async {
            match self {
                Self::Autocalls(provider) => provider.assistants().await,
                Self::HappyRobot(provider) => provider.assistants().await,
            }
        };
        timed(self.account(), "assistants", answer, itself).await
    }

    async fn health(&self) -> Result<AccountStanding, ReadError> {
        let answer = async {
            match self {
                Self::Autocalls(provider) => provider.health().await,
                Self::HappyRobot(provider) => provider.health().await,
            }
        };
        timed(self.account(), "standing", answer, itself).await
    }

    async fn cancel(&self, id: &ProviderCallId) -> Result<(), CancelError> {
        let answer = async {
            match self {
                Self::Autocalls(provider) => provider.cancel(id).await,
                Self::HappyRobot(provider) => provider.cancel(id).await,
            }
        };
        timed(self.account(), "cancel", answer, read_behind).await
    }

    fn abilities(&self) -> Abilities {
        match self {
            Self::Autocalls(provider) => provider.abilities(),
            Self::HappyRobot(provider) => provider.abilities(),
        }
    }

    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        match self {
            Self::Autocalls(provider) => provider.decode(source, body),
            Self::HappyRobot(provider) => provider.decode(source, body),
        }
    }

    fn call_id(&self, body: &[u8]) -> Option<ProviderCallId> {
        match self {
            Self::Autocalls(provider) => provider.call_id(body),
            Self::HappyRobot(provider) => provider.call_id(body),
        }
    }
}
