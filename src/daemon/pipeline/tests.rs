//! What the log has to tell reaches who wants to know.

use std::sync::Mutex;

use super::*;
use crate::log::context::NoContext;
use crate::log::fence;
use crate::log::fixture::{Fixture, RULE, main_source, transaction};
use crate::model::Position;
use crate::model::limits::CHECKPOINT_EVERY_SLOTS;
use crate::source::script::{Line, ScriptedSource};
use crate::store::{Fate, Op, Refusal, StoreErrorKind};

/// Writes down what it is told.
#[derive(Default)]
struct Told {
    segments: Mutex<u64>,
    troubles: Mutex<Vec<String>>,
}

impl Observer for Told {
    fn durable(&self, _durable: &Durable) {
        *self.segments.lock().unwrap() += 1;
    }

    fn base_wanted(&self, _gap: &Gap) {}

    fn checkpoints_fail(&self, error: &StoreError) {
        self.troubles.lock().unwrap().push(error.to_string());
    }
}

#[tokio::test]
async fn l9_capture_goes_on_where_the_store_takes_no_checkpoints_and_somebody_is_told_once() {
    let mut fixture = Fixture::new(430);
    fixture.env = fixture
        .fated(|asked| Fate::Fails(StoreErrorKind::Refused(Refusal::NoRights)).when(asked.is(Op::Put, "checkpoint/")));
    let reign = fence::take(&fixture.env, &main_source(), None).await.unwrap();
    let writer = Writer::new(&fixture.env, &main_source(), reign, RULE, Box::new(NoContext));
    let many = CHECKPOINT_EVERY_SLOTS + 40;
    let lines = (1..=many).flat_map(|number| {
        let records = transaction(number).into_iter().map(Arrival::Record);
        let until = Line::UntilAcknowledged(Position::new(number * 10));
        [Line::Arrive(records.chain([Arrival::Hurry]).collect()), until]
    });
    let script = ScriptedSource::new(lines.chain([Line::Arrive(vec![Arrival::Drained])]));
    let told = Arc::new(Told::default());
    let observer: Arc<dyn Observer> = Arc::<Told>::clone(&told);
    let (_stop, stopped) = watch::channel(false);
    let pipeline = Pipeline::new(writer, Box::new(script), Arc::clone(&fixture.env.clock), observer);
    assert_eq!(pipeline.run(stopped).await.unwrap(), Ended::Drained);
    let troubles = told.troubles.lock().unwrap().clone();
    assert_eq!((*told.segments.lock().unwrap(), troubles.len()), (many, 1), "{troubles:?}");
    assert!(troubles[0].contains("checkpoint/main/"), "{troubles:?}");
}
