//! A value that is replaced as a whole: readers load it without waiting, writers copy it, change the copy, and swap.
//!
//! Reading is wait-free, writing lock-free: a writer loses its swap only to one that won. What a reader loaded stays as it
//! is, and allocated, until the reader drops it; the last one who drops a value that was replaced drops what is in it, after
//! everything that any reader did with it. In production this is arc-swap; under loom and shuttle a stand-in that promises
//! the same, and nothing stronger.

pub(crate) use imp::{CopyOnWrite, Loaded};

#[cfg(not(any(loom, annals_shuttle)))]
mod imp {
    use std::sync::Arc;

    use arc_swap::{ArcSwapOption, Guard};

    /// A cell that is empty, or has a value.
    pub(crate) struct CopyOnWrite<T>(ArcSwapOption<T>);

    /// What a reader loaded.
    pub(crate) struct Loaded<T>(Guard<Option<Arc<T>>>);

    impl<T> CopyOnWrite<T> {
        pub(crate) const fn new() -> Self {
            Self(ArcSwapOption::const_empty())
        }

        /// The value that is there now. Wait-free.
        #[inline]
        pub(crate) fn load(&self) -> Loaded<T> {
            Loaded(self.0.load())
        }

        /// Empties the cell. Lock-free.
        pub(crate) fn take(&self) -> Loaded<T> {
            Loaded(Guard::from_inner(self.0.swap(None)))
        }

        /// Replaces the value by what `next` makes of it: nothing to leave it, `Some(None)` to empty the cell. Whether it was
        /// replaced. Lock-free; `next` is asked again when others were faster.
        pub(crate) fn change(&self, mut next: impl FnMut(Option<&T>) -> Option<Option<T>>) -> bool {
            let mut seen = self.0.load();
            loop {
                let Some(value) = next(seen.as_deref()) else { return false };
                let there = self.0.compare_and_swap(&*seen, value.map(Arc::new));
                let same = match (&*there, &*seen) {
                    (None, None) => true,
                    (Some(there), Some(seen)) => Arc::ptr_eq(there, seen),
                    _ => false,
                };
                if same {
                    return true;
                }
                seen = there;
            }
        }
    }

    impl<T> Loaded<T> {
        /// No value.
        #[inline]
        pub(crate) fn none() -> Self {
            Self(Guard::from_inner(None))
        }

        #[inline]
        pub(crate) fn get(&self) -> Option<&T> {
            self.0.as_deref()
        }

        /// Whether both are one load of one value.
        pub(crate) fn is(&self, other: &Self) -> bool {
            std::ptr::eq(
                self.0.as_ref().map_or(std::ptr::null(), Arc::as_ptr),
                other.0.as_ref().map_or(std::ptr::null(), Arc::as_ptr),
            )
        }
    }
}

#[cfg(any(loom, annals_shuttle))]
mod imp {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use super::super::{AtomicU32, AtomicU64, Ordering};

    /// The number of the value that is there, and beside it the values by number. The mutex is not part of the model: it is
    /// never held where the checker may change threads.
    pub(crate) struct CopyOnWrite<T> {
        current: AtomicU64,
        values: Mutex<Values<T>>,
    }

    struct Values<T> {
        last: u64,
        by_number: HashMap<u64, Arc<Kept<T>>>,
    }

    struct Kept<T> {
        value: T,
        /// How often it was let go of. The last one who does comes after those before.
        left: AtomicU32,
    }

    pub(crate) struct Loaded<T>(u64, Option<Arc<Kept<T>>>);

    impl<T> CopyOnWrite<T> {
        pub(crate) fn new() -> Self {
            let values = Values { last: 0, by_number: HashMap::new() };
            Self { current: AtomicU64::new(0), values: Mutex::new(values) }
        }

        pub(crate) fn load(&self) -> Loaded<T> {
            // Acquire: pairs with the Release of whoever put the value there.
            if !cfg!(annals_rmw_loads)
                && let Some(loaded) = self.at(self.current.load(Ordering::Acquire))
            {
                return loaded;
            }
            // It has been replaced since: arc-swap, too, looks again. A read-modify-write sees the last value.
            let number = self.current.fetch_add(0, Ordering::Acquire);
            self.at(number).expect("the last value is there")
        }

        fn at(&self, number: u64) -> Option<Loaded<T>> {
            if number == 0 {
                return Some(Loaded(0, None));
            }
            let kept = self.values.lock().unwrap().by_number.get(&number).cloned();
            kept.map(|kept| Loaded(number, Some(kept)))
        }

        pub(crate) fn take(&self) -> Loaded<T> {
            // Acquire: the value is the caller's. Release: what the caller did comes before the next one's.
            let number = self.current.swap(0, Ordering::AcqRel);
            self.remove(number)
        }

        pub(crate) fn change(&self, mut next: impl FnMut(Option<&T>) -> Option<Option<T>>) -> bool {
            let mut seen = self.load();
            loop {
                let Some(value) = next(seen.get()) else { return false };
                let number = self.add(value);
                // Release: publishes the value. Acquire: pairs with it.
                match self.current.compare_exchange(seen.0, number, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(before) => {
                        drop(self.remove(before));
                        return true;
                    }
                    Err(_) => drop(self.remove(number)),
                }
                seen = self.load();
            }
        }

        fn add(&self, value: Option<T>) -> u64 {
            let Some(value) = value else { return 0 };
            let kept = Arc::new(Kept { value, left: AtomicU32::new(0) });
            let mut values = self.values.lock().unwrap();
            values.last += 1;
            let number = values.last;
            values.by_number.insert(number, kept);
            number
        }

        fn remove(&self, number: u64) -> Loaded<T> {
            Loaded(number, self.values.lock().unwrap().by_number.remove(&number))
        }
    }

    impl<T> Drop for CopyOnWrite<T> {
        fn drop(&mut self) {
            drop(self.take());
        }
    }

    impl<T> Loaded<T> {
        pub(crate) fn none() -> Self {
            Self(0, None)
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.1.as_deref().map(|kept| &kept.value)
        }

        pub(crate) fn is(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    impl<T> Drop for Loaded<T> {
        fn drop(&mut self) {
            let Some(kept) = self.1.take() else { return };
            // Release: pairs with the Acquire of the last one. No more: readers of one value are not in order.
            kept.left.fetch_add(1, Ordering::Release);
            if let Some(last) = Arc::into_inner(kept) {
                // Acquire: whatever others did comes before the drop.
                last.left.fetch_add(0, Ordering::Acquire);
            }
        }
    }
}
