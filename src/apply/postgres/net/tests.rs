//! Whatever happens to rows in a window, the net effect leaves what doing it step by step would.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn cell(number: u8) -> Cell {
    Cell::Value(Bytes::from(number.to_string()))
}

/// A row of a key and two values; the last may be large, and is then not sent if it does not change.
#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u8, u8),
    Update { key: u8, to: u8, value: u8, large: Option<u8> },
    Delete(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = || 0..5_u8;
    prop_oneof![
        (key(), any::<u8>(), any::<u8>()).prop_map(|(key, a, b)| Step::Insert(key, a, b)),
        (key(), key(), any::<u8>(), proptest::option::of(any::<u8>()))
            .prop_map(|(key, to, value, large)| Step::Update { key, to, value, large }),
        key().prop_map(Step::Delete),
    ]
}

type Rows = BTreeMap<u8, (u8, u8)>;

/// Does the step to the rows if a database would allow it, and tells what the log would say.
fn naive(rows: &mut Rows, step: &Step) -> Option<Change> {
    match *step {
        Step::Insert(key, a, b) => {
            if rows.contains_key(&key) {
                return None;
            }
            rows.insert(key, (a, b));
            Some(Change::Insert(vec![cell(key), cell(a), cell(b)]))
        }
        Step::Update { key, to, value, large } => {
            let (_, before) = *rows.get(&key)?;
            if key != to && rows.contains_key(&to) {
                return None;
            }
            rows.remove(&key);
            rows.insert(to, (value, large.unwrap_or(before)));
            let old = (key != to).then(|| vec![cell(key), Cell::Null, Cell::Null]);
            Some(Change::Update(old, vec![cell(to), cell(value), large.map_or(Cell::Unchanged, cell)]))
        }
        Step::Delete(key) => {
            rows.remove(&key)?;
            Some(Change::Delete(vec![cell(key), Cell::Null, Cell::Null]))
        }
    }
}

enum Change {
    Insert(Row),
    Update(Option<Row>, Row),
    Delete(Row),
}

fn number(cell: &Cell) -> u8 {
    str::from_utf8(cell.text().unwrap()).unwrap().parse().unwrap()
}

/// What a server does with a net: deletes, updates, inserts; each must find its row.
fn server(rows: &mut Rows, keyed: &Keyed) {
    for (key, net) in keyed.rows() {
        if *net == Net::Delete {
            assert!(rows.remove(&number(&key[0])).is_some(), "a row to delete is there");
        }
    }
    for (key, net) in keyed.rows() {
        if let Net::Update(row) = net {
            assert_eq!(&row[0], &key[0]);
            update(rows, number(&key[0]), row);
        }
    }
    for (_, net) in keyed.rows() {
        if let Net::Insert(row) = net {
            let fresh = rows.insert(number(&row[0]), (number(&row[1]), number(&row[2]))).is_none();
            assert!(fresh, "no two rows have a key");
        }
    }
}

fn update(rows: &mut Rows, key: u8, row: &[Cell]) {
    let (a, b) = rows.remove(&key).expect("a row to update is there");
    let new = |cell: &Cell, old| if *cell == Cell::Unchanged { old } else { number(cell) };
    assert!(rows.insert(number(&row[0]), (new(&row[1], a), new(&row[2], b))).is_none(), "no two rows have a key");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_net_effect_of_a_window_is_that_of_its_steps(
        start in proptest::collection::btree_map(0..5_u8, (any::<u8>(), any::<u8>()), 0..5),
        steps in proptest::collection::vec(any_step(), 0..40),
    ) {
        let (mut stepwise, mut target) = (start.clone(), start);
        let identity = RowIdentity::Key(vec![0]);
        let mut net = TableNet::new(&identity);
        for step in &steps {
            let Some(change) = naive(&mut stepwise, step) else { continue };
            let taken = match change {
                Change::Insert(new) => net.insert(new).map(|()| Taken::Merged),
                Change::Update(old, new) => net.update(old, new),
                Change::Delete(old) => net.delete(old).map(|()| Taken::Merged),
            };
            if let Taken::Move { from, to } = taken.unwrap() {
                let TableNet::Keyed(_, keyed) = std::mem::replace(&mut net, TableNet::new(&identity)) else { panic!() };
                server(&mut target, &keyed);
                update(&mut target, number(&from[0]), &to);
            }
        }
        let TableNet::Keyed(_, keyed) = net else { panic!() };
        server(&mut target, &keyed);
        prop_assert_eq!(target, stepwise);
    }

    #[test]
    fn rows_without_a_key_are_counted(steps in proptest::collection::vec((0..3_u8, 0..3_u8, 0..3_u8), 0..40)) {
        let mut net = TableNet::new(&RowIdentity::Full);
        let (mut stepwise, mut target) = (BTreeMap::<u8, i64>::new(), BTreeMap::<u8, i64>::new());
        for (what, from, to) in steps {
            if what == 0 {
                *stepwise.entry(to).or_default() += 1;
                net.insert(vec![cell(to)]).unwrap();
            } else if stepwise.get(&from).is_some_and(|count| *count > 0) {
                *stepwise.get_mut(&from).unwrap() -= 1;
                if what == 1 {
                    *stepwise.entry(to).or_default() += 1;
                    net.update(Some(vec![cell(from)]), vec![cell(to)]).unwrap();
                } else {
                    net.delete(vec![cell(from)]).unwrap();
                }
            }
        }
        let TableNet::Bag(bag) = net else { panic!() };
        for (row, more) in bag.rows() {
            *target.entry(number(&row[0])).or_default() += more;
        }
        stepwise.retain(|_, count| *count != 0);
        prop_assert_eq!(target, stepwise);
    }
}

type Again = fn(&mut TableNet, Row) -> Result<(), Misfit>;

#[test]
fn a_change_that_cannot_follow_is_an_error() {
    let row = |key| vec![cell(key), cell(0), cell(0)];
    let keyed = || TableNet::new(&RowIdentity::Key(vec![0]));
    let mut net = keyed();
    net.insert(row(1)).unwrap();
    assert_eq!(net.insert(row(1)), Err(THERE_ALREADY));
    let twice: [Again; 2] = [|net, row| net.delete(row), |net, row| net.update(None, row).map(drop)];
    for again in twice {
        let mut net = keyed();
        net.delete(row(1)).unwrap();
        assert_eq!(again(&mut net, row(1)), Err(NOT_THERE));
    }
    assert_eq!(TableNet::new(&RowIdentity::Full).update(None, row(1)), Err(NO_KEY));
    assert_eq!(TableNet::new(&RowIdentity::Nothing).delete(row(1)), Err(NO_KEY));
    assert_eq!(keyed().insert(vec![cell(1), Cell::Unchanged, cell(2)]), Err(NOT_WHOLE));
}
