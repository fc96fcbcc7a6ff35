//! Rows that came one by one, answered together: for engines that answer many rows in little more time than one.
//!
//! One task per version works through a bounded queue. A caller alone is answered at once: rows are only waited for while
//! several callers are about, at most [`Batching::wait`], and no longer than until as many are there as last time. Whoever
//! left is skipped, a row that breaks the batch breaks itself alone, and a full queue refuses at once.

use crate::error::{Error, Result};
use crate::pool::Pool;
use ombud_core::{Answer, Explanation, Frame, Row};
use ombud_engine::Model;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// When a caller who found the queue full may try again.
const RETRY_AFTER_MS: u64 = 500;

/// For which versions rows are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Where the engine gains from it; all others answer a row where it came.
    WhereItGains,
    /// Everywhere, also where it costs.
    Always,
}

/// How rows are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    pub gather: Gather,
    /// Rows answered together; with 1 nothing is gathered.
    pub rows_max: usize,
    /// How long the first row of a batch waits for others.
    pub wait: Duration,
    /// Rows of one version that may wait.
    pub waiting_max: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Batching {
            gather: Gather::WhereItGains,
            rows_max: 32,
            wait: Duration::from_millis(2),
            waiting_max: 1_024,
        }
    }
}

/// A row's answer, before it has words.
#[derive(Debug)]
pub(crate) struct Computed {
    pub row: Row,
    pub answer: Answer,
    pub explanation: Option<Explanation>,
}

/// The queue to one version.
#[derive(Debug)]
pub(crate) struct Batcher {
    queue: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    row: Row,
    explain: bool,
    reply: oneshot::Sender<Result<Computed>>,
}

impl Batching {
    /// Whether rows of a model are gathered.
    pub(crate) fn is_for(&self, model: &Model) -> bool {
        match self.gather {
            Gather::Always => self.rows_max > 1,
            Gather::WhereItGains => self.rows_max > 1 && model.gains_from_batches(),
        }
    }
}

impl Batcher {
    /// Starts the task; it ends when the version is dropped and everything in the queue is answered.
    pub fn start(model: Arc<Model>, pool: Arc<Pool>, how: Batching) -> Self {
        let (queue, waiting) = mpsc::channel(how.waiting_max.max(1));
        tokio::spawn(gather(waiting, model, pool, how));
        Batcher { queue }
    }

    /// Answers a row together with others.
    pub async fn ask(&self, row: Row, explain: bool) -> Result<Computed> {
        let answered = self.put(row, explain)?;
        answered.await.map_err(|_| Error::Interrupted)?
    }

    /// Puts a row into the queue.
    fn put(&self, row: Row, explain: bool) -> Result<oneshot::Receiver<Result<Computed>>> {
        let (reply, answered) = oneshot::channel();
        let question = Question {
            row,
            explain,
            reply,
        };
        self.queue.try_send(question).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy {
                retry_after_ms: RETRY_AFTER_MS,
            },
            mpsc::error::TrySendError::Closed(_) => Error::Interrupted,
        })?;
        Ok(answered)
    }
}

async fn gather(
    mut waiting: mpsc::Receiver<Question>,
    model: Arc<Model>,
    pool: Arc<Pool>,
    how: Batching,
) {
    let mut last = 1;
    while let Some(first) = waiting.recv().await {
        // What comes while no core is free joins this batch.
        let Ok(turn) = pool.turn().await else { return };
        let mut batch = vec![first];
        fill(&mut waiting, &mut batch, last, how).await;
        last = batch.len();
        batch.retain(|question| !question.reply.is_closed());
        let model = Arc::clone(&model);
        // Not awaited: on another core the next batch may be answered meanwhile.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            answer(&model, batch);
        });
    }
}

/// Takes what is there; waits for more only while fewer are there than came together last time.
async fn fill(
    waiting: &mut mpsc::Receiver<Question>,
    batch: &mut Vec<Question>,
    last: usize,
    how: Batching,
) {
    let until = Instant::now() + how.wait;
    while batch.len() < how.rows_max {
        if let Ok(question) = waiting.try_recv() {
            batch.push(question);
        } else if batch.len() < last {
            match timeout_at(until, waiting.recv()).await {
                Ok(Some(question)) => batch.push(question),
                Ok(None) | Err(_) => return,
            }
        } else {
            return;
        }
    }
}

