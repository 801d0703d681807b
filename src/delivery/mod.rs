//! Floor 3: who is told of what is appended.

mod deliver;
mod dispatcher;
mod door;
mod feed;
mod follower;
mod keyed;
mod member;
mod metrics;
mod outcome;
mod selection;
mod sequential;
mod set;
mod subscription;
mod telemetry;
mod waiting;

pub use feed::Feed;
pub use follower::{Followed, Follower, Items, NothingYet};
pub use metrics::{Metrics, SubscriptionMetrics};
pub use outcome::Outcome;
pub use sequential::OnFailure;
pub use subscription::{SubscribeError, Subscription, WaitError};
