//! Jobs run when they are due, one at a time, survive a restart and their own defects, and are heard of when they fail.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::daemon::jobs::once::{NotInThisVersion, once};
use crate::daemon::jobs::verify::Verify;
use crate::daemon::status::{self, Sight};
use crate::log::fixture::{Fixture, main_source};
use crate::model::{ObjectKey, Slot};
use crate::store::layout;

/// A job whose runs are written down; each asks for its ending.
struct Scripted {
    name: JobName,
    clock: Arc<ManualClock>,
    ran: Mutex<Vec<i64>>,
    endings: Mutex<VecDeque<Result<Ended, &'static str>>>,
}

impl Scripted {
    fn new(name: JobName, fixture: &Fixture, endings: Vec<Result<Ended, &'static str>>) -> Arc<Self> {
        let clock = Arc::clone(&fixture.clock);
        Arc::new(Self { name, clock, ran: Mutex::default(), endings: Mutex::new(endings.into()) })
    }

    /// After how many minutes each run came.
    fn minutes(&self) -> Vec<i64> {
        self.ran.lock().unwrap().iter().map(|micros| micros / 60_000_000).collect()
    }
}

#[async_trait::async_trait]
impl Job for Scripted {
    fn name(&self) -> JobName {
        self.name
    }

    async fn run(&self) -> Ended {
        self.ran.lock().unwrap().push(self.clock.tick().elapsed().as_micros() as i64);
        let ending = self.endings.lock().unwrap().pop_front().unwrap_or(Ok(Ok("done".to_owned())));
        ending.unwrap_or_else(|words| panic!("{words}"))
    }
}

fn planned(job: &Arc<Scripted>, every: Option<Duration>) -> Planned {
    Planned { job: Arc::<Scripted>::clone(job), every }
}

/// Lets jobs run for a while, half a minute at a time.
async fn pass(jobs: Jobs, clock: &ManualClock, time: Duration) {
    let running = jobs.run();
    tokio::pin!(running);
    for _ in 0..time.as_secs() / 30 {
        assert!(futures::poll!(running.as_mut()).is_pending());
        clock.advance(Duration::from_secs(30));
    }
    assert!(futures::poll!(running.as_mut()).is_pending());
}

fn failed(trouble: Trouble) -> Ended {
    Err((trouble, "slot 3".to_owned()))
}

