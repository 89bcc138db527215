//! What one session shows on our own door: the newest state of each kind, and strokes in the making.

use crate::protocol::element::Value;
use crate::protocol::ids::{GestureId, Timestamp};
use crate::protocol::{Ephemeral, EphemeralState};

use super::{Person, PresenceError, PresenceLimits};

/// What belongs to a gesture and brings no news for so long has lost its author.
const GESTURE_TIMEOUT_MS: u64 = 5_000;
/// Longest name of a kind, as the schema has it.
const KIND_BYTES_MAX: usize = 32;
/// Frames of strokes one session may add between two ticks; a client sends 20 a second.
pub(super) const STROKE_FRAMES_TICK_MAX: usize = 32;
/// The same for a session of another node, whose ticks may come in bunches.
pub(super) const STROKE_FRAMES_ELSEWHERE_MAX: usize = 8 * STROKE_FRAMES_TICK_MAX;
/// Rough cost of one value beside its text or bytes.
const VALUE_BYTES: usize = 32;

/// All that one session shows.
#[derive(Default)]
pub(super) struct Shown {
    states: Vec<State>,
    strokes: Vec<Stroke>,
    /// The stroke that was added to last: frames that name none go on with it.
    drawn: Option<GestureId>,
}

/// The newest of one kind. `Null` data: it has ended and others are still to hear of it.
struct State {
    kind: String,
    gesture: Option<GestureId>,
    data: Value,
    at: Timestamp,
    is_changed: bool,
}

/// A stroke in the making.
struct Stroke {
    gesture: GestureId,
    frames: Vec<Value>,
    /// Frames that have gone out; the rest waits for the tick.
    sent: usize,
    kept_bytes: usize,
    /// Too long to be kept whole: what comes now goes out, and is forgotten.
    is_full: bool,
    has_ended: bool,
    at: Timestamp,
}

