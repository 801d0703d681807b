//! Where files are. What the log needs of a file system, and nothing else; so it can be a directory, memory, or something that
//! fails on purpose.

use std::io;

/// A place with files, by name. What is written may be lost by a power cut until it is synced: the content of a file until
/// [`StoredFile::sync`], that a file is there, or is there no more, until [`Storage::sync`].
pub trait Storage: Send + Sync + 'static {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Those of the system.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) when it is not there.
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when it is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;

    /// Gives a file another name, in place of what has it.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) when it is not there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What was created, renamed and removed before stays so.
    ///
    /// # Errors
    /// Those of the system.
    fn sync(&self) -> io::Result<()>;

    /// Keeps others from writing, until what it returns is dropped; a text that says who holds it when somebody does.
    ///
    /// # Errors
    /// Those of the system.
    fn lock(&self) -> io::Result<Result<Box<dyn Send + Sync>, String>>;

    /// What it is called in messages.
    fn name(&self) -> String;
}

/// A file that may be used from several threads at once.
pub trait StoredFile: Send + Sync + 'static {
    /// Reads up to `to.len()` bytes from `offset` on; how many. 0 only at the end.
    ///
    /// # Errors
    /// Those of the system.
    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `from` at `offset`.
    ///
    /// # Errors
    /// Those of the system; then any part of it may have been written.
    fn write(&self, from: &[u8], offset: u64) -> io::Result<()>;

    /// How long it is.
    ///
    /// # Errors
    /// Those of the system.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// Those of the system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes it longer, by zeros, or shorter.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// What was written before stays written, with the length it needs to be read. (`fdatasync`)
    ///
    /// # Errors
    /// Those of the system. After one, nothing written since the last success can be relied on, ever: the log stops.
    fn sync(&self) -> io::Result<()>;

    /// The same, and the file has the length that was [set](Self::set_len). (`fsync`)
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    fn sync_all(&self) -> io::Result<()>;
}

/// Reads all of `to`.
pub(crate) fn read_exact(file: &dyn StoredFile, mut to: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !to.is_empty() {
        let read = file.read(to, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
        to = &mut to[read..];
    }
    Ok(())
}
