//! The configuration as written: values with their lines, whatever their type, and a book of complaints about them.

use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::complaint::Complaint;
use crate::config::names::{self, Shape};
use crate::config::outside::Outside;

/// Where complaints are written down, and what is needed to make them.
pub(crate) struct Book<'t> {
    file: &'t Path,
    text: &'t str,
    outside: &'t dyn Outside,
    complaints: Vec<Complaint>,
}

/// One table of a section, or none of it if the configuration leaves the section out.
pub(crate) struct Section<'t> {
    kind: &'static str,
    /// What complaints call it: `log`, `source.main`, `source[2]`.
    pub(crate) path: String,
    /// Its line; none if it is left out.
    pub(crate) line: Option<usize>,
    table: Option<&'t DeTable<'t>>,
}

/// One value, wherever it was taken from.
pub(crate) struct Setting {
    /// What complaints call it.
    pub(crate) field: String,
    /// Its line.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) value: Plain,
}

/// A value that is no list and no table.
pub(crate) enum Plain {
    /// In quotes.
    Text(String),
    /// From a variable or a file: a text that stands for a value of any type.
    Taken(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
}

/// Why a value cannot be used, and what to write instead.
pub(crate) type Wrong = (String, String);

impl<'t> Book<'t> {
    pub(crate) fn new(file: &'t Path, text: &'t str, outside: &'t dyn Outside) -> Self {
        Self { file, text, outside, complaints: Vec::new() }
    }

    pub(crate) fn complain(&mut self, line: Option<usize>, field: &str, why: &str, remedy: &str) {
        let (file, field) = (self.file.display().to_string(), field.to_owned());
        self.complaints.push(Complaint { file, at: line, field, why: why.to_owned(), remedy: remedy.to_owned() });
    }

    /// All complaints in the order of their lines, what is missing altogether last.
    pub(crate) fn close(mut self) -> Vec<Complaint> {
        self.complaints.sort_by_key(|complaint| complaint.at.unwrap_or(usize::MAX));
        self.complaints
    }

    /// A path as the configuration means it: relative ones start at the configuration's own folder.
    pub(crate) fn path(&self, written: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(written)
    }

    /// The text as a table. A syntax error's own words are passed on, never the line that it stands in.
    pub(crate) fn parse(&mut self) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = error.span().map(|span| self.line(span.start));
            self.complain(line, "syntax", error.message(), "correct this line; what it hides cannot be checked yet");
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// Complains about sections that mean nothing here.
    pub(crate) fn unknown_sections(&mut self, document: &DeTable<'_>) {
        for (key, _) in document {
            let (name, line) = (key.get_ref().as_ref(), Some(self.line(key.span().start)));
            let known: Vec<&str> = names::SETTINGS.iter().map(|(known, _, _)| *known).collect();
            if let Some(remedy) = names::later(name, "") {
                self.complain(line, name, "not in this version", remedy);
            } else if !known.contains(&name) {
                self.complain(line, name, "means nothing here", &names::remedy(name, &known));
            }
        }
    }

