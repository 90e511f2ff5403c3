//! Schema and globals by PostgreSQL's own programs, piped into the base and never on disk.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::codec::base::Content;
use crate::connect::ConnectTarget;
use crate::model::limits::SOCKET_READ_BYTES;
use crate::source::postgres::base::error::BaseTakeError;
use crate::source::postgres::base::parts::PartWriter;
use crate::source::postgres::names;
use crate::source::postgres::patience::LOCK_WAIT;

const PG_DUMP: &str = "pg_dump";
const PG_DUMPALL: &str = "pg_dumpall";
/// Where Debian's packages put each major version's programs.
const VERSIONED: &str = "/usr/lib/postgresql";
/// What is kept of what a program says on its error output.
const SAID_BYTES_MAX: u64 = 64 * 1024;

/// The sections of a schema dump, and how each is asked for.
pub(crate) fn sections(snapshot: &str) -> [(Content, Vec<String>); 2] {
    let arguments = |section: &str| {
        [
            format!("--snapshot={snapshot}"),
            format!("--section={section}"),
            format!("--lock-wait-timeout={}", LOCK_WAIT.as_millis()),
            format!("--exclude-schema={}", names::SCHEMA),
            "--no-password".to_owned(),
        ]
        .to_vec()
    };
    [(Content::PreData, arguments("pre-data")), (Content::PostData, arguments("post-data"))]
}

/// `pg_dump` and `pg_dumpall`, of at least the server's major version.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    folder: Option<PathBuf>,
    version: String,
}

impl Tools {
    /// Finds them: the newest that Debian's packages installed, else what the search path has.
    pub(crate) async fn find(server_version: u32) -> Result<Self, BaseTakeError> {
        let wanted = server_version / 10_000;
        let newest = installed().into_iter().max_by_key(|(major, _)| *major).filter(|(major, _)| *major >= wanted);
        let folder = newest.map(|(_, folder)| folder);
        let mut tools = Self { folder, version: String::new() };
        let missing = BaseTakeError::NoTool { program: PG_DUMP, major: wanted };
        let Ok(output) = tools.command(PG_DUMP).arg("--version").output().await else { return Err(missing) };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match major(&version) {
            Some(found) if found >= wanted => {
                tools.version = version;
                Ok(tools)
            }
            Some(_) | None => Err(missing),
        }
    }

    /// What `pg_dump --version` said.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn command(&self, program: &str) -> Command {
        let path = self.folder.as_deref().map_or_else(|| PathBuf::from(program), |folder| folder.join(program));
        let mut command = Command::new(path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs `pg_dump` into a writer.
    pub(crate) async fn dump(
        &self,
        target: &ConnectTarget,
        arguments: &[String],
        into: &mut PartWriter,
    ) -> Result<(), BaseTakeError> {
        self.pipe(PG_DUMP, target, arguments, into).await
    }

    /// Runs `pg_dumpall --globals-only` into a writer. Password hashes need a superuser: without one they are left out,
    /// and the warning says so.
    pub(crate) async fn globals(
        &self,
        target: &ConnectTarget,
        into: &mut PartWriter,
    ) -> Result<Option<String>, BaseTakeError> {
        let arguments = globals_of(target);
        let Err(refused) = self.pipe(PG_DUMPALL, target, &arguments, into).await else { return Ok(None) };
        let BaseTakeError::ToolFailed { .. } = refused else { return Err(refused) };
        let arguments = [&arguments[..], &["--no-role-passwords".to_owned()]].concat();
        self.pipe(PG_DUMPALL, target, &arguments, into).await?;
        Ok(Some("passwords of roles are not in this base: reading them needs a superuser".to_owned()))
    }

    /// Whether the globals can be had, for `check`; what they are is passed over.
    pub(crate) async fn try_globals(&self, target: &ConnectTarget) -> Result<(), BaseTakeError> {
        let program = PG_DUMPALL;
        let mut command = self.command(program);
        command.stdout(Stdio::null()).args(globals_of(target)).arg("--no-role-passwords");
        for (name, value) in target.libpq_environment() {
            command.env(name, &*value);
        }
        let mut child = command.spawn().map_err(|source| BaseTakeError::Tool { program, source })?;
        let said = read_some(child.stderr.take()).await;
        let ended = child.wait().await.map_err(|source| BaseTakeError::Tool { program, source })?;
        if ended.success() { Ok(()) } else { Err(BaseTakeError::ToolFailed { program, said }) }
    }

    async fn pipe(
        &self,
        program: &'static str,
        target: &ConnectTarget,
        arguments: &[String],
        into: &mut PartWriter,
    ) -> Result<(), BaseTakeError> {
        let failed = |source| BaseTakeError::Tool { program, source };
        let mut command = self.command(program);
        for (name, value) in target.libpq_environment() {
            command.env(name, &*value);
        }
        let mut child = command.args(arguments).spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (copied, said) = futures::join!(copy(stdout, into, program), read_some(stderr));
        copied?;
        if child.wait().await.map_err(failed)?.success() {
            Ok(())
        } else {
            Err(BaseTakeError::ToolFailed { program, said })
        }
    }
}

/// By itself `pg_dumpall` connects to `postgres` or `template1`, where our role may have no business.
fn globals_of(target: &ConnectTarget) -> Vec<String> {
    let database = format!("--database={}", target.database());
    vec!["--globals-only".to_owned(), "--no-password".to_owned(), database]
}

async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut PartWriter,
    program: &'static str,
) -> Result<(), BaseTakeError> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; SOCKET_READ_BYTES];
    loop {
        let read = from.read(&mut buffer).await.map_err(|source| BaseTakeError::Tool { program, source })?;
        if read == 0 {
            return Ok(());
        }
        into.push(buffer.get(..read).unwrap_or_default(), false).await?;
    }
}

/// The first line of what a program says. More could repeat a statement.
async fn read_some(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(from) = from else { return String::new() };
    let mut said = Vec::new();
    if from.take(SAID_BYTES_MAX).read_to_end(&mut said).await.is_err() {
        return "its error output broke off".to_owned();
    }
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or("nothing on its error output").chars().take(300).collect()
}

/// Folders with PostgreSQL's programs, with their major version.
fn installed() -> Vec<(u32, PathBuf)> {
    let Ok(versions) = std::fs::read_dir(Path::new(VERSIONED)) else { return Vec::new() };
    let versions = versions.flatten().filter_map(|entry| {
        let major = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path().join("bin");
        folder.join(PG_DUMP).exists().then_some((major, folder))
    });
    versions.collect()
}

/// 15 of `pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_pg_dump_says() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"), Some(15));
        assert_eq!(major("pg_dump (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("pg_dump"), None);
    }
}
