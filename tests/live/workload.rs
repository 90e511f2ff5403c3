//! Clients that change a database at random and record, each for itself, what it holds after each of their commits.
//!
//! A client owns the rows with its number, so it knows them exactly; `pot` is shared, and what each client moved there
//! adds up in any order. A commit whose answer was lost is looked up by its row in `markers` when the server is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::entropy::SeededEntropy;
use tokio_postgres::{Error, NoTls, SimpleQueryMessage};

use crate::scale::scale;

/// How many clients there are: five, and one more each time that the scale grows.
pub(crate) fn clients() -> i32 {
    4 + i32::try_from(scale()).unwrap()
}

/// Accounts of each client, and what each holds at first.
const ACCOUNTS: i32 = 4;
const BALANCE: i64 = 1000;
/// What each row of `pot` holds at first.
pub(crate) const POT: i64 = 10_000;

/// The tables: with keys and without, partitioned, with a generated column, an identity, and values that are toasted.
pub(crate) fn schema() -> String {
    let small: Vec<_> = (0..clients()).map(|client| format!("create table small_{client} (v int)")).collect();
    let small = small.join(";");
    format!(
        "create table markers (client int, n int, primary key (client, n));
         create table accounts (client int, id int, balance bigint not null, primary key (client, id));
         create table pot (id int primary key, amount bigint not null);
         insert into pot select g, {POT} from generate_series(0, 3) g;
         create table plain (client int, v text);
         create table parted (client int, id int, v text, primary key (client, id)) partition by range (id);
         create table parted_a partition of parted for values from (minvalue) to (100);
         create table parted_b partition of parted for values from (100) to (200);
         create table parted_c partition of parted for values from (200) to (maxvalue);
         create table calc (client int, id int, a int, twice int generated always as (a * 2) stored,
             primary key (client, id));
         create table ids (id bigint generated always as identity primary key, client int, v text);
         create table big (client int, id int, v text, note int, primary key (client, id));
         {small}"
    )
}

/// The rows of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) accounts: BTreeMap<i32, i64>,
    /// What the client moved into each row of `pot`.
    pub(crate) pot: BTreeMap<i32, i64>,
    pub(crate) plain: Vec<String>,
    pub(crate) parted: BTreeMap<i32, String>,
    pub(crate) calc: BTreeMap<i32, (i64, i64)>,
    pub(crate) ids: BTreeMap<i64, String>,
    pub(crate) big: BTreeMap<i32, (Arc<str>, i32)>,
    pub(crate) small: Vec<i32>,
}

/// A transaction that committed.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) client: i32,
    /// Counted from 1.
    pub(crate) n: usize,
    pub(crate) xid: u64,
    /// The commit record stands behind here.
    pub(crate) before: u64,
    /// And ends at or before here.
    pub(crate) after: u64,
    /// What the client holds from then on.
    pub(crate) state: State,
}

/// One client.
pub(crate) struct Client {
    id: i32,
    url: String,
    random: SeededEntropy,
    state: State,
    fresh: i32,
    pending: Option<Committed>,
    pub(crate) history: Vec<Committed>,
}

impl Client {
    pub(crate) fn new(id: i32, url: String, seed: u64) -> Self {
        let random = SeededEntropy::new(seed.wrapping_add(u64::from(id.unsigned_abs()) << 32));
        Self { id, url, random, state: State::default(), fresh: 0, pending: None, history: Vec::new() }
    }

