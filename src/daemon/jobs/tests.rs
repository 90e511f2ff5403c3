//! Jobs run when they are due, one at a time, survive a restart and their own defects, and are heard of when they fail.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::config::{Config, Machine};
use crate::daemon::jobs::once::{NotInThisVersion, once};
use crate::daemon::jobs::verify::Verify;
use crate::daemon::status::{self, Sight};
use crate::log::fixture::{Fixture, main_source};
use crate::log::object::Seal;
use crate::log::retention::Rule;
use crate::log::{History, boundary};
use crate::model::{ObjectKey, Slot};
use crate::store::{MemoryStore, layout};

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
    fn id(&self) -> JobId {
        JobId::of_first(self.name)
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
    let past = board.jobs()[&JobId::of_first(JobName::QuickVerify)].past.clone();
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
    assert_eq!(ran, [(JobId::of_first(JobName::Sweep), Ok("done".to_owned()))]);
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
        mirror: None,
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

/// A mirror of the fixture's store that has got the segments up to `slot`.
async fn mirror_up_to(fixture: &Fixture, slot: u64) -> Arc<MemoryStore> {
    let mirror = Arc::new(MemoryStore::new());
    for slot in 1..=slot {
        let key = layout::segment(&main_source(), Slot::new(slot));
        mirror.tamper(&key, Some(fixture.object(slot).await));
    }
    mirror
}

fn of_mirror(fixture: &Fixture, mirror: &Arc<MemoryStore>, depth: Depth) -> Verify {
    let env = LogEnv { store: Arc::<MemoryStore>::clone(mirror), ..fixture.env.clone() };
    Verify { env, mirror: Some("two".to_owned()), depth, bytes_per_second: 1 << 40, expected: Vec::new() }
}

/// The boundary of an expiry that lets go what stands in front of the sixth object: mirrors get it before the log.
async fn boundary_at_six(fixture: &Fixture) -> (ObjectKey, bytes::Bytes) {
    let history = History::load(&fixture.env, &main_source()).await.unwrap();
    let first = history.entries[5].clone();
    let before = crate::crypto::stream::sha256(&fixture.object(5).await);
    let mut seal = Seal::begin(&fixture.env, *history.log.unwrap().as_bytes(), first.epoch).await.unwrap();
    (layout::boundary(&main_source(), first.slot), boundary::seal(&first, before, &mut seal).unwrap().bytes())
}

#[tokio::test]
async fn what_a_mirror_has_not_got_yet_is_no_damage_and_what_it_lost_is() {
    let fixture = Fixture::with_a_log(75).await;
    let boundary = boundary_at_six(&fixture).await;
    let segment = |slot| layout::segment(&main_source(), Slot::new(slot));
    #[rustfmt::skip]
    let cases = [
        // has segments up to   a boundary at 6     lost    the verdict                 why
        (0,                     false,              None,   Ok("holds no log yet"),     "it has just begun"),
        (4,                     false,              None,   Ok("ends at slot 4"),       "the rest is on its way"),
        (4,                     true,               None,   Ok("has not arrived yet"),  "the boundary came before the log that begins there"),
        (7,                     true,               None,   Ok("ends at slot 7"),       "it has everything"),
        (7,                     false,              Some(2), Err("0000000002.seg"),     "it had it"),
        (7,                     true,               Some(6), Err("0000000006.seg"),     "the boundary says that it must be there"),
    ];
    for (upto, bounded, lost, expected, why) in cases {
        for depth in [Depth::Quick, Depth::Full] {
            let mirror = mirror_up_to(&fixture, upto).await;
            if bounded {
                mirror.tamper(&boundary.0, Some(boundary.1.clone()));
            }
            if let Some(lost) = lost {
                mirror.tamper(&segment(lost), None);
            }
            match (of_mirror(&fixture, &mirror, depth).run().await, expected) {
                (Ok(said), Ok(words)) => assert!(said.contains(words), "{why}: {said}"),
                (Err((Trouble::Damaged, said)), Err(words)) => {
                    assert!(said.contains(words) && said.contains("`holdfast verify --store two`"), "{why}: {said}");
                }
                (ended, _) => panic!("{why}, {depth:?}: {ended:?}"),
            }
        }
    }
}

#[tokio::test]
async fn l10_damage_in_a_mirror_alarms_by_itself_and_keeps_nothing_from_expiring_in_the_first_store() {
    let (fixture, board) = (Fixture::with_a_log(76).await, Arc::new(Board::default()));
    let mirror = mirror_up_to(&fixture, 7).await;
    let victim = layout::segment(&main_source(), Slot::new(3));
    mirror.tamper(&victim, Some(fixture.object(4).await));
    let folder = tempfile::tempdir().unwrap();
    let memory = || Memory::open(Some(folder.path()));
    let first = Verify { env: fixture.env.clone(), mirror: None, ..of_mirror(&fixture, &mirror, Depth::Quick) };
    let second = of_mirror(&fixture, &mirror, Depth::Quick);
    let planned = |job: Verify| Planned { job: Arc::new(job), every: Some(DAY) };
    let jobs = Jobs::new(&fixture.env, &board, memory(), vec![planned(first), planned(second)]);
    {
        let running = jobs.run();
        tokio::pin!(running);
        for _ in 0..4 {
            // A run awaits more than one poll, and the manual clock nothing else.
            for _ in 0..50 {
                assert!(futures::poll!(running.as_mut()).is_pending());
                tokio::task::yield_now().await;
            }
            fixture.clock.advance(Duration::from_secs(30));
        }
    }
    let of = |mirror: Option<&str>| JobId { job: JobName::QuickVerify, mirror: mirror.map(str::to_owned) };
    let shown = board.jobs();
    assert!(shown[&of(None)].past.succeeded().is_some() && shown[&of(None)].past.standing_failure().is_none());
    assert_eq!(shown[&of(Some("two"))].past.standing_failure().unwrap().trouble, Trouble::Damaged);
    let sight = Sight { service: None, rpo: DAY, base_age_max: None };
    let status = status::value(&board, &sight, (fixture.clock.tick(), fixture.clock.now()));
    let alarms = status["alarms"].to_string();
    assert!(alarms.contains("quick-verify of mirror two") && alarms.contains(victim.as_str()), "{alarms}");
    assert_eq!((&status["jobs"][0]["mirror"], &status["jobs"][1]["mirror"]), (&serde_json::json!(null), &"two".into()));

    let rule = Rule { bases: DAY, log: DAY };
    let order = Order { rule, holds: Vec::new(), delete: true, claims: None };
    let expire = || Expire {
        env: fixture.env.clone(),
        sources: vec![main_source()],
        order: order.clone(),
        memory: memory(),
        told: Arc::new(|_| {}),
    };
    let refused = |ended: &Ended| matches!(ended, Err((Trouble::Damaged, why)) if why.contains("stands at damage"));
    let ended = expire().run().await;
    assert!(!refused(&ended), "{ended:?}");
    let mut past = Past::default();
    past.ended(fixture.clock.now(), failed(Trouble::Damaged));
    memory().write(&of(None), &past);
    let ended = expire().run().await;
    assert!(refused(&ended), "damage in the first store keeps everything: {ended:?}");
}

#[tokio::test]
async fn every_mirror_is_verified_as_often_as_the_first_store_one_after_the_other() {
    let fixture = Fixture::new(77);
    let text = "[service]\nstate_dir = \"state\"\n[key]\nfile = \"key\"\n[[store]]\nfolder = \"one\"\n[[store]]\nfolder = \"two\"\n\
                [[store]]\nfolder = \"three\"\n[[source]]\nname = \"main\"\npostgres = \"postgres://holdfast@127.0.0.1:1/shop\"\n\
                [verify]\nquick = \"1h\"\n";
    let config = Config::parse(Path::new("/etc/holdfast.toml"), text, &Machine).unwrap();
    let jobs = Jobs::new(
        &fixture.env,
        &Arc::default(),
        Memory::open(None),
        crate::daemon::jobs::planned(&config, &fixture.env, Arc::new(|_| {})),
    );
    let ids: Vec<_> = jobs.scheduled.iter().map(|job| (job.job.id().to_string(), job.rhythm.every)).collect();
    let hour = Duration::from_hours(1);
    let expected = [
        ("quick-verify", hour),
        ("quick-verify of mirror two", hour),
        ("quick-verify of mirror three", hour),
        ("sweep", DAY),
        ("verify", 7 * DAY),
        ("verify of mirror two", 7 * DAY),
        ("verify of mirror three", 7 * DAY),
    ];
    assert_eq!(ids, expected.map(|(id, every)| (id.to_owned(), every)));
}
