//! From the configuration as written to the settings as used: every complaint is collected before any is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use toml::de::DeTable;

use crate::config::complaint::Complaint;
use crate::config::outside::Outside;
use crate::config::raw::{Book, Plain, Section, Wrong};
use crate::config::settings::{
    BaseSettings, Cipher, Config, Identity, KeySettings, KmsSettings, LogSettings, Objectives, RetentionSettings,
    SchemaImageSettings, Service, SourceSettings, StorePlace, StoreSettings, VerifySettings,
};
use crate::config::{PostgresUrl, store, unit};
use crate::connect::kms::KmsTarget;
use crate::crypto::recovery::{RecoveryKey, RecoveryKeyError};
use crate::log::Hold;
use crate::model::limits::{HEARTBEAT_DEFAULT, SEGMENT_AGE_DEFAULT, SEGMENT_BYTES_DEFAULT};
use crate::model::{SourceName, Timestamp};
use crate::restore::target::time;
use crate::source::postgres::names;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEARS: Duration = Duration::from_hours(100 * 365 * 24);
const KIB: u64 = 1024;
const GIB: u64 = 1024 * 1024 * 1024;

/// What the slot may hold back before it is given up, unless configured otherwise.
const SLOT_BYTES_DEFAULT: u64 = 16 * GIB;

/// Checks everything, then answers once.
pub(crate) fn check(file: &Path, text: &str, outside: &dyn Outside) -> Result<Config, Vec<Complaint>> {
    let mut book = Book::new(file, text, outside);
    let Some(document) = book.parse() else { return Err(book.close()) };
    book.unknown_sections(&document);
    let config = settings(&mut book, &document, file);
    let complaints = book.close();
    match config {
        Some(config) if complaints.is_empty() => Ok(config),
        Some(_) | None => Err(complaints),
    }
}

/// `None` only where something that has no default is missing or wrong, and the book says so.
fn settings<'t>(book: &mut Book<'t>, document: &'t DeTable<'t>, file: &Path) -> Option<Config> {
    let one = |kind, book: &mut Book<'t>| book.sections(document, kind).into_iter().next();
    let service = one("service", book).map(|section| service(book, &section))?;
    let key = one("key", book).and_then(|section| key(book, &section));
    let log = one("log", book).map(|section| log(book, &section))?;
    let base = one("base", book).map(|section| base(book, &section))?;
    let schema_image = one("schema_image", book).map(|section| schema_image(book, &section))?;
    let retention = one("retention", book).map(|section| retention(book, &section))?;
    let holds = holds(book, document);
    let verify = one("verify", book).map(|section| verify(book, &section))?;
    let objectives = one("objectives", book).map(|section| objectives(book, &section))?;
    let http = one("listen", book).and_then(|section| book.read(&section, "http", address));
    let mut stores = store::stores(book, document).into_iter();
    let sources = sources(book, document);
    let (key, store, mirrors) = (key?, stores.next()?, stores.collect::<Vec<_>>());
    let outside = [("key", "file", key.file.as_ref()), ("service", "state_dir", service.state_dir.as_ref())];
    for (section, name, path) in outside {
        let within = |store: &StoreSettings| match &store.place {
            StorePlace::Folder(folder) => path.is_some_and(|path| path.starts_with(folder)),
            StorePlace::S3(_) => false,
        };
        if std::iter::once(&store).chain(&mirrors).any(within) {
            let why = "lies in the store's folder, which may hold nothing but sealed objects";
            book.complain(book.line_of(document, section, name), &format!("{section}.{name}"), why, "put it elsewhere");
        }
    }
    let file = file.to_owned();
    Some(Config {
        file,
        service,
        key,
        store,
        mirrors,
        sources,
        log,
        base,
        schema_image,
        retention,
        holds,
        verify,
        objectives,
        http,
    })
}

fn service(book: &mut Book<'_>, section: &Section<'_>) -> Service {
    let state_dir = book.read(section, "state_dir", path).map(|written| book.path(&written));
    Service { name: book.read(section, "name", line), environment: book.read(section, "environment", line), state_dir }
}

