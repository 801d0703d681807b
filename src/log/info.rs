//! What is known of a stream, and which streams there are, as of one view.
//!
//! A stream begins with its first envelope: whoever finishes that one notes its position and its time in the stream's
//! entry, before the mark (see `Directory::note_beginning`). So whoever sees the envelope sees the note, and the order of these
//! positions is the order in which streams were created. The note stays when the envelope is removed.

use super::batch::Target;
use super::directory::Entry;
use super::envelope::Envelope;
use super::handle::{Log, Stream};
use super::reclaim::Guard;
use super::view::View;
use crate::model::{Position, Revision, Timestamp};

/// A stream as of one view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The revision of its last envelope, removed or not.
    pub revision: Revision,
    /// How many of its envelopes have not been removed.
    pub messages: u64,
    /// The first of those.
    pub first: Option<Position>,
    /// The last of those.
    pub last: Option<Position>,
    /// The position of its first envelope, removed or not.
    pub created: Position,
    /// When its first envelope was recorded, by the log's clock; none when the log has no clock.
    pub created_at: Option<Timestamp>,
    /// When its last envelope was recorded; none when the log has no clock, or when that envelope has been removed.
    pub updated_at: Option<Timestamp>,
}

impl StreamInfo {
    /// For a backend to complete and report: a stream at a revision that began at a position.
    pub fn new(revision: Revision, created: Position) -> Self {
        Self { revision, messages: 0, first: None, last: None, created, created_at: None, updated_at: None }
    }
}

impl View {
    /// What is known of a stream; none when it had not been written.
    ///
    /// What retention has removed since is not counted. Where it has overtaken the view itself, the revision is that of the
    /// stream's last envelope among those removed.
    ///
    /// O(1), however many envelopes there are. What comes to it: for k envelopes of the stream after the end of the view,
    /// O(log k); and for k of them that have been removed since anybody last asked about the stream, O(log k) once, for
    /// whoever asks next. (Of those, the ones do not count whose memory has been returned, but for one block of up to 4,096 of
    /// the stream's index.) So asking about the present takes, over all calls, O(1) each. Nothing is allocated. Lock-free:
    /// begins again only when envelopes were removed meanwhile.
    ///
    /// Of a log on disk, none as well when that cannot be read.
    pub fn stream_info<'s>(&self, stream: impl Into<Target<'s>>) -> Option<StreamInfo> {
        let entry = stream.into().entry(self.log()).ok()??;
        // SAFETY: entries live as long as the log.
        let entry = unsafe { entry.as_ref() };
        let created = entry.created().filter(|created| *created <= self.end())?;
        let guard = self.log().core().pin();
        loop {
            if let Some(info) = self.info_of(entry, created, &guard) {
                return Some(info);
            }
        }
    }

    /// None when what was looked for has been removed meanwhile: then the floor is higher now.
    fn info_of(&self, entry: &Entry, created: Position, guard: &Guard) -> Option<StreamInfo> {
        let core = self.log().core();
        if core.backing().is_some() {
            return Some(self.info_from_backing(entry, created, guard));
        }
        let end = self.end().get().max(core.first());
        let count = core.count_of(entry, end, guard);
        // Before the floor, so that it is none of a later one.
        let known = entry.removed.known();
        let floor = core.first();
        if floor > end {
            // What was counted may have been gone.
            return None;
        }
        let position = |revision| {
            let mut position = [0];
            (entry.index.copy(revision, &mut position, guard) == 1).then_some(Position::new(position[0]))
        };
        let untouched = created.get() > floor;
        let removed = if untouched { 0 } else { entry.removed.count(&entry.index, floor, known, guard) };
        let messages = count.saturating_sub(removed);
        let (mut first, mut last, mut updated_at) = (None, None, None);
        if messages > 0 {
            let at = position(count - 1)?;
            first = Some(if untouched { created } else { position(removed)? });
            last = Some(at);
            updated_at = core.segment_of(at.get() - 1, guard)?.record(at.get() - 1).time();
        }
        let revision = Revision::new(count - 1);
        let created_at = core.config.shape.time().then(|| entry.created_at());
        Some(StreamInfo { revision, messages, first, last, created, created_at, updated_at })
    }

    /// Where not everything is in memory, the first envelope and the last are read.
    #[cold]
    fn info_from_backing(&self, entry: &Entry, created: Position, guard: &Guard) -> StreamInfo {
        let core = self.log().core();
        let oldest = core.first();
        let count = core.count_of(entry, self.end().get().max(oldest), guard);
        let messages = count.saturating_sub(core.count_of(entry, oldest, guard));
        let first = self.read_stream(entry.name()).first(1).iter().next();
        let last = self.read_stream(entry.name()).backwards().first(1).iter().next();
        StreamInfo {
            revision: Revision::new(count.saturating_sub(1)),
            messages,
            first: first.map(|first| first.position()),
            last: last.as_ref().map(Envelope::position),
            created,
            created_at: core.config.shape.time().then(|| entry.created_at()),
            updated_at: last.and_then(|last| last.time()),
        }
    }

    /// The streams that had been written, in the order of their first envelopes, those included whose envelopes have been
    /// removed.
    ///
    /// Goes through the n streams that the log knows, and sorts: O(n log n) steps, and a handle allocated for each. Never
    /// waits for anybody; memory that others remove meanwhile is returned when the streams have been gone through.
    pub fn streams(&self) -> Vec<Stream> {
        let mut written = Vec::new();
        let core = self.log().core();
        self.log().recall_streams();
        core.directory.visit(&core.pin(), |entry| {
            // SAFETY: entries live as long as the log.
            match unsafe { entry.as_ref() }.created() {
                Some(created) if created <= self.end() => written.push((created, entry)),
                _ => {}
            }
        });
        written.sort_unstable_by_key(|(created, _)| *created);
        // SAFETY: entries of this log's directory.
        written.into_iter().map(|(_, entry)| unsafe { Stream::new(self.log().clone(), entry) }).collect()
    }
}

impl Log {
    /// What is known of a stream, as of now: [`View::stream_info`].
    pub fn stream_info<'s>(&self, stream: impl Into<Target<'s>>) -> Option<StreamInfo> {
        self.view().stream_info(stream)
    }

    /// How many streams have been written, those included whose envelopes have been removed. Wait-free. A stream whose first
    /// append has not returned may be counted already.
    pub fn written_streams(&self) -> u64 {
        let core = self.core();
        core.directory.written() + core.backing().map_or(0, super::backing::Backing::stream_count)
    }

    /// The streams that have been written, in the order of their first envelopes: [`View::streams`].
    pub fn streams(&self) -> Vec<Stream> {
        self.view().streams()
    }
}
