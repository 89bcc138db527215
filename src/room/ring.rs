//! The frames of a room, shared by its sessions: written once, read by position.
//!
//! A session pulls what waits for it when its socket is writable, so memory is bounded by the ring and not by the
//! number of readers. Whoever falls behind the ring is brought level with one state difference: each frame knows the
//! clocks it advances, so the ring knows what a reader lacks without asking it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::protocol::close::CloseCode;
use crate::protocol::ids::SessionId;

/// Bytes the ring holds at most; frames of a large paste would otherwise fill it long before their number does.
const RING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The forms in which a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A y-protocols message.
    Yjs,
    /// MessagePack with updates.
    MsgPackUpdates,
    /// MessagePack with changes.
    MsgPackChanges,
    /// JSON with updates.
    JsonUpdates,
    /// JSON with changes.
    JsonChanges,
}

/// Number of forms.
pub const FORMS: usize = 5;

/// One frame, encoded once in each form that somebody in the room needs.
#[derive(Debug, Default)]
pub struct Frame {
    /// The session that need not hear it.
    pub except: Option<SessionId>,
    /// Bytes by [`Form`].
    pub bytes: [Option<Bytes>; FORMS],
    /// Blocks it brings: `(client id, first clock, end clock)`.
    pub advances: Vec<(u64, u32, u32)>,
    /// Whether it may be left out for those who are behind: cursors are shed first.
    pub is_ephemeral: bool,
}

impl Frame {
    fn is_for(&self, session: SessionId, form: Form) -> bool {
        self.except != Some(session) && self.bytes[form as usize].is_some()
    }

    fn size(&self) -> usize {
        self.bytes.iter().flatten().map(Bytes::len).max().unwrap_or(0)
    }
}

/// What a reader lacks: client id -> first clock it has not got.
pub type Lacks = HashMap<u64, u32>;

/// What a pull came to.
#[derive(Debug, PartialEq)]
pub enum Pulled {
    /// Nothing waits.
    Empty,
    /// Frames were put into the buffer; more may wait.
    Frames,
    /// Frames were put into the buffer, and nothing else waits.
    All,
    /// The reader fell behind: the room must bring it level.
    Behind,
    /// The session is over.
    Close(CloseCode),
}

/// Tells the task of one socket that something may wait for it. One task listens, and that task alone.
#[derive(Default)]
pub struct Bell {
    is_rung: AtomicBool,
    has_begun: AtomicBool,
    over: OnceLock<CloseCode>,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready once for any number of rings.
    pub fn poll_rung(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_rung.load(Ordering::Acquire) {
            self.waker.register(context.waker());
        }
        // It may have been rung before the waker was there.
        if self.is_rung.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn end(&self, code: CloseCode) {
        self.over.get_or_init(|| code);
        self.is_rung.store(true, Ordering::Release);
        // It may have been rung before, and not looked at since.
        self.waker.wake();
    }

    /// Ready once the session is to end, also while what waits is not taken.
    pub fn poll_over(&self, context: &mut Context<'_>) -> Poll<CloseCode> {
        self.waker.register(context.waker());
        self.over.get().map_or(Poll::Pending, |code| Poll::Ready(*code))
    }

    /// Whether the room has taken the session in.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }
}

struct Reader {
    form: Form,
    position: u64,
    direct: VecDeque<Bytes>,
    /// Set once frames were lost to it.
    lacks: Option<Lacks>,
    /// It waits for the room to bring it level.
    is_waiting: bool,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    first: u64,
    bytes: usize,
    readers: HashMap<SessionId, Reader>,
    /// No reader stands before this frame.
    oldest: u64,
    /// Frames pushed since the readers were woken last.
    news: usize,
}

/// Frames of one room.
pub struct Ring {
    state: Mutex<State>,
    frames_max: usize,
    unsent_bytes_max: usize,
}

impl Ring {
    /// An empty ring with its ceilings, see `Limits`.
    pub fn new(frames_max: usize, unsent_bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            frames_max,
            unsent_bytes_max,
        }
    }

    /// A session comes; it is sent what is for it alone, and what is for all once it is level.
    pub fn join(&self, session: SessionId, form: Form) -> Arc<Bell> {
        let mut state = self.state.lock();
        let bell = Arc::new(Bell::default());
        let reader = Reader {
            form,
            position: state.head(),
            direct: VecDeque::new(),
            lacks: None,
            is_waiting: true,
            bell: Arc::clone(&bell),
        };
        state.readers.insert(session, reader);
        bell
    }

    /// The session reads all that is pushed from here on, once it has its difference: see [`Ring::level`].
    pub fn mark(&self, session: SessionId) {
        let mut state = self.state.lock();
        let head = state.head();
        if let Some(reader) = state.readers.get_mut(&session) {
            reader.position = head;
            reader.lacks = None;
            reader.is_waiting = true;
            reader.bell.has_begun.store(true, Ordering::Release);
        }
    }

    /// The session reads no more.
    pub fn leave(&self, session: SessionId) {
        self.state.lock().readers.remove(&session);
    }