fn key(book: &mut Book<'_>, section: &Section<'_>) -> Option<KeySettings> {
    let ciphers = [("chacha20-poly1305", Cipher::ChaCha20Poly1305), ("aes-256-gcm", Cipher::Aes256Gcm)];
    let cipher = book.read(section, "cipher", |value| one_of(value, &ciphers)).unwrap_or(Cipher::ChaCha20Poly1305);
    let recovery = book.read(section, "recovery", recovery_key);
    let kms = book.inline(section, "key.kms", KMS_SHAPE).map(|table| kms(book, &table));
    let remedy = "add file = \"/etc/holdfast/key\" to [key]; holdfast keys new makes that file";
    let file = match kms {
        Some(_) => book.read(section, "file", path),
        None => Some(book.need(section, "file", remedy, path)?),
    };
    let kms = match kms {
        Some(kms) => Some(kms?),
        None => None,
    };
    Some(KeySettings { file: file.map(|file| book.path(&file)), kms, recovery, cipher })
}

const KMS_SHAPE: &str = "{ key_id = \"alias/holdfast\", region = \"eu-central-1\" }";

fn kms(book: &mut Book<'_>, table: &Section<'_>) -> Option<KmsSettings> {
    let key_id = book.need(table, "key_id", &format!("write kms = {KMS_SHAPE}"), word);
    let region = book.read(table, "region", word);
    let endpoint = book.read(table, "endpoint", key_endpoint);
    let old = book.read(table, "old", |value| Ok(text(value)?.split_whitespace().map(str::to_owned).collect()));
    Some(KmsSettings { target: KmsTarget { key_id: key_id?, region, endpoint }, old: old.unwrap_or_default() })
}

/// Data keys come and go in plain inside the connection: it is sealed, or does not leave this machine (L6).
fn key_endpoint(value: &Plain) -> Result<String, Wrong> {
    let endpoint = store::endpoint(value)?;
    let here = |url: url::Url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if endpoint.starts_with("https://") || url::Url::parse(&endpoint).is_ok_and(here) {
        return Ok(endpoint);
    }
    wrong("would carry data keys over the network for everyone to read", "write https://HOST")
}

fn recovery_key(value: &Plain) -> Result<RecoveryKey, Wrong> {
    let remedy = "write the public half that holdfast keys new --recovery prints".to_owned();
    text(value)?.parse().map_err(|error: RecoveryKeyError| (error.to_string(), remedy))
}

fn word(value: &Plain) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.len() > 2048 || text.contains(|letter: char| letter.is_control() || letter == ' ') {
        return wrong("is not a name without spaces", "write it as the service shows it");
    }
    Ok(text.to_owned())
}

fn sources<'t>(book: &mut Book<'t>, document: &'t DeTable<'t>) -> Vec<SourceSettings> {
    let mut sources = Vec::new();
    let mut slots = BTreeMap::new();
    for section in book.sections(document, "source") {
        let Some(source) = source(book, &section) else { continue };
        if let Some(earlier) = slots.insert(names::slot(&source.name), source.name.clone()) {
            let why = format!("its slot would be that of the source {earlier}");
            book.complain(section.line, &format!("{}.name", section.path), &why, "give each source a name of its own");
        }
        sources.push(source);
    }
    sources
}

fn source(book: &mut Book<'_>, section: &Section<'_>) -> Option<SourceSettings> {
    let identities = [("full", Identity::Full), ("leave", Identity::Leave)];
    let name = book.need(section, "name", "add name = \"main\" to [[source]]", name_of_source);
    let postgres = book.need(section, "postgres", "add postgres = \"postgres://USER@HOST:PORT/DATABASE\"", url);
    let admin = book.read(section, "admin", url);
    let identity = book.read(section, "identity", |value| one_of(value, &identities)).unwrap_or(Identity::Full);
    let beat = |value: &Plain| between(value, SECOND..=300 * SECOND, ("1s", "5min"));
    let heartbeat = book.read(section, "heartbeat", beat).unwrap_or(HEARTBEAT_DEFAULT);
    let held = |value: &Plain| sized(value, KIB * KIB..=u64::MAX, ("1MiB", "what the disk holds"));
    let slot_bytes_max = book.read(section, "slot_bytes_max", held).unwrap_or(SLOT_BYTES_DEFAULT);
    Some(SourceSettings { name: name?, postgres: postgres?, admin, identity, heartbeat, slot_bytes_max })
}

fn log(book: &mut Book<'_>, section: &Section<'_>) -> LogSettings {
    let max = u64::try_from(SEGMENT_BYTES_DEFAULT).unwrap_or(u64::MAX);
    let bytes = book.read(section, "segment_bytes", |value| sized(value, 64 * KIB..=max, ("64KiB", "8MiB")));
    let segment_bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(SEGMENT_BYTES_DEFAULT);
    let age = |value: &Plain| between(value, Duration::from_millis(10)..=60 * SECOND, ("10ms", "60s"));
    LogSettings { segment_bytes, segment_age: book.read(section, "segment_age", age).unwrap_or(SEGMENT_AGE_DEFAULT) }
}

