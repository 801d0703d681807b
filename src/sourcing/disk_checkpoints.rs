//! Checkpoints in files beside a log on disk.

use super::checkpoints::{Checkpoint, Checkpoints, decode, encode};
use crate::durable::{Flaw, Journal};
use crate::log::Log;
use crate::store::BackendError;

/// Checkpoints in files beside those of a log on disk, one for each handler, replaced as a whole. They take no room in the log,
/// retention does not concern them, and a [backup](Log::backup) has them.
///
/// ```
/// use annals::sourcing::{Consistency, DiskCheckpoints, NewEvent, Service};
/// use annals::store::block_on;
/// use annals::{Envelope, Log, Message};
///
/// # let directory = std::env::temp_dir().join(format!("annals-doc-checkpoints-{}", std::process::id()));
/// let service = || {
///     let log = Log::open(&directory)?;
///     let checkpoints = DiskCheckpoints::beside(&log).expect("the log is on disk");
///     let handle = |envelope: Envelope| async move {
///         println!("{} {}", envelope.position(), envelope.name());
///         Ok::<_, std::io::Error>(())
///     };
///     let builder = Service::builder(log).handler("mail", ["Opened"], handle);
///     Ok::<_, Box<dyn std::error::Error>>(builder.checkpoints(checkpoints, 1).from_beginning().build()?)
/// };
/// let first = service()?;
/// let event = NewEvent::new("account-1", Message::event("Opened", "")?);
/// let sent = block_on(first.dispatch(event, Consistency::Strong))?;
/// block_on(first.close());
/// drop(first);
///
/// // Another process: the handler goes on after what it has handled.
/// let second = service()?;
/// block_on(second.start())?;
/// assert_eq!(second.status()[0].position, sent.position);
/// # block_on(second.close());
/// # drop(second);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A checkpoint is saved when the disk has everything up to its position: so after a crash none is beyond the end of the log.
/// Saving and loading block on the disk, also where they are awaited. A checkpoint that is damaged, or another log's, is an
/// [`OpenError`](crate::durable::OpenError) with the file's name, and the service does not start.
#[derive(Clone, Debug)]
pub struct DiskCheckpoints {
    /// On disk. As long as this is there, nobody else has the files.
    log: Log,
}

impl DiskCheckpoints {
    /// Beside the files of this log, which stays open as long as these are there; none when it is in memory alone.
    pub fn beside(log: &Log) -> Option<Self> {
        log.journal().map(|_| Self { log: log.clone() })
    }

    fn journal(&self) -> &Journal {
        self.log.journal().expect("a log on disk stays one")
    }
}

impl Checkpoints for DiskCheckpoints {
    async fn load(&self, handler: &str) -> Result<Option<Checkpoint>, BackendError> {
        let Some(bytes) = self.journal().note(handler)? else { return Ok(None) };
        let flaw = match decode(handler, &bytes) {
            Some(checkpoint) if checkpoint.position <= self.log.end() => return Ok(Some(checkpoint)),
            Some(_) => Flaw::Foreign,
            None => Flaw::Fields,
        };
        Err(Journal::misplaced_note(handler, flaw).into())
    }

    async fn save(&self, handler: &str, checkpoint: &Checkpoint) -> Result<(), BackendError> {
        let journal = self.journal();
        if journal.synced() < checkpoint.position {
            self.log.sync()?;
        }
        Ok(journal.keep_note(handler, &encode(checkpoint))?)
    }
}
