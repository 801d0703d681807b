//! Decisions tested without a store.

use std::fmt::Debug;

use super::aggregate::Aggregate;

/// An aggregate to which these events have happened: what a test begins with.
///
/// ```
/// use annals::sourcing::{Aggregate, Event, Recorded, given};
/// # use annals::{Name, Payload, store::BackendError};
/// # #[derive(Debug, PartialEq)]
/// # struct Withdrawn(u64);
/// # impl Event for Withdrawn {
/// #     fn name(&self) -> Name<'static> { Name::from_static("Withdrawn") }
/// #     fn encode(&self) -> Result<Payload<'_>, BackendError> { Ok(self.0.to_le_bytes().to_vec().into()) }
/// #     fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
/// #         Ok(Some(Self(u64::from_le_bytes(recorded.payload.try_into()?))))
/// #     }
/// # }
/// # #[derive(Clone, Default)]
/// # struct Account { overdraft: u64 }
/// # impl Aggregate for Account {
/// #     type Event = Withdrawn;
/// #     const CATEGORY: &'static str = "account";
/// #     fn apply(&mut self, event: &Withdrawn) { self.overdraft += event.0; }
/// # }
/// # impl Account {
/// #     fn withdraw(&self, cents: u64) -> Result<Vec<Withdrawn>, &'static str> {
/// #         if self.overdraft + cents > 500 { Err("not more than 5") } else { Ok(vec![Withdrawn(cents)]) }
/// #     }
/// # }
///
/// given::<Account>([]).when(|account| account.withdraw(300)).then([Withdrawn(300)]);
/// given::<Account>([Withdrawn(300)]).when(|account| account.withdraw(300)).then_refused(&"not more than 5");
/// ```
#[must_use = "nothing is tested until `then`"]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    events.into_iter().for_each(|event| state.apply(&event));
    Given { state }
}

/// What a test begins with.
#[derive(Clone, Debug)]
#[must_use = "nothing is tested until `then`"]
pub struct Given<A> {
    state: A,
}

impl<A: Aggregate> Given<A> {
    /// Decides.
    pub fn when<R, E: IntoIterator<Item = A::Event>>(self, decide: impl FnOnce(&A) -> Result<E, R>) -> When<A, R> {
        let decided = decide(&self.state).map(|events| events.into_iter().collect());
        When { state: self.state, decided }
    }

    /// The state that the events come to.
    pub fn state(&self) -> &A {
        &self.state
    }
}

/// What was decided.
#[derive(Clone, Debug)]
#[must_use = "nothing is tested until `then`"]
pub struct When<A: Aggregate, R> {
    state: A,
    decided: Result<Vec<A::Event>, R>,
}

impl<A: Aggregate<Event: Debug + PartialEq>, R: Debug> When<A, R> {
    /// These events, and no others. Each of them comes back as it is from the message that carries it. Returns the state that
    /// they lead to.
    ///
    /// # Panics
    /// When it is not so.
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> A {
        let expected: Vec<_> = events.into_iter().collect();
        let Ok(decided) = self.decided else { panic!("refused with {:?}, expected {expected:?}", self.decided) };
        assert_eq!(decided, expected, "what was decided (left) and what was expected (right)");
        let mut state = self.state;
        for event in &decided {
            assert_round_trip(event);
            state.apply(event);
        }
        state
    }

    /// Nothing is to be done.
    ///
    /// # Panics
    /// When it is not so.
    pub fn then_nothing(self) -> A {
        self.then([])
    }

    /// A refusal.
    ///
    /// # Panics
    /// When it is not so.
    pub fn then_refused(self, reason: &R)
    where
        R: PartialEq,
    {
        match self.decided {
            Ok(events) => panic!("decided {events:?}, expected to be refused with {reason:?}"),
            Err(refusal) => assert_eq!(refusal, *reason, "the refusal (left) and the one that was expected (right)"),
        }
    }
}

/// An event comes back from its message as it was.
fn assert_round_trip<E: super::Event + Debug + PartialEq>(event: &E) {
    let message = event.message().unwrap_or_else(|invalid| panic!("{invalid}"));
    let recorded = super::Recorded { name: message.name(), schema: event.schema(), payload: message.payload() };
    match E::decode(recorded) {
        Ok(Some(again)) => assert_eq!(again, *event, "what comes back (left) of what was recorded (right)"),
        Ok(None) => panic!("{event:?} is not known by its name {:?} when it comes back", message.name()),
        Err(error) => panic!("{event:?} does not come back: {error}"),
    }
}
