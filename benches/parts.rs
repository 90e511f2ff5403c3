//! What each part of the capture path costs: records into frames, a segment sealed, opened and decoded again.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt;
use holdfast::clock::SystemClock;
use holdfast::codec::frame::pack;
use holdfast::codec::record;
use holdfast::codec::segment::{ObjectKind, Suite};
use holdfast::crypto::Keyring;
use holdfast::crypto::file::FileKey;
use holdfast::entropy::OsEntropy;
use holdfast::log::LogEnv;
use holdfast::log::object::{Object, Seal, draft};
use holdfast::model::{Epoch, ObjectKey, Record, Role};
use holdfast::store::MemoryStore;

const FRAMES: usize = 32;

/// A frame's worth of records that look like pgbench's updates.
fn plain() -> Vec<u8> {
    let mut plain = Vec::new();
    let mut number = 0_u32;
    while plain.len() < 255 * 1024 {
        let wire = format!(
            "U\0\0@\u{1}N\0\u{4}t\0\0\0\u{6}{number:06}t\0\0\0\u{1}1t\0\0\0\u{5}{:05}t{:84}",
            number % 77_777,
            ""
        );
        record::encode(&Record::wire(Role::Inside, Bytes::from(wire)), &mut plain);
        number += 7;
    }
    plain
}

fn env() -> LogEnv {
    LogEnv {
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(Keyring::of_file(FileKey::fresh(&OsEntropy))),
        suite: Suite::ChaCha20Poly1305,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
    }
}

fn parts(criterion: &mut Criterion) {
    let (env, plain) = (env(), plain());
    let bytes = u64::try_from(plain.len()).expect("a frame is small");
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("pack", |bencher| bencher.iter(|| pack(black_box(&plain))));
    let frame = Bytes::from(plain.clone());
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut at = 0;
            std::iter::from_fn(|| record::decode(&frame, &mut at).ok().flatten()).count()
        });
    });
    group.finish();
    let frames: Vec<_> = (0..FRAMES).map(|_| pack(&plain)).collect();
    let mut seal = Seal::begin(&env, [1; 16], Epoch::new(1)).now_or_never().expect("at once").expect("a key file");
    let header = draft(ObjectKind::Data);
    let mut sealed = || seal.seal(&header, &frames, |_| Vec::new()).expect("a segment can be sealed");
    let key: ObjectKey = "log/bench/1".parse().expect("a plain name");
    let object = sealed().bytes();
    let mut group = criterion.benchmark_group("segment");
    group.throughput(Throughput::Bytes(bytes * u64::try_from(FRAMES).expect("a handful")));
    group.bench_function("seal", |bencher| bencher.iter(&mut sealed));
    group.bench_function("open", |bencher| {
        bencher.iter(|| {
            let mut object =
                Object::open(&env, &key, object.clone()).now_or_never().expect("at once").expect("our own object");
            while let Some(frame) = object.next_frame().expect("our own frame") {
                black_box(frame);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, parts);
criterion_main!(benches);
