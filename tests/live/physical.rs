//! PostgreSQL's own recovery: a physical copy and archived WAL, brought to a point, as the judge of a restore.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::running::eventually;
use crate::servers::{Postgres, as_server, binaries};

/// A physical copy of a server, and every WAL file since.
pub(crate) struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("hf-archive-").tempdir_in("/tmp").unwrap();
        // The server runs as another user when the tests run as root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    /// The server's `archive_command`.
    pub(crate) fn command(&self) -> String {
        format!("cp %p {}/%f", self.folder.path().display())
    }

    /// Takes the copy.
    pub(crate) fn copy(&self, server: &Postgres) {
        let mut command = as_server(binaries().join("pg_basebackup"));
        command.args(["-d", &server.url("postgres"), "-X", "none", "-c", "fast", "-D"]).arg(self.data());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits until everything up to now is archived.
    pub(crate) fn complete(&self, server: &Postgres) {
        let last = server.psql("postgres", "select pg_walfile_name(pg_current_wal_insert_lsn())");
        server.psql("postgres", "select pg_switch_wal()");
        let file = self.folder.path().join(last);
        let whole = || fs::metadata(&file).is_ok_and(|file| file.len() == 16 * 1024 * 1024);
        eventually("archiving", || whole().then_some(()), || server.log());
    }

    /// Brings a copy to a point, and compares every table of a restored database with it.
    pub(crate) fn compare(
        &self,
        target: &[(&'static str, String)],
        restored: &Postgres,
        database: &str,
        context: &str,
    ) {
        let restore = format!("cp {}/%f %p", self.folder.path().display());
        let own = [("restore_command", restore.as_str()), ("recovery_target_action", "promote")];
        let target = target.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = own.into_iter().chain(target).collect();
        let recovered = Postgres::start_recovery(&self.data(), &settings);
        // It is open for reading before it has arrived.
        recovered.wait_for("postgres", "select pg_is_in_recovery()", "f");
        let tables = "select string_agg(c.oid::regclass::text, ' ' order by c.oid::regclass::text) from pg_class c \
                      where relkind = 'r' and relnamespace = 'public'::regnamespace";
        let names = recovered.psql("shop", tables);
        assert_eq!(restored.psql(database, tables), names, "{context}");
        for table in names.split(' ') {
            let sql =
                format!("select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from {table} t");
            let (ours, theirs) = (restored.psql(database, &sql), recovered.psql("shop", &sql));
            assert_eq!(ours, theirs, "{context}: {table} is not what PostgreSQL recovers\n{}", recovered.log());
        }
    }
}
