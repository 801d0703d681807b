//! A cell inside whatever is freed while others may look at it. Nothing in production; under loom, an alarm.

#[cfg(not(loom))]
mod imp {
    /// Zero bytes, no code.
    #[derive(Debug)]
    pub(crate) struct Canary;

    #[allow(clippy::unused_self, reason = "under loom they look at the cell")]
    impl Canary {
        #[inline]
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn touch(&self) {}

        #[inline]
        pub(crate) fn change(&self) {}

        #[inline]
        pub(crate) fn die(&self) {}
    }
}

#[cfg(loom)]
mod imp {
    /// Alive until `die`. Loom reports a `touch` that is not ordered after `new` or not ordered before `die`; an ordered
    /// one after `die` panics here.
    #[derive(Debug)]
    pub(crate) struct Canary(crate::sync::UnsafeCell<bool>);

    impl Canary {
        pub(crate) fn new() -> Self {
            let canary = Self(crate::sync::UnsafeCell::new(true));
            canary.change();
            canary
        }

        /// The object is read.
        pub(crate) fn touch(&self) {
            // SAFETY: loom itself reports a write that races with this read.
            self.0.with(|alive| assert!(unsafe { *alive }, "used after it was freed"));
        }

        /// The object is written by its only owner.
        pub(crate) fn change(&self) {
            // SAFETY: loom itself reports any access that races with this write.
            self.0.with_mut(|alive| assert!(unsafe { *alive }, "written after it was freed"));
        }

        /// The object is freed.
        pub(crate) fn die(&self) {
            // SAFETY: loom itself reports any access that races with this write.
            self.0.with_mut(|alive| assert!(unsafe { alive.replace(false) }, "freed twice"));
        }
    }
}

pub(crate) use imp::Canary;