#[tokio::test]
async fn l11_a_job_that_fails_is_tried_again_and_alarms_until_it_succeeds() {
    let (fixture, board) = (Fixture::new(70), Arc::new(Board::default()));
    let job =
        Scripted::new(JobName::Verify, &fixture, vec![Ok(failed(Trouble::Damaged)), Ok(failed(Trouble::CouldNotTell))]);
    let sight = Sight { service: None, rpo: DAY, base_age_max: None };
    let told = |board: &Board| {
        let status = status::value(board, &sight, (fixture.clock.tick(), fixture.clock.now()));
        let alarms = status["alarms"].to_string();
        (alarms.contains("A job found damage") && alarms.contains("slot 3"), alarms.contains("A job could not tell"))
    };
    let jobs = Jobs::new(&fixture.env, &board, Memory::open(None), vec![planned(&job, Some(DAY))]);
    let running = jobs.run();
    tokio::pin!(running);
    let mut heard = Vec::new();
    for _ in 0..20 {
        assert!(futures::poll!(running.as_mut()).is_pending());
        if heard.last() != Some(&told(&board)) {
            heard.push(told(&board));
        }
        fixture.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(job.minutes(), [1, 6, 16], "a minute after the start, then five minutes later, then ten");
    assert_eq!(heard, [(false, false), (true, false), (false, true), (false, false)]);
}

#[tokio::test]
async fn a_job_runs_once_a_rhythm_and_a_restart_does_not_change_that() {
    let (fixture, folder) = (Fixture::new(71), tempfile::tempdir().unwrap());
    let job = Scripted::new(JobName::QuickVerify, &fixture, Vec::new());
    let other = Scripted::new(JobName::Sweep, &fixture, Vec::new());
    let never = Scripted::new(JobName::Expire, &fixture, Vec::new());
    let jobs = || {
        let all = vec![planned(&other, Some(DAY)), planned(&job, Some(DAY)), planned(&never, None)];
        Jobs::new(&fixture.env, &Arc::default(), Memory::open(Some(folder.path())), all)
    };
    for _ in 0..4 {
        pass(jobs(), &fixture.clock, Duration::from_hours(6)).await;
    }
    assert_eq!((job.minutes(), other.minutes()), (vec![1], vec![1]), "three restarts within a day");
    pass(jobs(), &fixture.clock, Duration::from_hours(24)).await;
    let (minutes, at_most) = (job.minutes(), 24 * 60 + 1 + 72);
    assert!(minutes.len() == 2 && (24 * 60 + 1..=at_most).contains(&minutes[1]), "a day and the dice: {minutes:?}");
    assert!(never.minutes().is_empty());
    for damage in ["", "{", "[]"] {
        std::fs::write(folder.path().join("jobs/quick-verify.json"), damage).unwrap();
        let before = job.minutes().len();
        pass(jobs(), &fixture.clock, Duration::from_mins(5)).await;
        assert_eq!(job.minutes().len(), before + 1, "what is lost is done again: {damage:?}");
    }
}

#[tokio::test]
async fn l9_a_job_that_breaks_off_is_a_failure_and_holds_up_nobody() {
    let (fixture, board) = (Fixture::new(72), Arc::new(Board::default()));
    let broken = Scripted::new(JobName::QuickVerify, &fixture, vec![Err("a defect")]);
    let other = Scripted::new(JobName::Sweep, &fixture, Vec::new());
    let all = vec![planned(&broken, Some(DAY)), planned(&other, Some(DAY))];
    pass(Jobs::new(&fixture.env, &board, Memory::open(None), all), &fixture.clock, Duration::from_mins(3)).await;
    assert_eq!((broken.minutes(), other.minutes()), (vec![1], vec![1]));
    let past = board.jobs()[&JobName::QuickVerify].past.clone();
    assert_eq!(past.standing_failure().unwrap().trouble, Trouble::Failed);
}

#[tokio::test]
async fn two_processes_never_run_jobs_of_one_state_folder_at_once_and_see_each_others_work() {
    let (fixture, folder) = (Fixture::new(73), tempfile::tempdir().unwrap());
    let job = Scripted::new(JobName::Sweep, &fixture, Vec::new());
    let memory = Memory::open(Some(folder.path()));
    let lock = memory.lock().unwrap();
    let all = [planned(&job, Some(DAY))];
    let mut ran = once(&fixture.env, Some(folder.path()), &all, &[JobName::Sweep]).await.unwrap();
    let ended = ran.remove(0).1;
    assert!(ended.unwrap_err().1.contains("another process"));
    drop(lock);
    let ran = once(&fixture.env, Some(folder.path()), &all, &[JobName::Sweep]).await.unwrap();
    assert_eq!(ran, [(JobName::Sweep, Ok("done".to_owned()))]);
    let jobs = Jobs::new(&fixture.env, &Arc::default(), memory, vec![planned(&job, Some(DAY))]);
    pass(jobs, &fixture.clock, Duration::from_hours(1)).await;
    assert_eq!(job.minutes().len(), 1, "the daemon knows that it was done by somebody else");
    let refused = once(&fixture.env, None, &all, &[JobName::Sweep, JobName::Expire]).await;
    assert_eq!(refused, Err(NotInThisVersion(JobName::Expire)));
    assert_eq!(job.minutes().len(), 1, "what was refused did nothing");
}

#[tokio::test]
async fn l4_a_verification_by_itself_says_which_object_is_damaged_and_what_it_could_not_tell() {
    let fixture = Fixture::with_a_log(74).await;
    let verify = |depth, expected: &[&str]| Verify {
        env: fixture.env.clone(),
        depth,
        bytes_per_second: 1 << 40,
        expected: expected.iter().map(|name| (name.parse().unwrap(), Err("nobody knows where".to_owned()))).collect(),
    };
    let (quick, full) = (verify(Depth::Quick, &["main"]), verify(Depth::Full, &["main"]));
    let sound = full.run().await.unwrap();
    assert!(sound.starts_with("7 objects are sound"), "{sound}");
    assert!(
        sound.contains("0 of 1 slots") && sound.contains("nobody knows where"),
        "a silent witness is named: {sound}"
    );
    assert!(quick.run().await.is_ok());
    let (gone, why) = verify(Depth::Quick, &["main", "lost"]).run().await.unwrap_err();
    assert_eq!((gone, why.as_str()), (Trouble::CouldNotTell, "the store holds nothing of source lost"));
    let victim: ObjectKey = layout::segment(&main_source(), Slot::new(3));
    let mut body = fixture.object(3).await.to_vec();
    let middle = body.len() / 2;
    body[middle] ^= 1;
    fixture.store.tamper(&victim, Some(body.into()));
    let (trouble, why) = full.run().await.unwrap_err();
    assert!(trouble == Trouble::Damaged && why.contains(victim.as_str()), "{why}");
}