    /// Works until it is told to stop; when the server goes away, it comes back.
    pub(crate) async fn live(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) || self.pending.is_some() {
            if let Ok((session, connection)) = tokio_postgres::connect(&self.url, NoTls).await {
                let connection = tokio::spawn(connection);
                // It ends by an error when the server stops; what was under way is settled with the next session.
                drop(self.work(&session, &stop).await);
                drop(session);
                drop(connection.await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self
    }

    async fn work(&mut self, session: &tokio_postgres::Client, stop: &AtomicBool) -> Result<(), Error> {
        self.settle(session).await?;
        while !stop.load(Ordering::Relaxed) {
            self.transaction(session).await?;
            tokio::time::sleep(Duration::from_millis(self.below(6))).await;
        }
        Ok(())
    }

    /// Whether the last commit, whose answer was lost, took place.
    async fn settle(&mut self, session: &tokio_postgres::Client) -> Result<(), Error> {
        let Some(mut pending) = self.pending.clone() else { return Ok(()) };
        let sql = format!(
            "select count(*), pg_current_wal_flush_lsn() - '0/0'::pg_lsn from markers where client = {} and n = {}",
            self.id, pending.n
        );
        let row = rows(session, &sql).await?.remove(0);
        self.pending = None;
        if row[0] == "1" {
            pending.after = row[1].parse().unwrap();
            self.done(pending);
        }
        Ok(())
    }

    fn done(&mut self, committed: Committed) {
        self.state = committed.state.clone();
        self.history.push(committed);
    }

    async fn transaction(&mut self, session: &tokio_postgres::Client) -> Result<(), Error> {
        let mut next = self.state.clone();
        session.batch_execute("begin").await?;
        if next.accounts.is_empty() {
            for id in 0..ACCOUNTS {
                next.accounts.insert(id, BALANCE);
                let sql = format!("insert into accounts values ({}, {id}, {BALANCE})", self.id);
                session.batch_execute(&sql).await?;
            }
        }
        for _ in 0..=self.below(4) {
            if self.below(7) == 0 {
                let mut undone = next.clone();
                session.batch_execute("savepoint s").await?;
                self.step(session, &mut undone).await?;
                session.batch_execute("rollback to savepoint s").await?;
            } else {
                self.step(session, &mut next).await?;
            }
        }
        // The shared rows come last, once and in order: no client ever waits for another in a ring.
        if self.below(3) == 0 {
            self.pot(session, &mut next).await?;
        }
        if self.below(12) == 0 {
            return session.batch_execute("rollback").await;
        }
        let n = self.history.len() + 1;
        let sql = format!(
            "insert into markers values ({}, {n}) returning pg_current_xact_id(), \
             pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
            self.id
        );
        let row = rows(session, &sql).await?.remove(0);
        let (xid, before) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        self.pending = Some(Committed { client: self.id, n, xid, before, after: u64::MAX, state: next });
        session.batch_execute("commit").await?;
        let after = rows(session, "select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").await?.remove(0);
        if let Some(mut committed) = self.pending.take() {
            committed.after = after[0].parse().unwrap();
            self.done(committed);
        }
        Ok(())
    }

    async fn step(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        match self.below(20) {
            0..=3 => self.transfer(session, state).await,
            4..=7 => self.plain(session, state).await,
            8..=10 => self.parted(session, state).await,
            11..=13 => self.calc(session, state).await,
            14..=15 => self.ids(session, state).await,
            16..=17 => self.big(session, state).await,
            _ => self.small(session, state).await,
        }
    }

    async fn transfer(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (from, to) = (self.some(ACCOUNTS), self.some(ACCOUNTS));
        let amount = i64::from(self.some(50));
        for (id, amount) in [(from, -amount), (to, amount)] {
            *state.accounts.get_mut(&id).unwrap() += amount;
            let client = self.id;
            let sql =
                format!("update accounts set balance = balance + ({amount}) where client = {client} and id = {id}");
            session.batch_execute(&sql).await?;
        }
        Ok(())
    }

    async fn pot(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (low, amount) = (self.some(3), i64::from(self.some(100)));
        for (id, amount) in [(low, -amount), (low + 1, amount)] {
            *state.pot.entry(id).or_default() += amount;
            session.batch_execute(&format!("update pot set amount = amount + ({amount}) where id = {id}")).await?;
        }
        Ok(())
    }

    /// A table without a key, in which rows may be equal.
    async fn plain(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (client, fresh) = (self.id, self.some(6));
        let one = |v: &str| format!("ctid = (select min(ctid) from plain where client = {client} and v = '{v}')");
        let at = usize::try_from(self.below(30)).unwrap();
        let sql = match (state.plain.get(at).cloned(), self.below(2)) {
            (None, _) => {
                state.plain.push(format!("v{fresh}"));
                format!("insert into plain values ({client}, 'v{fresh}')")
            }
            (Some(old), 0) => {
                state.plain[at] = format!("v{fresh}");
                format!("update plain set v = 'v{fresh}' where {}", one(&old))
            }
            (Some(old), _) => {
                state.plain.remove(at);
                format!("delete from plain where {}", one(&old))
            }
        };
        session.batch_execute(&sql).await
    }

    /// Partitions, with updates of the key that move rows from one to another.
    async fn parted(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (client, id, new) = (self.id, self.some(12) * 25, self.some(12) * 25);
        let v = self.text(4);
        let sql = match state.parted.remove(&id) {
            None => {
                let sql = format!("insert into parted values ({client}, {id}, '{v}')");
                state.parted.insert(id, v);
                sql
            }
            Some(old) if !state.parted.contains_key(&new) => {
                state.parted.insert(new, old);
                format!("update parted set id = {new} where client = {client} and id = {id}")
            }
            Some(_) => format!("delete from parted where client = {client} and id = {id}"),
        };
        session.batch_execute(&sql).await
    }

    async fn calc(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (client, id, a) = (self.id, self.some(8), i64::from(self.some(1000)));
        let sql = if state.calc.insert(id, (a, 2 * a)).is_some() {
            format!("update calc set a = {a} where client = {client} and id = {id}")
        } else {
            format!("insert into calc values ({client}, {id}, {a})")
        };
        session.batch_execute(&sql).await
    }

    async fn ids(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (client, v) = (self.id, self.text(3));
        let oldest = state.ids.first_key_value().map(|(id, _)| *id);
        if let Some(id) = oldest.filter(|_| state.ids.len() > 6) {
            state.ids.remove(&id);
            return session.batch_execute(&format!("delete from ids where id = {id}")).await;
        }
        let sql = format!("insert into ids (client, v) values ({client}, '{v}') returning id");
        let id = rows(session, &sql).await?.remove(0).remove(0);
        state.ids.insert(id.parse().unwrap(), v);
        Ok(())
    }

    /// Values that are stored out of line; the rest of their row changes, and the key, without them.
    async fn big(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (client, id, note) = (self.id, self.some(4), self.some(1000));
        let row = format!("client = {client} and id = {id}");
        let sql = match (state.big.remove(&id), self.below(4)) {
            (Some((v, _)), 0..=1) => {
                state.big.insert(id, (v, note));
                format!("update big set note = {note} where {row}")
            }
            (Some((v, old)), 2) => {
                self.fresh += 1;
                let new = 100 + self.fresh;
                state.big.insert(new, (v, old));
                format!("update big set id = {new} where {row}")
            }
            (Some(_), _) => format!("delete from big where {row}"),
            (None, _) if state.big.len() > 8 => {
                let moved: Vec<i32> = state.big.keys().copied().filter(|id| *id > 100).collect();
                state.big.retain(|id, _| !moved.contains(id));
                format!("delete from big where client = {client} and id > 100")
            }
            (None, _) => {
                let bytes = 1500 + usize::try_from(self.below(4000)).unwrap();
                let v: Arc<str> = self.text(bytes).into();
                let sql = format!("insert into big values ({client}, {id}, '{v}', {note})");
                state.big.insert(id, (v, note));
                sql
            }
        };
        session.batch_execute(&sql).await
    }

    /// A small table that is emptied now and then.
    async fn small(&mut self, session: &tokio_postgres::Client, state: &mut State) -> Result<(), Error> {
        let (client, v) = (self.id, self.some(100));
        if state.small.len() > 30 {
            state.small.clear();
            return session.batch_execute(&format!("truncate small_{client}")).await;
        }
        state.small.push(v);
        session.batch_execute(&format!("insert into small_{client} values ({v})")).await
    }

    fn below(&self, end: u64) -> u64 {
        self.random.below(end)
    }

    fn some(&self, end: i32) -> i32 {
        i32::try_from(self.below(u64::try_from(end).unwrap())).unwrap()
    }

    /// Text that does not compress well, of twice so many characters.
    fn text(&self, bytes: usize) -> String {
        let mut raw = vec![0; bytes];
        holdfast::entropy::Entropy::fill(&self.random, &mut raw);
        hex::encode(raw)
    }
}

/// The rows of an answer, as text.
pub(crate) async fn rows(session: &tokio_postgres::Client, sql: &str) -> Result<Vec<Vec<String>>, Error> {
    let messages = session.simple_query(sql).await?;
    let text = |row: &tokio_postgres::SimpleQueryRow, at| row.get(at).unwrap_or("NULL").to_owned();
    let mut all = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            all.push((0..row.len()).map(|at| text(&row, at)).collect());
        }
    }
    Ok(all)
}

impl State {
    /// As a reader would see it: without order where there is none, and without what is shared.
    pub(crate) fn as_read(&self) -> Self {
        let mut read = self.clone();
        read.pot.clear();
        read.plain.sort();
        read.small.sort_unstable();
        read
    }
}
