//! One question at a time for each partition: where its leader does not answer, each question holds a thread for seconds,
//! and every board that is opened has one. An answer counts for all who came before its question began, and for no one
//! behind: what was acknowledged meanwhile would be missing.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use crate::log::LogError;

/// Offsets of the first record of a partition that is kept, and of the next one to come.
pub(super) type Answer = Result<(u64, u64), LogError>;
/// A clone is the same question.
pub(super) type Question = Shared<BoxFuture<'static, Answer>>;

/// The last question of each partition.
#[derive(Default)]
pub(super) struct Asking(Arc<Mutex<HashMap<i32, Asked>>>);

struct Asked {
    question: Question,
    has_begun: bool,
}

impl Asking {
    /// Asks once the question before has its answer, or waits for the one that is about to be asked.
    pub(super) fn ask(&self, partition: i32, question: impl Future<Output = Answer> + Send + 'static) -> Question {
        let mut asked = self.0.lock();
        let former = match asked.get(&partition) {
            Some(next) if !next.has_begun => return next.question.clone(),
            former => former.map(|former| former.question.clone()),
        };
        let all = Arc::clone(&self.0);
        let next = async move {
            if let Some(former) = former {
                // Its answer is too old for this one.
                _ = former.await;
            }
            if let Some(this) = all.lock().get_mut(&partition) {
                this.has_begun = true;
            }
            question.await
        };
        let question = next.boxed().shared();
        let next = Asked {
            question: question.clone(),
            has_begun: false,
        };
        asked.insert(partition, next);
        question
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_question_is_shared_by_those_who_came_before_it_began() {
        let asking = Asking::default();
        let question = || {
            let (tell, told) = oneshot::channel();
            (tell, async move {
                Ok::<_, LogError>(told.await.expect("the test tells it"))
            })
        };
        let ((tell_first, first), (tell_second, second)) = (question(), question());
        let mut first = Box::pin(asking.ask(0, first));
        assert!(first.as_mut().now_or_never().is_none(), "it has begun");
        let mut second = Box::pin(asking.ask(0, second));
        let mut third = Box::pin(asking.ask(0, async { Err(LogError::Closed) }));
        assert!(second.as_mut().now_or_never().is_none());
        // Who asked first may be gone: the others go on.
        drop(first);
        tell_first.send((0, 1)).unwrap();
        tell_second.send((0, 2)).unwrap();
        assert_eq!(third.as_mut().now_or_never().unwrap().unwrap(), (0, 2));
        assert_eq!(second.as_mut().now_or_never().unwrap().unwrap(), (0, 2));
        let elsewhere = asking.ask(1, async { Ok((3, 4)) });
        assert_eq!(elsewhere.now_or_never().unwrap().unwrap(), (3, 4));
    }
}
