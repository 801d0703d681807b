//! Floor 3: who is told of what is appended.
//!
//! # Three ways to be told
//!
//! | | called by | order | a slow one |
//! | --- | --- | --- | --- |
//! | [`observe`](crate::Log::observe) | each appending thread, for its own envelopes | none among threads | holds up its appender |
//! | [`subscribe`](crate::Log::subscribe) | one appending thread at a time, for all that is due | that of the log | holds up those who append, not the log |
//! | [`follow`](crate::Log::follow) | nobody: it asks | that of the log | holds up nobody |
//!
//! # Beginning
//!
//! A subscriber is counted in a word that every appender loads after its swap, and put into a copy-on-write [`set`], of the log
//! or of its stream ([`keyed`]). Then it *settles* where the log ends, as an appender would: from there on every append sees
//! the word, and the set with it. Whoever meets the subscriber in the set before its place is known settles for it. So the
//! place is exact, and nobody was held up: L9, L15. The past, when it is wanted, is
//! delivered by who subscribes, before it is put into the set.
//!
//! # A delivery
//!
//! An appender that sees the word loads the sets once (both at one instant, see `deliver`) and goes through the subscribers in
//! the order of their subscription: it calls observers, and sees to it that the cursor of each [`sequential`] one passes its
//! envelope. Those that another thread is delivering to come last, and are waited for. Then it returns: L11.
//!
//! What handlers append and publish is recorded at once, and delivered by the same thread after the envelope at hand: its
//! [turn](crate::sync::turn). Inside a handler nothing waits for a delivery: L12. A handler that panics or fails is a
//! [`Failure`](crate::Failure) of that one delivery: L13.
//!
//! # Ending
//!
//! A subscription leaves its set. Deliveries that loaded the set before go on with it; when the last of them is done, the
//! [`door`] opens, and [`close`](crate::Subscription::close) returns: L14.
//!
//! # What blocks
//!
//! To observe, follow, publish and subscribe is lock-free, as is to append when nobody has a sequential subscription. With one,
//! an append waits for whoever is delivering to it, unless it asks to be [stored](crate::AppendOptions::stored) only: then a
//! thread of the log's own delivers ([`dispatcher`]). A thread that is stopped inside a handler, or between two of its calls,
//! holds up those who wait for that subscription, and nobody else. (The first use of an arc-swap cell by a thread registers a
//! destructor with the C library, under a lock of that library's.)

mod bus;
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

pub use bus::{Bus, BusSubscription, Key, Published};
pub use feed::Feed;
pub use follower::{Followed, Follower, Items, NothingYet};
pub use metrics::{Metrics, SubscriptionMetrics};
pub use outcome::Outcome;
pub use sequential::OnFailure;
pub use subscription::{SubscribeError, Subscription, WaitError};

#[cfg(feature = "durable")]
pub(crate) use deliver::Delivery;
pub(crate) use outcome::message_of;
pub(crate) use waiting::{Place, Waiter, Waiters};