fn base(book: &mut Book<'_>, section: &Section<'_>) -> BaseSettings {
    let every = book.read(section, "every", |value| rhythm(value, 60 * SECOND, "1min"));
    let jobs = book.read(section, "jobs", |value| {
        let jobs = usize::try_from(whole(value)?).ok().filter(|jobs| (1..=32).contains(jobs));
        jobs.ok_or_else(|| ("is not a number of connections".to_owned(), "write a number from 1 to 32".to_owned()))
    });
    BaseSettings { every: every.unwrap_or(Some(DAY)), jobs: jobs.unwrap_or(2) }
}

fn schema_image(book: &mut Book<'_>, section: &Section<'_>) -> SchemaImageSettings {
    let quiet = book.read(section, "quiet", |value| between(value, SECOND..=HOUR, ("1s", "1h")));
    let max_wait = book.read(section, "max_wait", |value| between(value, SECOND..=DAY, ("1s", "1d")));
    let (quiet, max_wait) = (quiet.unwrap_or(5 * SECOND), max_wait.unwrap_or(300 * SECOND));
    if quiet > max_wait {
        let why = "is shorter than schema_image.quiet, which could then never pass";
        book.complain(section.line, "schema_image.max_wait", why, "make it longer");
    }
    SchemaImageSettings { quiet, max_wait }
}

fn retention(book: &mut Book<'_>, section: &Section<'_>) -> RetentionSettings {
    let kept = |value: &Plain| between(value, SECOND..=YEARS, ("1s", "36500d"));
    RetentionSettings {
        bases: book.read(section, "bases", kept).unwrap_or(30 * DAY),
        log: book.read(section, "log", kept).unwrap_or(7 * DAY),
        delete: book.read(section, "delete", truth).unwrap_or(false),
    }
}

fn holds<'t>(book: &mut Book<'t>, document: &'t DeTable<'t>) -> Vec<Hold> {
    let mut holds = Vec::<Hold>::new();
    for section in book.sections(document, "hold") {
        let name = book.need(&section, "name", "add name = \"case-1\" to [[hold]]", |value| {
            name_of_source(value).and_then(|name| name.as_str().parse().map_err(|_| not_a_name()))
        });
        let from = book.need(&section, "from", "add from = \"2026-11-23T10:15:00Z\" to [[hold]]", moment);
        let to = book.read(&section, "to", moment).unwrap_or(Timestamp::MAX);
        let (Some(name), Some(from)) = (name, from) else { continue };
        if to < from {
            book.complain(section.line, &format!("{}.to", section.path), "is before its from", "write a later time");
        }
        if holds.iter().any(|earlier| earlier.name == name) {
            book.complain(section.line, &format!("{}.name", section.path), "is there twice", "write another name");
        }
        holds.push(Hold { name, from, to });
    }
    holds
}

fn verify(book: &mut Book<'_>, section: &Section<'_>) -> VerifySettings {
    let every = |value: &Plain| rhythm(value, SECOND, "1s");
    let rate = |value: &Plain| sized(value, KIB * KIB..=1024 * GIB, ("1MiB", "1TiB"));
    VerifySettings {
        quick: book.read(section, "quick", every).unwrap_or(Some(DAY)),
        full: book.read(section, "full", every).unwrap_or(Some(7 * DAY)),
        bytes_per_second: book.read(section, "bytes_per_second", rate).unwrap_or(64 * KIB * KIB),
    }
}

fn objectives(book: &mut Book<'_>, section: &Section<'_>) -> Objectives {
    let promised = |value: &Plain| between(value, SECOND..=365 * DAY, ("1s", "365d"));
    let rpo = book.read(section, "rpo", promised).unwrap_or(HOUR);
    Objectives { rpo, rto: book.read(section, "rto", promised).unwrap_or(4 * HOUR) }
}

// What follows reads one value. None of it repeats the value.

pub(crate) fn wrong<T>(why: &str, remedy: &str) -> Result<T, Wrong> {
    Err((why.to_owned(), remedy.to_owned()))
}

pub(crate) fn text(value: &Plain) -> Result<&str, Wrong> {
    match value {
        Plain::Text(text) | Plain::Taken(text) => Ok(text),
        Plain::Integer(_) | Plain::Bool(_) => wrong("is not a text", "write it in quotes"),
    }
}