impl Shown {
    /// Takes a frame.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        frame: Ephemeral,
        limits: &PresenceLimits,
        frames_max: usize,
    ) -> Result<(), PresenceError> {
        if matches!(frame.kind.as_str(), "join" | "leave" | "awareness") || frame.kind.len() > KIND_BYTES_MAX {
            return Err(PresenceError::BadKind);
        }
        let size_bytes = value_bytes(&frame.data);
        let max_bytes = limits.entry_bytes_max;
        if size_bytes > max_bytes {
            return Err(PresenceError::TooLarge { size_bytes, max_bytes });
        }
        if frame.kind == "stroke" {
            self.add_to_stroke(now, frame, size_bytes, limits, frames_max)
        } else {
            self.set(now, frame, limits)
        }
    }

    fn set(&mut self, now: Timestamp, frame: Ephemeral, limits: &PresenceLimits) -> Result<(), PresenceError> {
        let Ephemeral { kind, gesture, data } = frame;
        if let Some(state) = self.states.iter_mut().find(|state| state.kind == kind) {
            (state.gesture, state.data, state.at, state.is_changed) = (gesture, data, now, true);
        } else if data == Value::Null {
            // Nothing was shown, so nothing ends.
        } else if self.states.len() >= limits.kinds_session_max {
            let max = limits.kinds_session_max;
            return Err(PresenceError::TooManyKinds { max });
        } else {
            self.states.push(State {
                kind,
                gesture,
                data,
                at: now,
                is_changed: true,
            });
        }
        Ok(())
    }

    fn add_to_stroke(
        &mut self,
        now: Timestamp,
        frame: Ephemeral,
        size_bytes: usize,
        limits: &PresenceLimits,
        frames_max: usize,
    ) -> Result<(), PresenceError> {
        let goes_on = self
            .drawn
            .filter(|drawn| self.strokes.iter().any(|stroke| stroke.gesture == *drawn));
        let gesture = frame.gesture.or(goes_on).ok_or(PresenceError::NoGesture)?;
        let waiting: usize = self
            .strokes
            .iter()
            .map(|stroke| stroke.frames.len() - stroke.sent)
            .sum();
        let kept_bytes: usize = self.strokes.iter().map(|stroke| stroke.kept_bytes).sum();
        let count = self.strokes.len();
        let known = self.strokes.iter_mut().find(|stroke| stroke.gesture == gesture);
        if frame.data == Value::Null {
            if let Some(stroke) = known {
                stroke.has_ended = true;
            }
            return Ok(());
        }
        if waiting >= frames_max {
            return Err(PresenceError::TooFast);
        }
        let stroke = match known {
            Some(stroke) => stroke,
            None if count >= limits.strokes_session_max => {
                let max = limits.strokes_session_max;
                return Err(PresenceError::TooManyStrokes { max });
            }
            None => {
                self.strokes.push(Stroke::new(gesture));
                &mut self.strokes[count]
            }
        };
        self.drawn = Some(gesture);
        stroke.at = now;
        stroke.has_ended = false;
        stroke.is_full |= kept_bytes + size_bytes > limits.stroke_bytes_max;
        if !stroke.is_full {
            stroke.kept_bytes += size_bytes;
        }
        stroke.frames.push(frame.data);
        Ok(())
    }

    /// The gesture is on the board: whoever sees the record knows that what was shown of it is over.
    pub(super) fn committed(&mut self, gesture: GestureId) {
        self.states.retain(|state| state.gesture != Some(gesture));
        self.strokes.retain(|stroke| stroke.gesture != gesture);
    }

    /// Ends what belongs to gestures without news; `true` if there was any.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let is_old = |at: Timestamp| now.0.abs_diff(at.0) >= GESTURE_TIMEOUT_MS;
        let mut has_expired = false;
        for state in &mut self.states {
            if state.gesture.is_some() && is_old(state.at) {
                (state.data, state.is_changed) = (Value::Null, true);
                has_expired = true;
            }
        }
        for stroke in self.strokes.iter_mut().filter(|stroke| is_old(stroke.at)) {
            stroke.has_ended = true;
            has_expired = true;
        }
        has_expired
    }

    /// Hands out what changed since the last time.
    pub(super) fn flush(&mut self, person: &Person, out: &mut Vec<EphemeralState>) {
        for state in self.states.iter_mut().filter(|state| state.is_changed) {
            state.is_changed = false;
            out.push(person.shows(&state.kind, state.gesture, state.data.clone()));
        }
        self.states.retain(|state| state.data != Value::Null);
        for stroke in &mut self.strokes {
            let news = stroke.frames[stroke.sent..].iter();
            out.extend(news.map(|data| person.shows("stroke", Some(stroke.gesture), data.clone())));
            if stroke.is_full {
                stroke.frames.truncate(stroke.sent);
            }
            stroke.sent = stroke.frames.len();
            if stroke.has_ended {
                out.push(person.shows("stroke", Some(stroke.gesture), Value::Null));
            }
        }
        self.strokes.retain(|stroke| !stroke.has_ended);
    }

    /// Hands out all there is, for one who will hear every tick from now on.
    pub(super) fn snapshot(&self, person: &Person, out: &mut Vec<EphemeralState>) {
        self.rest(person, out);
        for stroke in &self.strokes {
            // Without what waits for the tick: the newcomer would get those points twice.
            let sent = stroke.frames[..stroke.sent].iter();
            out.extend(sent.map(|data| person.shows("stroke", Some(stroke.gesture), data.clone())));
        }
    }

    /// Hands out all but strokes.
    pub(super) fn rest(&self, person: &Person, out: &mut Vec<EphemeralState>) {
        for state in self.states.iter().filter(|state| state.data != Value::Null) {
            out.push(person.shows(&state.kind, state.gesture, state.data.clone()));
        }
    }

    /// Whether this is what is shown already.
    pub(super) fn has(&self, shown: &EphemeralState) -> bool {
        let mut states = self.states.iter();
        states.any(|state| state.kind == shown.kind && state.gesture == shown.gesture && state.data == shown.data)
    }

    /// Whether something of this stroke is shown.
    pub(super) fn has_stroke(&self, gesture: GestureId) -> bool {
        self.strokes.iter().any(|stroke| stroke.gesture == gesture)
    }
}

impl Stroke {
    fn new(gesture: GestureId) -> Self {
        Self {
            gesture,
            frames: Vec::new(),
            sent: 0,
            kept_bytes: 0,
            is_full: false,
            has_ended: false,
            at: Timestamp::default(),
        }
    }
}

/// Roughly what a value takes in memory.
pub(super) fn value_bytes(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Array(items) => items.iter().map(value_bytes).sum(),
            Value::Map(map) => map.iter().map(|(key, value)| key.len() + value_bytes(value)).sum(),
        }
}
