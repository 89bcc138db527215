//! What happened in a room, for operators: metrics and lines of the audit.

use super::{Audit, Counter, Deed, Unshown};
use crate::protocol::ids::BoardId;
use crate::telemetry;

/// Writes down what somebody may have to answer for.
pub(super) fn note(board: &BoardId, audit: &Audit) {
    let Audit { user, deed, blocks } = audit;
    let (deed, fact) = match deed {
        Deed::Relayed => ("relayed", "Blocks of other users were handed over."),
        Deed::ForeignClient => ("foreign_client", "Blocks under client ids of others were refused."),
    };
    tracing::warn!(target: telemetry::AUDIT, { board.id = %board, user.id = %user, deed, ?blocks }, "{fact}");
    metrics::counter!(telemetry::AUDIT_RECORDS_TOTAL, "deed" => deed).increment(1);
}

/// Counts what happened.
pub(super) fn count(counter: Counter) {
    match counter {
        Counter::Edits => metrics::counter!(telemetry::EDITS_TOTAL).increment(1),
        Counter::Joined => metrics::counter!(telemetry::EDITS_JOINED_TOTAL).increment(1),
        Counter::Refusals(code) => {
            metrics::counter!(telemetry::REFUSALS_TOTAL, "code" => format!("{code:?}")).increment(1);
        }
        Counter::Repeats => metrics::counter!(telemetry::REPEATS_TOTAL).increment(1),
        Counter::ViewerEdits => metrics::counter!(telemetry::VIEWER_EDITS_TOTAL).increment(1),
        Counter::PutBacks => metrics::counter!(telemetry::PUT_BACKS_TOTAL).increment(1),
        Counter::Relays => metrics::counter!(telemetry::RELAYS_TOTAL).increment(1),
        Counter::Late => metrics::counter!(telemetry::LATE_MESSAGES_TOTAL).increment(1),
        Counter::AwarenessDrops => metrics::counter!(telemetry::AWARENESS_DROPS_TOTAL).increment(1),
        Counter::Levels => metrics::counter!(telemetry::LEVELS_TOTAL).increment(1),
        Counter::Unshown(why) => {
            let reason = match why {
                Unshown::Old => "old",
                Unshown::Unknown => "unknown_sender",
                Unshown::Refused => "refused",
            };
            metrics::counter!(telemetry::RELAY_DROPS_TOTAL, "feature" => "shown", "reason" => reason).increment(1);
        }
    }
}