fn line(value: &Plain) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.chars().count() > 64 || text.contains(char::is_control) {
        return wrong("is not a short line of text", "write 1 to 64 characters");
    }
    Ok(text.to_owned())
}

pub(crate) fn path(value: &Plain) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.contains('\0') {
        return wrong("is not a path", "write an absolute path, or one from this configuration's folder");
    }
    Ok(text.to_owned())
}

pub(crate) fn name(value: &Plain) -> Result<String, Wrong> {
    name_of_source(value).map(|name| name.as_str().to_owned())
}

fn name_of_source(value: &Plain) -> Result<SourceName, Wrong> {
    text(value)?.parse().map_err(|_| not_a_name())
}

fn not_a_name() -> Wrong {
    ("is not a usable name".to_owned(), "write 1 to 32 of a-z, 0-9, _ and -, a letter first".to_owned())
}

fn moment(value: &Plain) -> Result<Timestamp, Wrong> {
    let remedy = "write it with its zone, as in \"2026-11-23T10:15:00Z\"".to_owned();
    time(text(value)?).map_err(|_| ("is not a time".to_owned(), remedy))
}

fn url(value: &Plain) -> Result<PostgresUrl, Wrong> {
    let remedy = "write postgres://USER@HOST:PORT/DATABASE".to_owned();
    text(value)?.parse().map_err(|_| ("is not a URL of PostgreSQL".to_owned(), remedy))
}

fn address(value: &Plain) -> Result<SocketAddr, Wrong> {
    let remedy = "write an address and a port, as in \"127.0.0.1:9480\"".to_owned();
    text(value)?.parse().map_err(|_| ("is not an address to listen on".to_owned(), remedy))
}

fn one_of<T: Copy>(value: &Plain, words: &[(&str, T)]) -> Result<T, Wrong> {
    let text = text(value)?;
    let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| ("is none of the words that it may be".to_owned(), format!("write {}", known.join(" or "))))
}

pub(crate) fn truth(value: &Plain) -> Result<bool, Wrong> {
    match value {
        Plain::Bool(value) => Ok(*value),
        Plain::Taken(text) if text == "true" => Ok(true),
        Plain::Taken(text) if text == "false" => Ok(false),
        Plain::Taken(_) | Plain::Text(_) | Plain::Integer(_) => {
            wrong("is not a yes or no", "write true or false, without quotes")
        }
    }
}

fn whole(value: &Plain) -> Result<i64, Wrong> {
    let read = match value {
        Plain::Integer(number) => Some(*number),
        Plain::Taken(text) => text.parse().ok(),
        Plain::Text(_) | Plain::Bool(_) => None,
    };
    read.ok_or_else(|| ("is not a whole number".to_owned(), "write a number without quotes".to_owned()))
}

/// A duration within `limits`; `shown` is how people write those.
fn between(value: &Plain, limits: RangeInclusive<Duration>, shown: (&str, &str)) -> Result<Duration, Wrong> {
    let remedy = format!("write {} to {}", shown.0, shown.1);
    let Ok(text) = text(value) else {
        return wrong("is not a duration with its unit", &format!("{remedy}, in quotes"));
    };
    let read = unit::duration(text).map_err(|why| (why.to_owned(), remedy.clone()))?;
    if limits.contains(&read) { Ok(read) } else { wrong("is outside its limits", &remedy) }
}

/// The time between two runs of something, or `never`.
fn rhythm(value: &Plain, least: Duration, shown: &str) -> Result<Option<Duration>, Wrong> {
    let never = matches!(value, Plain::Text(text) | Plain::Taken(text) if text == "never");
    if never { Ok(None) } else { between(value, least..=365 * DAY, (shown, "365d")).map(Some) }
}

/// A size within `limits`; a bare number is bytes.
fn sized(value: &Plain, limits: RangeInclusive<u64>, shown: (&str, &str)) -> Result<u64, Wrong> {
    let remedy = format!("write {} to {}", shown.0, shown.1);
    let read = match value {
        Plain::Integer(number) => u64::try_from(*number).map_err(|_| "is less than nothing"),
        Plain::Text(text) | Plain::Taken(text) => unit::bytes(text),
        Plain::Bool(_) => Err("is not a size"),
    };
    let read = read.map_err(|why| (why.to_owned(), remedy.clone()))?;
    if limits.contains(&read) { Ok(read) } else { wrong("is outside its limits", &remedy) }
}
