//! Twenty random points of a concurrent workload: what is restored is what the clients recorded, and at five of them what
//! PostgreSQL's own recovery of a physical copy gives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::entropy::SeededEntropy;
use holdfast::model::Lsn;
use serde_json::Value;
use tokio_postgres::NoTls;

use crate::physical::Archive;
use crate::scale::{scale, seed};
use crate::servers::Postgres;
use crate::shop::{Shop, exit};
use crate::workload::{Client, Committed, POT, State, clients, rows, schema};

/// Everything that the clients recorded, in the order in which they asked for their commits.
struct Record {
    seed: u64,
    committed: Vec<Committed>,
    /// The commit times that the source itself keeps, in microseconds, by client and number.
    times: BTreeMap<(i32, usize), i64>,
    /// Marks, with what the source's log had reached before and after each.
    marks: Vec<(String, u64, u64)>,
}

/// What a target promises of a transaction.
enum Rule {
    Including(i32, usize),
    Before(i32, usize),
    UpTo(u64),
    Time(i64),
    Mark(u64, u64),
    Everything,
}

struct Point {
    to: String,
    rule: Rule,
    /// The same for PostgreSQL's recovery; for a position it is what the restore reached.
    recovery: Option<Vec<(&'static str, String)>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_a_restored_point_is_what_the_clients_recorded_and_what_postgresql_itself_recovers() {
    let seed = seed();
    let archive = Archive::new();
    let command = archive.command();
    let mut shop = Shop::ready(
        &schema(),
        &[("track_commit_timestamp", "on"), ("archive_mode", "on"), ("archive_command", &command)],
    );
    archive.copy(&shop.server);
    let record = work(&mut shop, seed).await;
    archive.complete(&shop.server);
    assert!(record.committed.len() > 200, "only {} transactions", record.committed.len());
    let points = points(&record, &SeededEntropy::new(seed));
    let judged = points.iter().filter(|point| point.recovery.is_some()).count();
    assert_eq!((points.len(), judged), (20 * usize::try_from(scale()).unwrap(), 5));
    let scratch = Postgres::start();
    let (shop, record, archive, scratch) = (&shop, &record, &archive, &scratch);
    let numbered: Vec<_> = points.iter().enumerate().collect();
    std::thread::scope(|scope| {
        for lane in 0..2 {
            let mine: Vec<_> = numbered.iter().filter(|(at, _)| at % 2 == lane).copied().collect();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                for (at, point) in mine {
                    runtime.block_on(prove(shop, record, archive, scratch, (at, point)));
                }
            });
        }
    });
}

/// Clients work while the daemon is killed, the server restarts in order and not, and a base is taken.
async fn work(shop: &mut Shop, seed: u64) -> Record {
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..clients())
        .map(|id| tokio::spawn(Client::new(id, shop.server.url("shop"), seed).live(Arc::clone(&over))))
        .collect();
    let pause = |millis| tokio::time::sleep(Duration::from_millis(millis) * scale());
    let mut marks = Vec::new();
    let daemon = shop.capturing();
    pause(800).await;
    daemon.kill();
    let daemon = shop.capturing();
    marks.push(mark(shop, "first"));
    pause(500).await;
    shop.ok(&["backup"]);
    pause(300).await;
    shop.server.restart();
    pause(1200).await;
    shop.server.stop_immediate();
    shop.server.restart();
    pause(1200).await;
    daemon.kill();
    pause(300).await;
    let daemon = shop.capturing();
    marks.push(mark(shop, "second"));
    pause(500).await;
    over.store(true, Ordering::Relaxed);
    let mut committed = Vec::new();
    for client in clients {
        committed.extend(client.await.unwrap().history);
    }
    committed.sort_by_key(|one| one.before);
    let (code, said) = daemon.stop();
    assert_eq!(code, exit::DONE, "{said}");
    shop.drain();
    let times = times(shop);
    Record { seed, committed, times, marks }
}

fn mark(shop: &Shop, name: &str) -> (String, u64, u64) {
    let end = || shop.sql("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").parse().unwrap();
    let before = end();
    shop.ok(&["mark", name]);
    (name.to_owned(), before, end())
}

/// When each transaction committed, by the source's own record.
fn times(shop: &Shop) -> BTreeMap<(i32, usize), i64> {
    let sql = "select client, n, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint from markers";
    let seen = shop.sql(sql);
    let rows = seen.lines().map(|line| {
        let mut fields = line.split('|');
        let mut next = || fields.next().unwrap();
        ((next().parse().unwrap(), next().parse().unwrap()), next().parse().unwrap())
    });
    rows.collect()
}