    /// A frame for all.
    pub fn push(&self, frame: Frame) {
        let mut state = self.state.lock();
        state.bytes += frame.size();
        state.frames.push_back(frame);
        state.news += 1;
        while state.frames.len() > self.frames_max || state.bytes > RING_BYTES_MAX {
            state.drop_first();
        }
    }

    /// A frame for one; it comes before what waits in the ring.
    pub fn send(&self, session: SessionId, bytes: Bytes) {
        if let Some(reader) = self.state.lock().readers.get_mut(&session) {
            reader.direct.push_back(bytes);
            reader.bell.ring();
        }
    }

    /// Brings a reader level: `frames` hold all it lacked when it was marked. It reads on from there.
    pub fn level(&self, session: SessionId, frames: impl IntoIterator<Item = Bytes>) {
        if let Some(reader) = self.state.lock().readers.get_mut(&session) {
            reader.direct.extend(frames);
            reader.is_waiting = false;
            reader.bell.ring();
        }
    }

    /// Ends a session once it has read what was sent to it alone.
    pub fn close(&self, session: SessionId, code: CloseCode) {
        if let Some(reader) = self.state.lock().readers.get_mut(&session) {
            reader.bell.end(code);
        }
    }

    /// Frames pushed since the readers were woken last.
    pub fn news(&self) -> usize {
        self.state.lock().news
    }

    /// Wakes those for whom frames were pushed since the last call, and who have not read them meanwhile.
    pub fn wake(&self) {
        let mut guard = self.state.lock();
        let State {
            frames,
            first,
            readers,
            news,
            ..
        } = &mut *guard;
        if std::mem::take(news) == 0 {
            return;
        }
        let head = *first + frames.len() as u64;
        for (session, reader) in readers {
            let start = usize::try_from(reader.position - *first).expect("the ring is shorter than memory");
            let mut waiting = frames.range(start..);
            if reader.lacks.is_some() || waiting.any(|frame| frame.is_for(*session, reader.form)) {
                reader.bell.ring();
            } else {
                reader.position = head;
            }
        }
    }

    /// Moves what waits for the session into `buffer`, about `max_bytes` of it.
    pub fn pull(&self, session: SessionId, buffer: &mut Vec<Bytes>, max_bytes: usize) -> Pulled {
        let mut guard = self.state.lock();
        let State {
            frames, first, readers, ..
        } = &mut *guard;
        let Some(reader) = readers.get_mut(&session) else {
            return Pulled::Close(CloseCode::Done);
        };
        let mut size = 0;
        while let Some(bytes) = reader.direct.pop_front() {
            size += bytes.len();
            buffer.push(bytes);
            if size >= max_bytes {
                return Pulled::Frames;
            }
        }
        if let Some(code) = reader.bell.over.get() {
            return if buffer.is_empty() {
                Pulled::Close(*code)
            } else {
                Pulled::Frames
            };
        }
        if reader.is_waiting {
            return if buffer.is_empty() { Pulled::Empty } else { Pulled::All };
        }
        let start = usize::try_from(reader.position - *first).expect("the ring is shorter than memory");
        let waiting = frames.range(start..);
        let unsent: usize = waiting
            .clone()
            .filter_map(|frame| frame.bytes[reader.form as usize].as_ref())
            .map(Bytes::len)
            .sum();
        if reader.lacks.is_some() || unsent > self.unsent_bytes_max {
            reader.lacks.get_or_insert_default();
            reader.is_waiting = buffer.is_empty();
            return if reader.is_waiting {
                Pulled::Behind
            } else {
                Pulled::Frames
            };
        }
        for frame in waiting {
            reader.position += 1;
            if frame.except == Some(session) {
                continue;
            }
            if let Some(bytes) = &frame.bytes[reader.form as usize] {
                size += bytes.len();
                buffer.push(bytes.clone());
                if size >= max_bytes {
                    break;
                }
            }
        }
        if buffer.is_empty() {
            Pulled::Empty
        } else if size < max_bytes {
            Pulled::All
        } else {
            Pulled::Frames
        }
    }

    /// What a reader who is behind lacks of all that was pushed. Only the room, which pushes, can ask: what came between
    /// the question and [`Ring::mark`] would be lost.
    pub fn lacks(&self, session: SessionId) -> Lacks {
        let mut guard = self.state.lock();
        let State {
            frames, first, readers, ..
        } = &mut *guard;
        let Some(reader) = readers.get_mut(&session) else {
            return Lacks::default();
        };
        let start = usize::try_from(reader.position - *first).expect("the ring is shorter than memory");
        let mut lacks = reader.lacks.take().unwrap_or_default();
        frames.range(start..).for_each(|frame| note_lacks(&mut lacks, frame));
        lacks
    }

    /// Number of frames that wait for the slowest reader.
    pub fn depth(&self) -> usize {
        let state = self.state.lock();
        let slowest = state.readers.values().map(|reader| reader.position).min();
        slowest.map_or(0, |position| {
            usize::try_from(state.head() - position).unwrap_or(usize::MAX)
        })
    }
}

