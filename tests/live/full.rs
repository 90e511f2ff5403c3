//! Row D1 through the program itself: a store, and a state folder, without space, and with space again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::eventually;
use crate::shop::{Shop, exit};

const TABLE: &str = "create table t (id int primary key, v text)";
const SUM: &str = "select count(*), coalesce(sum(id), 0) from t";

/// A small disk in the place of a folder; let go of when dropped.
struct Disk(PathBuf);

impl Disk {
    fn over(folder: &Path, size: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let how = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &how, "none"]).arg(folder).status();
        assert!(mounted.unwrap().success(), "this test mounts a small disk, which takes root");
        Self(folder.to_owned())
    }

    /// Takes so many bytes, or as many as there are; whether that was all.
    fn fill(&self, bytes: u64) -> bool {
        let script = format!("yes | head -c {bytes} > {}", self.filler().display());
        !Command::new("sh").args(["-c", &script]).stderr(std::process::Stdio::null()).status().unwrap().success()
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn d1_l8_a_base_that_finds_no_space_is_none_takes_none_and_the_next_one_is() {
    let shop = Shop::with(&[]);
    let disk = Disk::over(&shop.path("store"), "12m");
    shop.sql(TABLE);
    // Random digits: what is sealed is about half of them.
    shop.sql(
        "insert into t select g, (select string_agg(md5(random()::text || g || i), '') from generate_series(1, 20) i) \
         from generate_series(1, 10000) g",
    );
    shop.ok(&["init"]);
    disk.fill(11_000_000);
    let refused = shop.expect(&["backup"], exit::UNAVAILABLE);
    assert!(refused.stderr.contains("no space left; free some or raise the quota"), "{refused:?}");
    assert_eq!((shop.bases(), shop.base_folders()), (0, 0), "what was written of it is gone");
    let nothing = shop.restore("latest", "too_early");
    assert_eq!(nothing.code, exit::NOT_RESTORABLE, "{nothing:?}");
    disk.free();
    shop.ok(&["backup"]);
    shop.sql("insert into t values (0, 'after')");
    shop.drain();
    assert_eq!(shop.restored("latest", "after", SUM), shop.sql(SUM));
    shop.expect(&["verify"], exit::DONE);
}

#[test]
fn d1_l9_a_state_folder_without_space_stops_no_capture_no_base_and_no_start() {
    let shop = Shop::with(&[]);
    let disk = Disk::over(&shop.path("state"), "2m");
    shop.sql(TABLE);
    shop.ok(&["init"]);
    shop.ok(&["backup"]);
    let mut daemon = shop.capturing();
    shop.sql("insert into t values (1, 'with space')");
    shop.settle();
    assert!(disk.fill(3_000_000), "the disk is full now");
    for id in 2..40 {
        shop.sql(&format!("insert into t values ({id}, 'without')"));
    }
    shop.settle();
    assert!(daemon.is_running(), "{}", daemon.said());
    shop.ok(&["backup"]);
    assert_eq!(shop.bases(), 2, "whoever takes a base cannot say so, and takes it all the same");
    shop.ok(&["find", "--table", "t"]);
    assert_eq!(daemon.stop().0, exit::DONE);
    // Nor does it keep one from starting.
    let daemon = shop.capturing();
    shop.sql("insert into t values (40, 'after a start')");
    shop.settle();
    disk.free();
    let on_disk = || (shop.json(&["status"])["daemon"] == true).then_some(());
    eventually("it answers", on_disk, || daemon.said());
    assert_eq!(daemon.stop().0, exit::DONE);
    assert_eq!(shop.restored("latest", "whole", SUM), "40|820");
    assert!(shop.gaps().is_empty());
    shop.expect(&["verify"], exit::DONE);
}
