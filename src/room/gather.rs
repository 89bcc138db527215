//! Ephemeral inputs on their way to a room. They are shown at the next tick anyway, so they wait for it here: a room
//! that woke up for each pointer would do little else.

use parking_lot::Mutex;

use super::Input;

/// Ephemeral inputs of one room, in the order they came.
pub(super) struct Gathered {
    inputs: Mutex<Vec<Input>>,
    inputs_max: usize,
}

/// What became of an input.
#[derive(Debug)]
pub(super) enum Put {
    /// It is the first: the room must be told that there is something for the tick.
    First,
    /// It waits behind others.
    Behind,
    /// There is no place: it takes the way of all inputs, which waits for one.
    Full(Input),
}

impl Gathered {
    /// Nothing yet, and so many inputs at most.
    pub(super) fn new(inputs_max: usize) -> Self {
        Self {
            inputs: Mutex::default(),
            inputs_max,
        }
    }

    /// Lets an input wait for the tick.
    pub(super) fn put(&self, input: Input) -> Put {
        let mut inputs = self.inputs.lock();
        if inputs.len() >= self.inputs_max {
            return Put::Full(input);
        }
        inputs.push(input);
        if inputs.len() == 1 { Put::First } else { Put::Behind }
    }

    /// All that waits.
    pub(super) fn take(&self) -> Vec<Input> {
        std::mem::take(&mut *self.inputs.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::SessionId;

    #[test]
    fn the_first_is_told_and_the_last_is_given_back() {
        let gathered = Gathered::new(2);
        let put = |number| gathered.put(Input::Leave(SessionId(number)));
        assert!(matches!(put(1), Put::First));
        assert!(matches!(put(2), Put::Behind));
        assert!(matches!(put(3), Put::Full(Input::Leave(SessionId(3)))));
        assert_eq!(gathered.take().len(), 2);
        assert!(matches!(put(4), Put::First));
    }
}