fn note_lacks(lacks: &mut Lacks, frame: &Frame) {
    for (client, from, _) in &frame.advances {
        lacks
            .entry(*client)
            .and_modify(|known| *known = (*known).min(*from))
            .or_insert(*from);
    }
}

impl State {
    fn head(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn drop_first(&mut self) {
        let Some(frame) = self.frames.pop_front() else { return };
        self.bytes -= frame.size();
        let dropped = self.first;
        self.first += 1;
        if self.oldest > dropped {
            return;
        }
        for reader in self.readers.values_mut().filter(|reader| reader.position <= dropped) {
            reader.position = dropped + 1;
            if !frame.is_ephemeral {
                note_lacks(reader.lacks.get_or_insert_default(), &frame);
            }
        }
        self.oldest = self
            .readers
            .values()
            .map(|reader| reader.position)
            .min()
            .unwrap_or(self.first + self.frames.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const READER: SessionId = SessionId(1);

    fn frame(number: u8, size: usize) -> Frame {
        let mut frame = Frame {
            advances: vec![(7, u32::from(number), u32::from(number) + 1)],
            ..Frame::default()
        };
        frame.bytes[Form::Yjs as usize] = Some(vec![number; size].into());
        frame
    }

    #[test]
    fn a_reader_gets_each_frame_once_and_in_order() {
        let ring = Ring::new(8, 1_000);
        ring.join(READER, Form::Yjs);
        ring.mark(READER);
        ring.level(READER, None);
        let mut got = Vec::new();
        for number in 0..20 {
            ring.push(frame(number, 10));
            if number % 3 == 0 {
                ring.pull(READER, &mut got, 1_000);
            }
        }
        ring.pull(READER, &mut got, 1_000);
        assert_eq!(
            got.iter().map(|bytes| bytes[0]).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_author_does_not_hear_its_own_frame() {
        let ring = Ring::new(8, 1_000);
        ring.join(READER, Form::Yjs);
        ring.mark(READER);
        ring.level(READER, None);
        ring.push(Frame {
            except: Some(READER),
            ..frame(1, 10)
        });
        assert_eq!(ring.pull(READER, &mut Vec::new(), 1_000), Pulled::Empty);
    }

    #[test]
    fn who_falls_behind_the_ring_is_told_what_it_lacks() {
        let ring = Ring::new(4, 1_000);
        ring.join(READER, Form::Yjs);
        ring.mark(READER);
        ring.level(READER, None);
        for number in 3..20 {
            ring.push(frame(number, 10));
        }
        assert_eq!(ring.pull(READER, &mut Vec::new(), 1_000), Pulled::Behind);
        // Before the room has heard of it, more comes, from somebody new among others.
        ring.push(Frame {
            advances: vec![(8, 0, 1)],
            ..frame(20, 10)
        });
        assert_eq!(ring.lacks(READER), [(7, 3), (8, 0)].into());
        ring.mark(READER);
        ring.level(READER, [Bytes::from_static(b"all")]);
        let mut got = Vec::new();
        ring.push(frame(20, 10));
        ring.pull(READER, &mut got, 1_000);
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn only_those_are_woken_for_whom_something_waits() {
        const OTHER: SessionId = SessionId(2);
        const QUICK: SessionId = SessionId(3);
        let ring = Ring::new(8, 1_000);
        let bells = [READER, OTHER, QUICK].map(|session| {
            let bell = ring.join(session, Form::Yjs);
            ring.mark(session);
            ring.level(session, None);
            bell
        });
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            bells.iter().all(|bell| bell.poll_rung(&mut context).is_ready()),
            "level"
        );
        ring.push(Frame {
            except: Some(READER),
            ..frame(1, 10)
        });
        // A frame of its own brought it here early, and it took along what waited.
        ring.pull(QUICK, &mut Vec::new(), 1_000);
        ring.wake();
        let woken = bells.each_ref().map(|bell| bell.poll_rung(&mut context).is_ready());
        assert_eq!(woken, [false, true, false]);
        // Once for any number of rings.
        assert!(bells[1].poll_rung(&mut context).is_pending());
    }

    #[test]
    fn an_end_wakes_a_reader_that_has_not_looked_since_it_was_woken_last() {
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let ring = Ring::new(8, 1_000);
        let bell = ring.join(READER, Form::Yjs);
        ring.send(READER, Bytes::from_static(b"large"));
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(bell.poll_over(&mut context).is_pending());
        ring.close(READER, CloseCode::Forbidden);
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(bell.poll_over(&mut context), Poll::Ready(CloseCode::Forbidden));
    }

    #[test]
    fn too_many_unsent_bytes_count_as_behind() {
        let ring = Ring::new(100, 50);
        ring.join(READER, Form::Yjs);
        ring.mark(READER);
        ring.level(READER, None);
        for number in 3..10 {
            ring.push(frame(number, 10));
        }
        assert_eq!(ring.pull(READER, &mut Vec::new(), 1_000), Pulled::Behind);
        assert_eq!(ring.lacks(READER), [(7, 3)].into());
    }
}
