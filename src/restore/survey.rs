//! Reads what planning needs from a store, and no more: manifests, headers, and the few segments that tell.

use crate::codec::base::{Identity, Manifest, Table};
use crate::codec::gap::{Gap, GapTable, Reason};
use crate::codec::segment::{Flags, ObjectKind};
use crate::log::{History, Hole, LogEnv, LogError, Reader};
use crate::model::{LogId, Lsn, Position, SourceName};
use crate::restore::bases;
use crate::restore::cut::{self, By, Look, Window};
use crate::restore::error::{NotRestorable, RestoreError};
use crate::restore::loss::{PlacedGap, runs};
use crate::restore::plan::{BaseFact, Cut, Facts, GapRule, Plan};
use crate::restore::scan::{Place, Scanned};
use crate::restore::target::Target;
use crate::store::StoreErrorKind;
use crate::store::layout;

/// What a store holds of a source.
#[derive(Debug)]
pub struct Survey {
    env: LogEnv,
    source: SourceName,
    /// What planning decides by.
    pub facts: Facts,
    /// The manifests of the bases, oldest point first.
    pub bases: Vec<Manifest>,
}

impl Survey {
    /// Looks at everything that is stored of `source`.
    pub async fn take(env: &LogEnv, source: &SourceName) -> Result<Self, RestoreError> {
        Self::of(env, source, History::load(env, source).await?).await
    }

    /// Looks at everything that is stored of `source`, whose log was found already.
    pub async fn of(env: &LogEnv, source: &SourceName, history: History) -> Result<Self, RestoreError> {
        let bases = bases::list(env, source).await?;
        let facts = Facts {
            log: history.log,
            entries: history.live().cloned().collect(),
            holes: history.holes(),
            bases: bases.iter().map(fact).collect(),
            gaps: Vec::new(),
            begin: Position::ZERO,
        };
        let mut survey = Self { env: env.clone(), source: source.clone(), facts, bases };
        survey.read_gaps().await?;
        survey.find_begin().await?;
        let unpublished: Vec<_> = survey.bases.iter().filter_map(unpublished).collect();
        survey.facts.gaps.extend(unpublished);
        Ok(survey)
    }

    /// The plan that leads to `target` for the tables `only`, by name or by schema and name; none means all.
    pub async fn plan(&self, target: &Target, rule: GapRule, only: &[String]) -> Result<Plan, RestoreError> {
        let facts = self.facts.for_tables(only);
        let cut = match self.cut(&facts, target, rule).await {
            Err(RestoreError::NotRestorable(refusal)) => return Err(self.not_found(&facts, target, refusal)),
            found => found?,
        };
        let damage = |facts: &Facts| match (target, facts.ends_in_damage()) {
            (Target::Latest, Some(hole)) => Some(hole),
            (_, _) => facts.damage_before(target, &cut),
        };
        if let Some(hole) = damage(&facts) {
            return Err(self.missing(&facts, target, hole));
        }
        let mut plan = facts.plan(&self.source, target, cut, rule)?;
        let left_out = plan.stop.position < facts.end() && facts.latest().is_some_and(|(end, _)| end < facts.end());
        if *target == Target::Latest && left_out {
            let end = Lsn::from(facts.end());
            plan.warnings.push(format!("the log goes on to {end}, behind a gap that no base ends yet"));
        }
        self.weigh(&mut plan).await?;
        Ok(plan)
    }

    /// Why there is no such point. It may have been in an object that is missing: that is damage, and no other answer is
    /// honest.
    fn not_found(&self, facts: &Facts, target: &Target, refusal: NotRestorable) -> RestoreError {
        let hole = match target {
            Target::Xid(_) | Target::BeforeXid(_) | Target::Mark(_) => facts.holes.first().copied(),
            Target::Latest | Target::Time(_) | Target::Lsn(_) => facts.ends_in_damage(),
        };
        hole.map_or_else(|| refusal.into(), |hole| self.missing(facts, target, hole))
    }

    fn missing(&self, facts: &Facts, target: &Target, hole: Hole) -> RestoreError {
        let object = layout::segment(&self.source, hole.slot);
        RestoreError::Missing { object, asked: target.to_string(), remedy: facts.nearest(hole.until) }
    }

    /// The manifest of a base that was planned with.
    pub fn manifest(&self, plan: &Plan) -> Option<&Manifest> {
        self.bases.iter().find(|manifest| manifest.base == plan.base)
    }