    /// The tables of a section: exactly one for [`Shape::One`], even if it is left out.
    pub(crate) fn sections(&mut self, document: &'t DeTable<'t>, kind: &'static str) -> Vec<Section<'t>> {
        let shape =
            names::SETTINGS.iter().find(|(name, _, _)| *name == kind).map_or(Shape::One, |(_, shape, _)| *shape);
        let mut found = Vec::new();
        if let Some((key, value)) = document.get_key_value(kind) {
            let line = self.line(key.span().start);
            for (table, line) in self.tables(kind, shape, value, line) {
                let path = match shape {
                    Shape::One => kind.to_owned(),
                    Shape::Many => named(kind, found.len(), table),
                };
                found.push(Section { kind, path, line: Some(line), table: Some(table) });
            }
        }
        if found.is_empty() && shape == Shape::One {
            found.push(Section { kind, path: kind.to_owned(), line: None, table: None });
        }
        for section in &found {
            self.unknown_settings(section);
        }
        found
    }

    fn tables(
        &mut self,
        kind: &str,
        shape: Shape,
        value: &'t Spanned<DeValue<'t>>,
        line: usize,
    ) -> Vec<(&'t DeTable<'t>, usize)> {
        let (written, is_list) = (value.get_ref(), value.get_ref().is_array());
        let listed: Vec<_> = written
            .as_array()
            .into_iter()
            .flat_map(|list| list.iter())
            .filter_map(|item| Some((item.get_ref().as_table()?, self.line(item.span().start))))
            .collect();
        let tables = if is_list { listed } else { written.as_table().map(|table| (table, line)).into_iter().collect() };
        match (shape, is_list) {
            (Shape::Many, false) => {
                self.complain(Some(line), kind, "stands in a list", &format!("write [[{kind}]] with two brackets"));
            }
            (Shape::One, true) => {
                self.complain(
                    Some(line),
                    kind,
                    "stands once, not in a list",
                    &format!("write [{kind}] with one bracket"),
                );
            }
            (Shape::Many, true) | (Shape::One, false) if tables.is_empty() => {
                self.complain(Some(line), kind, "is not a section", &format!("write [{kind}] and settings below it"));
            }
            (Shape::Many, true) | (Shape::One, false) => {}
        }
        tables
    }

    fn unknown_settings(&mut self, section: &Section<'_>) {
        for (key, _) in section.table.into_iter().flat_map(DeTable::iter) {
            let (name, line) = (key.get_ref().as_ref(), Some(self.line(key.span().start)));
            let (field, known) = (format!("{}.{name}", section.path), names::of(section.kind));
            if let Some(remedy) = names::later(section.kind, name) {
                self.complain(line, &field, "not in this version", remedy);
            } else if !known.contains(&name) {
                self.complain(line, &field, "means nothing here", &names::remedy(name, known));
            }
        }
    }

    /// A setting that is a table in one line; `None` if it is left out or, with a complaint, is none. `kind` is its name
    /// with its section's, as [`names::of`] knows it.
    pub(crate) fn inline<'s>(&mut self, section: &Section<'s>, kind: &'static str, shape: &str) -> Option<Section<'s>> {
        let (_, name) = kind.split_once('.')?;
        let written = section.table?.get(name)?;
        let (path, line) = (format!("{}.{name}", section.path), Some(self.line(written.span().start)));
        let Some(table) = written.get_ref().as_table() else {
            let why = format!("is of a wrong type ({})", written.get_ref().type_str());
            self.complain(line, &path, &why, &format!("write {name} = {shape}"));
            return None;
        };
        let found = Section { kind, path, line, table: Some(table) };
        self.unknown_settings(&found);
        Some(found)
    }

    /// A setting as `parse` understands it; `None` if it is left out or, with a complaint, cannot be used.
    pub(crate) fn read<T>(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        parse: impl FnOnce(&Plain) -> Result<T, Wrong>,
    ) -> Option<T> {
        let setting = self.setting(section, name)?;
        match parse(&setting.value) {
            Ok(value) => Some(value),
            Err((why, remedy)) => {
                self.complain(Some(setting.line), &setting.field, &why, &remedy);
                None
            }
        }
    }

    /// Whether a section says anything about a setting, usable or not.
    pub(crate) fn says(section: &Section<'_>, name: &str) -> bool {
        section.table.is_some_and(|table| table.contains_key(name))
    }

    /// As [`Book::read`], for what must be there; `remedy` is what to write.
    pub(crate) fn need<T>(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        remedy: &str,
        parse: impl FnOnce(&Plain) -> Result<T, Wrong>,
    ) -> Option<T> {
        if section.table.is_none_or(|table| !table.contains_key(name)) {
            let field = format!("{}.{name}", section.path);
            self.complain(section.line, &field, "is missing", remedy);
        }
        self.read(section, name, parse)
    }

    /// The value of a setting, looked up outside if it says so.
    pub(crate) fn setting(&mut self, section: &Section<'_>, name: &'static str) -> Option<Setting> {
        let written = section.table?.get(name)?;
        let (field, line) = (format!("{}.{name}", section.path), self.line(written.span().start));
        let usual = "write one value, { env = \"NAME\" } or { file = \"PATH\" }";
        let value = match written.get_ref() {
            DeValue::String(text) => Ok(Plain::Text(text.as_ref().to_owned())),
            DeValue::Boolean(value) => Ok(Plain::Bool(*value)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(Plain::Integer)
                .map_err(|_| ("is a number of more than 64 bits".to_owned(), "write a smaller one".to_owned())),
            DeValue::Table(table) => self.taken(table),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
                Err((format!("is of a wrong type ({})", written.get_ref().type_str()), usual.to_owned()))
            }
        };
        match value {
            Ok(value) => Some(Setting { field, line, value }),
            Err((why, remedy)) => {
                self.complain(Some(line), &field, &why, &remedy);
                None
            }
        }
    }

    fn taken(&self, table: &DeTable<'_>) -> Result<Plain, Wrong> {
        let text = |name| table.get(name).and_then(|value| value.get_ref().as_str());
        match (table.len(), text("env"), text("file")) {
            (1, Some(name), None) => self.outside.env(name).map(Plain::Taken).ok_or_else(|| {
                (format!("the environment variable {name} is not set"), "set it for this process".to_owned())
            }),
            (1, None, Some(path)) => match self.outside.file(&self.path(path)) {
                Ok(mut text) => {
                    let end =
                        text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).map_or(text.len(), str::len);
                    text.truncate(end);
                    Ok(Plain::Taken(text))
                }
                Err(error) => {
                    let why = format!("the file {path} cannot be read ({error})");
                    Err((why, "create it, or let this process's user read it".to_owned()))
                }
            },
            (_, _, _) => {
                let why = "is a table that says neither env nor file";
                Err((why.to_owned(), "write one value, { env = \"NAME\" } or { file = \"PATH\" }".to_owned()))
            }
        }
    }

    /// The line of a setting in a section that stands once.
    pub(crate) fn line_of(&self, document: &DeTable<'_>, section: &str, name: &str) -> Option<usize> {
        let value = document.get(section)?.get_ref().as_table()?.get(name)?;
        Some(self.line(value.span().start))
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        memchr::memchr_iter(b'\n', before).count().saturating_add(1)
    }
}

/// `source.main` where a table says its name, else `source[2]`.
fn named(kind: &str, before: usize, table: &DeTable<'_>) -> String {
    match table.get("name").and_then(|name| name.get_ref().as_str()) {
        Some(name) if !name.is_empty() && !name.contains(char::is_control) => format!("{kind}.{name}"),
        Some(_) | None => format!("{kind}[{}]", before.saturating_add(1)),
    }
}