/// Twenty points, four or five of each kind, spread over the whole record; or so many times that, as the scale says.
fn points(record: &Record, random: &SeededEntropy) -> Vec<Point> {
    let any = || {
        let at = random.below(u64::try_from(record.committed.len()).unwrap());
        &record.committed[usize::try_from(at).unwrap()]
    };
    let mut points = Vec::new();
    let rounds = 5 * scale();
    for round in 0..rounds {
        let recovered = |settings: &[(&'static str, String)]| (round == 0).then(|| settings.to_vec());
        let text = |yes: &str| yes.to_owned();
        let of = any();
        let xid = ("recovery_target_xid", (of.xid % (1 << 32)).to_string());
        let recovery = recovered(&[xid, ("recovery_target_inclusive", text("on"))]);
        points.push(Point { to: format!("xid:{}", of.xid), rule: Rule::Including(of.client, of.n), recovery });
        let of = any();
        let xid = ("recovery_target_xid", (of.xid % (1 << 32)).to_string());
        let recovery = recovered(&[xid, ("recovery_target_inclusive", text("off"))]);
        points.push(Point { to: format!("before-xid:{}", of.xid), rule: Rule::Before(of.client, of.n), recovery });
        let of = any();
        let time = record.times[&(of.client, of.n)] - i64::try_from(random.below(2)).unwrap();
        let to = jiff::Timestamp::from_microsecond(time).unwrap().to_string();
        let zoned = ("recovery_target_time", to.replace('Z', "+00"));
        let recovery = recovered(&[zoned, ("recovery_target_inclusive", text("on"))]);
        points.push(Point { to, rule: Rule::Time(time), recovery });
        if round < rounds - 1 {
            let of = any();
            let lsn = if random.below(2) == 0 { of.before } else { of.after };
            let recovery = recovered(&[("recovery_target_inclusive", text("off"))]);
            points.push(Point { to: format!("lsn:{}", Lsn::new(lsn)), rule: Rule::UpTo(lsn), recovery });
        }
    }
    points.pop(); // one of them is the end
    points.push(Point { to: "latest".to_owned(), rule: Rule::Everything, recovery: None });
    let (name, before, after) = record.marks[usize::from(random.below(2) == 1)].clone();
    let recovery = Some(vec![("recovery_target_inclusive", "off".to_owned())]);
    points.push(Point { to: format!("mark:{name}"), rule: Rule::Mark(before, after), recovery });
    points
}

async fn prove(shop: &Shop, record: &Record, archive: &Archive, scratch: &Postgres, (at, point): (usize, &Point)) {
    let database = format!("point_{at}");
    let into = format!("main={}", scratch.url(&database));
    let ran = shop.run(&["--json", "restore", "--to", &point.to, "--into", &into, "--yes"]);
    let context = format!("point {at}, --to {}, seed {}", point.to, record.seed);
    assert_eq!(ran.code, exit::DONE, "{context}: {ran:#?}");
    let report = serde_json::from_str::<Value>(&ran.stdout).unwrap()["reports"][0].clone();
    let seen = seen(&scratch.url(&database)).await;
    let included: BTreeMap<i32, usize> = seen.markers.iter().map(|(client, all)| (*client, all.len())).collect();
    for (client, markers) in &seen.markers {
        assert!(markers.iter().copied().eq(1..=markers.len()), "{context}: client {client} has {markers:?}");
    }
    let mut pot = BTreeMap::new();
    for client in 0..clients() {
        let last = included.get(&client).copied().unwrap_or(0);
        let recorded = record.committed.iter().find(|one| (one.client, one.n) == (client, last));
        let recorded = recorded.map(|one| one.state.clone()).unwrap_or_default();
        let restored = seen.states.get(&client).cloned().unwrap_or_default();
        assert!(
            restored == recorded.as_read(),
            "{context}: client {client} after {last}\n{restored:#?}\nbut recorded\n{recorded:#?}"
        );
        for (id, amount) in recorded.pot {
            *pot.entry(id).or_insert(0_i64) += amount;
        }
    }
    pot.retain(|_, amount| *amount != 0);
    assert_eq!(seen.pot, pot, "{context}");
    assert_eq!(scratch.psql(&database, "select sum(amount) from pot"), (4 * POT).to_string(), "{context}");
    stop_rule(record, &included, point, &report, &context);
    if let Some(settings) = &point.recovery {
        let mut settings = settings.clone();
        if settings.len() == 1 {
            settings.push(("recovery_target_lsn", report["reached"].as_str().unwrap().to_owned()));
        }
        archive.compare(&settings, scratch, &database, &context);
    }
}

/// What is in and what is out, by the clients' own records.
fn stop_rule(record: &Record, included: &BTreeMap<i32, usize>, point: &Point, report: &Value, context: &str) {
    let is_in = |one: &Committed| included.get(&one.client).is_some_and(|last| one.n <= *last);
    let time = |one: &Committed| record.times[&(one.client, one.n)];
    let latest_in = record.committed.iter().filter(|one| is_in(one)).map(|one| one.before).max().unwrap_or(0);
    let mut overtaken = 0;
    for one in &record.committed {
        let why = format!("{context}: client {}, transaction {}", one.client, one.n);
        assert!(is_in(one) || one.after > latest_in, "{why} is out, and a later commit is in");
        match point.rule {
            Rule::Including(client, n) if client == one.client => assert_eq!(is_in(one), one.n <= n, "{why}"),
            Rule::Before(client, n) if client == one.client => assert_eq!(is_in(one), one.n < n, "{why}"),
            Rule::Including(..) | Rule::Before(..) => {}
            Rule::UpTo(lsn) => {
                assert!(is_in(one) || one.after > lsn, "{why} ended before {lsn} and is out");
                assert!(!is_in(one) || one.before < lsn, "{why} began to commit after {lsn} and is in");
            }
            Rule::Time(until) => {
                assert!(!is_in(one) || time(one) <= until, "{why} is later and in");
                overtaken += u64::from(!is_in(one) && time(one) <= until);
            }
            Rule::Mark(before, after) => {
                assert!(is_in(one) || one.after > before, "{why} ended before the mark and is out");
                assert!(!is_in(one) || one.before < after, "{why} began to commit after the mark and is in");
            }
            Rule::Everything => assert!(is_in(one), "{why} is out"),
        }
    }
    if let Rule::Time(until) = point.rule {
        // Out and not later is only what follows, in commit order, something that is later (L2); the report counts it.
        let out = &report["first_excluded"]["time"];
        let later = out.as_str().is_none_or(|out| out.parse::<jiff::Timestamp>().unwrap().as_microsecond() > until);
        assert!(later, "{context}: {report:#}");
        let told = report["excluded_not_after"].as_u64().unwrap();
        assert!(overtaken == 0 || told > 0, "{context}: {overtaken} were overtaken, {report:#}");
    }
}

/// What a database holds: each client's rows and markers, and what `pot` holds more than at first.
pub(crate) struct Seen {
    pub(crate) states: BTreeMap<i32, State>,
    pub(crate) markers: BTreeMap<i32, Vec<usize>>,
    pub(crate) pot: BTreeMap<i32, i64>,
}

/// Reads a database as clients do.
pub(crate) async fn seen(url: &str) -> Seen {
    let (session, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let small: Vec<_> =
        (0..clients()).map(|client| format!("select {client} as client, v from small_{client}")).collect();
    let sql = [
        "select client, id, balance from accounts",
        "select client, v from plain order by v",
        "select client, id, v from parted",
        "select client, id, a, twice from calc",
        "select client, id, v from ids",
        "select client, id, v, note from big",
        &format!("{} order by v", small.join(" union all ")),
    ];
    let mut states: BTreeMap<i32, State> = BTreeMap::new();
    for (at, sql) in sql.iter().enumerate() {
        for row in rows(&session, sql).await.unwrap() {
            let state = states.entry(row[0].parse().unwrap()).or_default();
            let (int, long) =
                (|at: usize| row[at].parse::<i32>().unwrap(), |at: usize| row[at].parse::<i64>().unwrap());
            let text = |at: usize| row[at].clone();
            match at {
                0 => drop(state.accounts.insert(int(1), long(2))),
                1 => state.plain.push(text(1)),
                2 => drop(state.parted.insert(int(1), text(2))),
                3 => drop(state.calc.insert(int(1), (long(2), long(3)))),
                4 => drop(state.ids.insert(long(1), text(2))),
                5 => drop(state.big.insert(int(1), (text(2).into(), int(3)))),
                _ => state.small.push(int(1)),
            }
        }
    }
    let mut markers: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for row in rows(&session, "select client, n from markers order by n").await.unwrap() {
        markers.entry(row[0].parse().unwrap()).or_default().push(row[1].parse().unwrap());
    }
    let sql = format!("select id, amount - {POT} from pot where amount <> {POT}");
    let pot = rows(&session, &sql).await.unwrap();
    let pot = pot.iter().map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap())).collect();
    drop(session);
    connection.await.unwrap().unwrap();
    Seen { states, markers, pot }
}
