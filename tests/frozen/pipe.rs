//! A pipe from a process that does a job to the one that asked for it.

pub struct Pipe {
    read: i32,
    write: i32,
}

impl Pipe {
    pub fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: room for two numbers.
        let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
        assert_eq!(result, 0, "a pipe can be made");
        Self { read: ends[0], write: ends[1] }
    }

    /// This process will only read.
    pub fn keep_reading_end(&mut self) {
        close(&mut self.write);
    }

    /// Writes a value, all of it at once.
    pub fn send<T: Copy>(&self, value: T) {
        const { assert!(size_of::<T>() <= 512, "smaller than what a pipe takes at once") };
        // SAFETY: the value is there; the other end reads the same type in the same program.
        unsafe { libc::write(self.write, (&raw const value).cast(), size_of::<T>()) };
    }

    /// Waits for a value; none when nobody can write any more.
    pub fn receive<T: Copy>(&self) -> Option<T> {
        let mut value = std::mem::MaybeUninit::<T>::uninit();
        // SAFETY: room for a value.
        let read = unsafe { libc::read(self.read, value.as_mut_ptr().cast(), size_of::<T>()) };
        // SAFETY: all of it was written by `send`.
        (usize::try_from(read) == Ok(size_of::<T>())).then(|| unsafe { value.assume_init() })
    }

    /// To wait for several pipes at once.
    pub fn descriptor(&self) -> i32 {
        self.read
    }
}

fn close(end: &mut i32) {
    if *end >= 0 {
        // SAFETY: opened by us, closed once.
        unsafe { libc::close(*end) };
        *end = -1;
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        close(&mut self.read);
        close(&mut self.write);
    }
}