fn answer(model: &Model, batch: Vec<Question>) {
    let answers = together(model, &batch);
    for (place, question) in batch.into_iter().enumerate() {
        let answer = match &answers {
            Some(answers) => Ok(answers[place].clone()),
            None => guarded(|| model.predict(&question.row)),
        };
        let computed = answer.and_then(|answer| {
            let explain = || model.explain(&question.row, &answer);
            let explanation = question.explain.then(|| guarded(explain)).transpose()?;
            Ok(Computed {
                row: question.row,
                answer,
                explanation,
            })
        });
        // Whoever asked may have left meanwhile.
        let _ = question.reply.send(computed);
    }
}

/// All rows at once; none when one of them breaks the engine, so that each is tried alone.
fn together(model: &Model, batch: &[Question]) -> Option<Vec<Answer>> {
    if batch.len() < 2 {
        return None;
    }
    let rows: Vec<Row> = batch.iter().map(|question| question.row.clone()).collect();
    guarded(|| answers(model, &rows)).ok()
}

/// The answers to rows that are asked together.
pub(crate) fn answers(model: &Model, rows: &[Row]) -> Vec<Answer> {
    let scores = model.predict_frame(&Frame::from_rows(model.schema(), rows));
    let by_row = scores.values.chunks_exact(scores.width);
    by_row.map(|scores| model.answer(scores)).collect()
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Error::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::explanation::Unit;
    use ombud_core::frame::Column;
    use ombud_core::row::Value;
    use ombud_core::schema::Columns;
    use ombud_core::task::Outputs;
    use ombud_core::{Feature, Kind, Manifest, Prediction, Schema, Task};
    use ombud_engine::Engine;
    use ombud_engine::answering::Answering;
    use ombud_engine::bundle::{Bundle, Trust};
    use ombud_engine::engine::Reasons;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// What breaks the engine.
    const BAD: f64 = 13.0;

    /// Doubles a number, notes how many came together, and waits while its gate is shut.
    #[derive(Debug, Default)]
    struct Doubling {
        together: Arc<Mutex<Vec<usize>>>,
        is_shut: Arc<AtomicBool>,
    }

    impl Engine for Doubling {
        fn width(&self) -> usize {
            1
        }

        fn score_row(&self, row: &Row, scores: &mut [f64]) {
            let Value::Number(number) = row.values()[0] else {
                unreachable!("numbers only")
            };
            self.score(&[number], scores);
        }

        fn score_frame(&self, frame: &Frame, scores: &mut [f64]) {
            let Column::Number(numbers) = &frame.columns()[0] else {
                unreachable!("numbers only")
            };
            self.score(numbers.values(), scores);
        }

        fn explain_row(&self, _row: &Row, _output: usize) -> Reasons {
            Reasons {
                unit: Unit::Target,
                base: 0.0,
                by_feature: vec![0.0],
                words: Vec::new(),
            }
        }

        fn importance(&self) -> Option<Vec<f64>> {
            None
        }
    }

    impl Doubling {
        fn score(&self, numbers: &[f64], scores: &mut [f64]) {
            self.together.lock().unwrap().push(numbers.len());
            while self.is_shut.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            assert!(!numbers.contains(&BAD), "on purpose");
            let doubled = numbers.iter().map(|number| 2.0 * number);
            scores
                .iter_mut()
                .zip(doubled)
                .for_each(|(score, doubled)| *score = doubled);
        }
    }

    struct Bench {
        batcher: Batcher,
        model: Arc<Model>,
        together: Arc<Mutex<Vec<usize>>>,
        is_shut: Arc<AtomicBool>,
    }

    impl Bench {
        fn new(how: Batching) -> Bench {
            let engine = Doubling::default();
            let together = Arc::clone(&engine.together);
            let is_shut = Arc::clone(&engine.is_shut);
            let model = Model::assemble(manifest(), Box::new(engine), Answering::default());
            let model = Arc::new(model.unwrap());
            // One core, so that a batch is answered before the next begins.
            let pool = Arc::new(Pool::with(1, 8));
            let batcher = Batcher::start(Arc::clone(&model), pool, how);
            Bench {
                batcher,
                model,
                together,
                is_shut,
            }
        }

        fn ask(&self, number: f64) -> tokio::task::JoinHandle<Result<f64>> {
            let row = self
                .model
                .row(format!("{{\"x\": {number}}}").as_bytes())
                .unwrap();
            // In the queue before this returns, so that tests know who stands before whom.
            let answered = self.batcher.put(row, false);
            tokio::spawn(async move {
                let computed = answered?.await.map_err(|_| Error::Interrupted)??;
                match computed.answer.prediction {
                    Prediction::Number { value, .. } => Ok(value),
                    other => panic!("{other:?}"),
                }
            })
        }

        /// Waits until the task took what is in the queue.
        async fn until_taken(&self) {
            while self.batcher.queue.capacity() != self.batcher.queue.max_capacity() {
                tokio::task::yield_now().await;
            }
        }

        /// Waits until the engine works on the first batch.
        async fn until_held(&self) {
            while self.together().is_empty() {
                tokio::task::yield_now().await;
            }
        }

        fn shut(&self, is_shut: bool) {
            self.is_shut.store(is_shut, Ordering::Release);
        }

        fn together(&self) -> Vec<usize> {
            self.together.lock().unwrap().clone()
        }
    }

    fn manifest() -> Manifest {
        let golden = "../engine/tests/golden/1/bundles/claim_outcome.tar.gz";
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
        let mut manifest = Bundle::open(&golden, &Trust::default())
            .unwrap()
            .into_manifest();
        let feature = Feature::new("x", Kind::number());
        manifest.schema = Schema::new(vec![feature], Columns::default()).unwrap();
        manifest.outputs = Outputs::Number { name: "y".into() };
        manifest.task = Task::Regression;
        manifest
    }

    const SMALL: Batching = Batching {
        gather: Gather::Always,
        rows_max: 4,
        wait: Duration::from_millis(2),
        waiting_max: 6,
    };

    /// One row holds the engine; the others are asked one after the other and wait in the queue.
    async fn held(bench: &Bench, numbers: &[f64]) -> Vec<tokio::task::JoinHandle<Result<f64>>> {
        let mut asked = vec![bench.ask(1.0)];
        bench.until_held().await;
        for (place, number) in numbers.iter().enumerate() {
            asked.push(bench.ask(*number));
            if place == 0 {
                // The task waits with it for the core; whoever comes after stays in the queue.
                bench.until_taken().await;
            }
        }
        asked
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_that_wait_are_answered_together_each_with_its_own_answer() {
        let bench = Bench::new(SMALL);
        bench.shut(true);
        let asked = held(&bench, &[2.0, 3.0, 4.0, 5.0, 6.0]).await;
        bench.shut(false);
        for (number, answer) in [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].into_iter().zip(asked) {
            assert_eq!(answer.await.unwrap().unwrap(), 2.0 * number);
        }
        assert_eq!(bench.together(), [1, 4, 1], "at most four at once");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_row_that_breaks_the_batch_breaks_itself_alone() {
        let bench = Bench::new(SMALL);
        bench.shut(true);
        let mut asked = held(&bench, &[2.0, BAD, 4.0]).await;
        bench.shut(false);
        let bad = asked.remove(2).await.unwrap();
        assert!(matches!(bad, Err(Error::Interrupted)), "{bad:?}");
        for (number, answer) in [1.0, 2.0, 4.0].into_iter().zip(asked) {
            assert_eq!(answer.await.unwrap().unwrap(), 2.0 * number);
        }
        assert_eq!(bench.ask(7.0).await.unwrap().unwrap(), 14.0, "it goes on");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_left_is_skipped() {
        let bench = Bench::new(SMALL);
        bench.shut(true);
        let mut asked = held(&bench, &[2.0, 3.0, 4.0]).await;
        let left = asked.remove(2);
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        bench.shut(false);
        for answer in asked {
            answer.await.unwrap().unwrap();
        }
        assert_eq!(bench.together(), [1, 2]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_queue_refuses_at_once() {
        let bench = Bench::new(SMALL);
        bench.shut(true);
        let asked = held(&bench, &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).await;
        let refused = bench.ask(9.0).await.unwrap().unwrap_err();
        assert!(refused.retry_after_ms().is_some(), "{refused}");
        assert_eq!(refused.class(), ombud_core::Class::Unavailable);
        bench.shut(false);
        for answer in asked {
            answer.await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_caller_alone_is_answered_alone() {
        let bench = Bench::new(SMALL);
        for number in [1.0, 2.0, 3.0] {
            assert_eq!(bench.ask(number).await.unwrap().unwrap(), 2.0 * number);
        }
        assert_eq!(bench.together(), [1, 1, 1]);
    }
}
