//! A store as configured, `[[store]]`: a folder or a bucket, and never both.

use toml::de::DeTable;

use crate::config::check::{name, path, text, truth, wrong};
use crate::config::raw::{Book, Plain, Section, Wrong};
use crate::config::settings::{StorePlace, StoreSettings};
use crate::store::s3::{S3Place, Style};

const S3_SHAPE: &str = "{ bucket = \"NAME\", prefix = \"holdfast\", region = \"eu-central-1\" }";

pub(crate) fn store<'t>(book: &mut Book<'t>, document: &'t DeTable<'t>) -> Option<StoreSettings> {
    let sections = book.sections(document, "store");
    if !document.contains_key("store") {
        book.complain(None, "store", "is missing", "add [[store]] with folder = \"/path\"");
    }
    for mirror in sections.iter().skip(1) {
        let why = "is a second store, and mirrors are not in this version";
        book.complain(mirror.line, &mirror.path, why, "take it out");
    }
    let mut stores = Vec::new();
    for section in &sections {
        let name = book.read(section, "name", name).unwrap_or_else(|| "first".to_owned());
        let first = "the first store decides and cannot be optional";
        book.read(section, "required", |value| if truth(value)? { Ok(()) } else { wrong(first, "write true") });
        stores.extend(place(book, section).map(|place| StoreSettings { name, place }));
    }
    stores.into_iter().next()
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
