//! The stores as configured, each `[[store]]` a folder or a bucket and never both; the first decides, the others mirror it.

use toml::de::DeTable;

use crate::config::check::{name, path, text, truth, wrong};
use crate::config::raw::{Book, Plain, Section, Wrong};
use crate::config::settings::{StorePlace, StoreSettings};
use crate::store::s3::{S3Place, Style};

const S3_SHAPE: &str = "{ bucket = \"NAME\", prefix = \"holdfast\", region = \"eu-central-1\" }";

/// Every store, the first one first; empty only with a complaint.
pub(crate) fn stores<'t>(book: &mut Book<'t>, document: &'t DeTable<'t>) -> Vec<StoreSettings> {
    let sections = book.sections(document, "store");
    if !document.contains_key("store") {
        book.complain(None, "store", "is missing", "add [[store]] with folder = \"/path\"");
    }
    let mut stores: Vec<StoreSettings> = Vec::new();
    for (at, section) in sections.iter().enumerate() {
        let Some(store) = store(book, section, at == 0) else { continue };
        if let Some(twin) = stores.iter().find(|other| other.name == store.name) {
            let why = format!("is called {} like another store", twin.name);
            book.complain(section.line, &section.path, &why, "give each store a name of its own: name = \"second\"");
        }
        if let Some(other) = stores.iter().find(|other| share(&other.place, &store.place)) {
            let why = format!("shares its place with store {}", other.name);
            let remedy = "give each store a folder or a prefix of its own, on another disk or in another bucket";
            book.complain(section.line, &section.path, &why, remedy);
        }
        stores.push(store);
    }
    stores
}

fn store(book: &mut Book<'_>, section: &Section<'_>, is_first: bool) -> Option<StoreSettings> {
    let named = book.read(section, "name", name);
    let first = "the first store decides and cannot be optional";
    let required = book.read(section, "required", |value| match truth(value)? {
        false if is_first => wrong(first, "write true, or leave it out"),
        required => Ok(required),
    });
    let place = place(book, section)?;
    let name = named.unwrap_or_else(|| name_after(&place));
    Some(StoreSettings { name, place, required: required.unwrap_or(is_first) })
}

/// Whether one place lies within the other: what one store holds, the other would find among its own.
fn share(one: &StorePlace, other: &StorePlace) -> bool {
    match (one, other) {
        (StorePlace::Folder(one), StorePlace::Folder(other)) => one.starts_with(other) || other.starts_with(one),
        (StorePlace::S3(one), StorePlace::S3(other)) => {
            let within = one.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&one.prefix);
            one.bucket == other.bucket && one.endpoint == other.endpoint && within
        }
        (StorePlace::Folder(_), StorePlace::S3(_)) | (StorePlace::S3(_), StorePlace::Folder(_)) => false,
    }
}

/// A store's name, unless it is given one: its place's own (the folder's, the last part of the prefix, the bucket's), so
/// that it stays the same wherever the store stands in the list.
fn name_after(place: &StorePlace) -> String {
    let last = match place {
        StorePlace::Folder(folder) => folder.file_name().and_then(|last| last.to_str()).unwrap_or_default(),
        StorePlace::S3(S3Place { bucket, prefix, .. }) => {
            let last = prefix.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            if last.is_empty() { bucket } else { last }
        }
    };
    let last = last.to_lowercase();
    let fit: String = last.chars().filter(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-')).collect();
    let fit: String = fit.trim_start_matches(|letter: char| !letter.is_ascii_lowercase()).chars().take(32).collect();
    if fit.is_empty() { "store".to_owned() } else { fit }
}

fn place(book: &mut Book<'_>, section: &Section<'_>) -> Option<StorePlace> {
    let bucket = book.inline(section, "store.s3", S3_SHAPE).map(|table| bucket(book, &table));
    if !Book::says(section, "s3") {
        let folder = book.need(section, "folder", "add folder = \"/path\" to [[store]]", path)?;
        return Some(StorePlace::Folder(book.path(&folder)));
    }
    if book.read(section, "folder", path).is_some() {
        let why = "stands beside s3, and a store is in one place";
        book.complain(section.line, &format!("{}.folder", section.path), why, "take one of them out");
    }
    bucket?.map(StorePlace::S3)
}

fn bucket(book: &mut Book<'_>, table: &Section<'_>) -> Option<S3Place> {
    let bucket = book.need(table, "bucket", &format!("write s3 = {S3_SHAPE}"), bucket_name);
    let prefix = book.read(table, "prefix", prefix).unwrap_or_default();
    let region = book.read(table, "region", region);
    let endpoint = book.read(table, "endpoint", endpoint);
    let in_path = book.read(table, "path_style", truth).unwrap_or(false);
    let style = if in_path { Style::Path } else { Style::Host };
    Some(S3Place { bucket: bucket?, prefix, region, endpoint, style })
}

fn bucket_name(value: &Plain) -> Result<String, Wrong> {
    let text = text(value)?;
    // An access point's ARN is taken as it is.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte);
    if (3..=2048).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with("s3:") {
        return Ok(text.to_owned());
    }
    wrong("is not a bucket's name", "write the name alone, without s3:// and without a prefix")
}

/// Empty, or parts between slashes and one slash at the end.
fn prefix(value: &Plain) -> Result<String, Wrong> {
    let text = text(value)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_=".contains(&byte);
    let good = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    let parts = text.strip_suffix('/').unwrap_or(text);
    if parts.is_empty() && text.is_empty() {
        return Ok(String::new());
    }
    if text.len() <= 256 && parts.split('/').all(good) {
        return Ok(format!("{parts}/"));
    }
    wrong("is not a prefix", "write letters, digits and . - _ = between slashes, as in \"site/holdfast\"")
}

fn region(value: &Plain) -> Result<String, Wrong> {
    let text = text(value)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    wrong("is not a region", "write it as AWS does, as in \"eu-central-1\"")
}

pub(crate) fn endpoint(value: &Plain) -> Result<String, Wrong> {
    let remedy = "write https://HOST or http://HOST:PORT, without user, password and path";
    let Ok(url) = url::Url::parse(text(value)?) else { return wrong("is not the URL of an endpoint", remedy) };
    let bare = url.username().is_empty() && url.password().is_none() && url.path() == "/" && url.query().is_none();
    if bare && url.has_host() && matches!(url.scheme(), "http" | "https") {
        return Ok(url.as_str().trim_end_matches('/').to_owned());
    }
    wrong("is not the URL of an endpoint", remedy)
}
