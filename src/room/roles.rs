//! What the sessions of a room may do now: roles that change, and boards that take no edits for a while.

use super::session::Door;
use super::{Effect, Room, yjs};
use crate::protocol::ServerFrame;
use crate::protocol::close::CloseCode;
use crate::protocol::codec;
use crate::protocol::ids::{Role, SessionId, UserId};

/// Why a board takes no edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnly {
    /// Its room failed again and again.
    Failing,
    /// The log takes no records.
    Log,
}

impl ReadOnly {
    /// The reason in fixed words.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Failing => "the board failed several times and is read-only until the server starts again",
            Self::Log => "the server cannot save now: the board is read-only until it can",
        }
    }
}

/// What somebody is told who came while the log did not answer.
const NOT_LEVEL: &str = "the server cannot look for the newest edits now: the board is read-only for you until it can";

/// What others are told: who has another role, and whose board takes edits again.
const CHANGED: &str = "a teacher changed it";
const OVER: &str = "the board takes edits again";

impl Room {
    pub(super) fn grant(&mut self, user: &UserId, role: Option<Role>, effects: &mut Vec<Effect>) {
        let theirs: Vec<_> = self
            .sessions
            .iter_mut()
            .filter(|(_, session)| session.user == *user && Some(session.role) != role)
            .map(|(id, session)| {
                // What the session has sent already is judged by this, even if its socket is about to end.
                let before = std::mem::replace(&mut session.role, role.unwrap_or(Role::Viewer));
                (*id, before < Role::Editor)
            })
            .collect();
        for (id, could_only_look) in theirs {
            let Some(role) = role else {
                effects.push(Effect::Close(id, CloseCode::Forbidden));
                continue;
            };
            if could_only_look && role >= Role::Editor && self.read_only.is_none() {
                self.ask_for_missed(id, effects);
            }
            self.tell_role(id, CHANGED, effects);
        }
    }

    /// Asks a Yjs client for what its document took while nothing of it was read.
    fn ask_for_missed(&self, id: SessionId, effects: &mut Vec<Effect>) {
        if self
            .sessions
            .get(&id)
            .is_some_and(|session| session.door == Door::Yjs && session.is_level)
        {
            effects.push(Effect::Send(id, yjs::step1(&self.board.state_vector())));
        }
    }

    /// Why a session may only look, whatever its role, if that is so.
    pub(super) fn hindrance(&self, is_level: bool) -> Option<&'static str> {
        let read_only = self.read_only.map(ReadOnly::told);
        read_only.or((!is_level).then_some(NOT_LEVEL))
    }

    /// What somebody with this role may do now.
    pub(super) fn role_now(&self, role: Role, is_level: bool) -> Role {
        self.hindrance(is_level).map_or(role, |_| Role::Viewer)
    }

    pub(super) fn tell_role(&self, id: SessionId, why: &str, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get(&id)
            && let Door::Own { format, .. } = session.door
        {
            let frame = ServerFrame::Role {
                role: self.role_now(session.role, session.is_level),
                why: why.into(),
            };
            effects.push(Effect::Send(id, codec::encode_server(format, &frame)));
        }
    }

    pub(super) fn set_read_only(&mut self, why: Option<ReadOnly>, effects: &mut Vec<Effect>) {
        self.read_only = why;
        let editors = self.sessions.iter();
        let editors = editors.filter(|(_, session)| session.role >= Role::Editor && session.is_level);
        let editors: Vec<_> = editors.map(|(id, _)| *id).collect();
        for id in editors {
            if why.is_none() {
                self.ask_for_missed(id, effects);
            }
            self.tell_role(id, why.map_or(OVER, ReadOnly::told), effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients tell by it that the role comes back by itself., [R-39]
    #[test]
    fn what_passes_is_told_as_read_only() {
        let told = [ReadOnly::Failing.told(), ReadOnly::Log.told(), NOT_LEVEL];
        assert!(told.iter().all(|why| why.contains("read-only")), "{told:?}");
        assert!(![CHANGED, OVER].iter().any(|why| why.contains("read-only")));
    }
}