    fn place(&self) -> Option<Place<'_>> {
        self.facts.log.map(|log| Place { env: &self.env, source: &self.source, log })
    }

    /// What the segments of `window` hold. Across a missing object nothing is joined: what was open there is void.
    async fn scan(&self, place: Place<'_>, window: &Window) -> Result<Scanned, RestoreError> {
        let mut all = Scanned::default();
        for (at, run) in runs(&window.entries, &self.facts.holes).enumerate() {
            let behind = run.first().filter(|_| at > 0).map(|first| first.from);
            let run = Window { entries: run.to_vec(), from: behind.unwrap_or(window.from) };
            let scanned = place.scan(&run).await?;
            all.completions.extend(scanned.completions);
            all.gaps.extend(scanned.gaps);
            all.began = all.began.or(scanned.began);
        }
        Ok(all)
    }

    async fn read_gaps(&mut self) -> Result<(), RestoreError> {
        let entries = &self.facts.entries;
        let Some(place) = self.place() else { return Ok(()) };
        let mut gaps: Vec<PlacedGap> = Vec::new();
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.flags.has(Flags::HOLDS_GAP)) {
            // The record of the session stands just before, perhaps in the segment before.
            let before = at.checked_sub(1).and_then(|before| entries.get(before));
            let from = before.map_or(entry.needs_from, |before| before.needs_from.min(entry.needs_from));
            let window = Window {
                entries: entries.iter().filter(|e| e.slot >= from && e.slot <= entry.slot).cloned().collect(),
                from: before.map_or(entry.from, |before| before.from),
            };
            for found in self.scan(place, &window).await?.gaps {
                // Read again from further on, a gap's place may look earlier than it is: the session's start was missed.
                match gaps.iter_mut().find(|known| known.gap == found.gap) {
                    Some(known) => known.place = known.place.max(found.place),
                    None => gaps.push(found),
                }
            }
        }
        self.facts.gaps = gaps;
        Ok(())
    }

    /// A log that was begun with a slot begins where that slot did: a base from before may lack what lies between.
    async fn find_begin(&mut self) -> Result<(), RestoreError> {
        let entries = &self.facts.entries;
        let Some(first) = entries.iter().find(|entry| entry.kind == ObjectKind::Data) else { return Ok(()) };
        if let (Some(place), Position::ZERO) = (self.place(), first.from) {
            let window = Window { entries: vec![first.clone()], from: first.from };
            self.facts.begin = self.scan(place, &window).await?.began.unwrap_or_default();
        }
        Ok(())
    }

    /// Where the prefix ends. Who allows gaps means by the latest instant the last one of the log where only tables' rows
    /// are in doubt: the plan names them.
    async fn cut(&self, facts: &Facts, target: &Target, rule: GapRule) -> Result<Cut, RestoreError> {
        let looked = match rule {
            GapRule::Refuse => cut::look(facts, target)?,
            GapRule::Allow => cut::look(&facts.apart_from_tables(), target)?,
        };
        match looked {
            Look::AtBase(position) => {
                let extent = Position::ZERO;
                Ok(Cut { position, last: None, excluded: None, excluded_not_after: 0, extent })
            }
            Look::In(window, by) => self.cut_in(&window, by, target).await,
            Look::ForXid(xid, side) => {
                let mut found = Vec::new();
                for (at, span) in self.may_hold(xid).await? {
                    let window = cut::around(&self.facts.entries, at);
                    self.collect(&window, span, &mut found, |one, window, all, index| {
                        let stored = one.transaction?.xid.get();
                        cut::is_xid(stored, xid).then(|| cut::beside(window, all, index, side))
                    })
                    .await?;
                }
                Ok(cut::only(found, &format!("transaction {xid}"))?)
            }
            Look::ForMark(name) => {
                let mut found = Vec::new();
                let marked = |entry: &crate::log::Entry| entry.flags.has(Flags::HOLDS_MARK);
                for (at, entry) in self.facts.entries.iter().enumerate().filter(|(_, entry)| marked(entry)) {
                    let window = cut::until_complete(&self.facts.entries, at);
                    let to = window.entries.last().map_or(entry.to, |last| last.to);
                    self.collect(&window, (entry.from, to), &mut found, |one, window, all, index| {
                        let hit = one.marks.contains(&name);
                        hit.then(|| cut::beside(window, all, index, cut::Side::Including))
                    })
                    .await?;
                }
                Ok(cut::only(found, &format!("mark {name:?}"))?)
            }
        }
    }

    async fn cut_in(&self, window: &Window, by: By, target: &Target) -> Result<Cut, RestoreError> {
        let Some(place) = self.place() else { return Err(self.facts.beyond(target).into()) };
        let scanned = self.scan(place, window).await?;
        let mut cut = cut::cut(window, &scanned.completions, by);
        if *target == Target::Latest {
            cut.extent = cut.position;
        }
        Ok(cut)
    }

    /// Adds what `hit` makes of what completes behind `from` and up to `to`; what a window before held counts once.
    async fn collect(
        &self,
        window: &Window,
        (from, to): (Position, Position),
        found: &mut Vec<(Lsn, Cut)>,
        hit: impl Fn(&cut::Completion, &Window, &[cut::Completion], usize) -> Option<Cut>,
    ) -> Result<(), RestoreError> {
        let Some(place) = self.place() else { return Ok(()) };
        let all = self.scan(place, window).await?.completions;
        for (index, one) in all.iter().enumerate().filter(|(_, one)| one.position > from && one.position <= to) {
            let position = Lsn::from(one.position);
            if let Some(cut) = hit(one, window, &all, index)
                && found.iter().all(|(known, _)| *known != position)
            {
                found.push((position, cut));
            }
        }
        Ok(())
    }

    /// The segments in which a transaction of that number may complete, by their footers, and what they complete.
    async fn may_hold(&self, xid: u64) -> Result<Vec<(usize, (Position, Position))>, RestoreError> {
        let Some(log) = self.facts.log else { return Ok(Vec::new()) };
        let (mut at, mut found) = (0, Vec::new());
        for run in runs(&self.facts.entries, &self.facts.holes) {
            let mut reader = Reader::new(&self.env, &self.source, log, run.to_vec());
            while let Some(segment) = reader.next().await? {
                let (least, most) = (segment.footer.xid_least.get(), segment.footer.xid_most.get());
                let wraps = least >> 32 != most >> 32;
                let low = |number: u64| number & 0xFFFF_FFFF;
                let covers = wraps || (low(least)..=low(most)).contains(&low(xid));
                if segment.footer.transactions > 0 && covers {
                    found.push((at, (segment.entry.from, segment.entry.to)));
                }
                at += 1;
            }
        }
        Ok(found)
    }

    /// Headers do not tell sizes: those that are not known are asked for.
    async fn weigh(&self, plan: &mut Plan) -> Result<(), RestoreError> {
        for entry in plan.segments.iter().filter(|entry| entry.bytes == 0 && entry.kind != ObjectKind::Fence) {
            let size = self.env.store.size(&layout::segment(&self.source, entry.slot)).await;
            plan.bytes = plan.bytes.saturating_add(size.map_err(LogError::from)?);
        }
        Ok(())
    }

    /// Asks for the sizes of the log's objects that are not known. One that is missing has none.
    pub async fn weigh_log(&mut self) -> Result<(), RestoreError> {
        for entry in self.facts.entries.iter_mut().filter(|entry| entry.bytes == 0) {
            entry.bytes = match self.env.store.size(&layout::segment(&self.source, entry.slot)).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == StoreErrorKind::Missing => 0,
                Err(error) => return Err(LogError::from(error).into()),
            };
        }
        Ok(())
    }

    /// Which log.
    pub const fn log(&self) -> Option<LogId> {
        self.facts.log
    }
}

fn fact(manifest: &Manifest) -> BaseFact {
    BaseFact {
        base: manifest.base,
        point: manifest.point,
        begins: manifest.begins(),
        taken_at: manifest.taken_at,
        finished_at: manifest.finished_at,
        log: manifest.log,
        bytes: manifest.parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add),
    }
}

/// Tables whose updates and deletes are not published: behind a base that holds them, nobody knows their rows.
fn unpublished(manifest: &Manifest) -> Option<PlacedGap> {
    let tables = manifest.tables.iter().filter(|table| table.identity == Identity::Nothing);
    let table = |table: &Table| GapTable { id: table.relid, schema: table.schema.clone(), name: table.name.clone() };
    let tables: Vec<_> = tables.map(table).collect();
    if tables.is_empty() {
        return None;
    }
    let point = manifest.point.position();
    let detail = tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (time, reason) = (manifest.taken_at, Reason::NotPublished);
    let gap = Gap { exact_until: point, time, reason, tables, detail };
    Some(PlacedGap { gap, place: Position::new(point.get().saturating_add(1)) })
}
