//! A real dump of a schema that tries to look like a dump, and the rules of statements one by one.

use proptest::prelude::*;

use super::*;

const PRE_DATA: &str = include_str!("../../../tests/golden/pg_dump/pre-data.sql");
const POST_DATA: &str = include_str!("../../../tests/golden/pg_dump/post-data.sql");
const GLOBALS: &str = include_str!("../../../tests/golden/pg_dump/globals.sql");
const ENTRIES: &str = include_str!("../../../tests/golden/pg_dump/entries.txt");

/// A header as `pg_dump` writes it, and a statement.
const PLAIN: &str = "--\n-- Name: t; Type: TABLE; Schema: public; Owner: joe\n--\n\nCREATE TABLE public.t ();\n\n";

fn sql_of<'a>(text: &'a str, kind: &str, name: &str) -> Vec<&'a str> {
    entries(text).unwrap().iter().filter(|e| e.kind == kind && e.name == name).map(|e| e.sql).collect()
}

#[test]
fn a_real_dump_of_nasty_names_and_bodies_gives_its_objects_and_nothing_else() {
    let line = |e: &Entry| {
        let [schema, owner] = [e.schema, e.owner].map(|text| text.unwrap_or("-"));
        format!("{:28} {} | {} | {} | {} bytes\n", e.kind, schema, e.name, owner, e.sql.len())
    };
    let listing = |text| entries(text).unwrap().iter().map(line).collect::<String>();
    assert_eq!(listing(PRE_DATA) + "\n" + &listing(POST_DATA), ENTRIES);
}

#[test]
fn a_body_that_looks_like_a_dump_stays_in_its_entry() {
    let plain = sql_of(PRE_DATA, "FUNCTION", "plain()");
    assert_eq!(plain.len(), 1);
    assert!(plain[0].contains("-- Name: fake; Type: FUNCTION;"), "a header in a string of the body");
    assert!(plain[0].contains("\n\\connect is no command here\n"), "a psql command in a comment of the body");
    assert!(plain[0].ends_with("ALTER FUNCTION app.plain() OWNER TO postgres;"));
    let comment = sql_of(PRE_DATA, "COMMENT", "TABLE t");
    assert!(comment[0].contains("\nDROP TABLE t;\n\\connect other\n") && comment[0].ends_with("';"));
    let rule = sql_of(POST_DATA, "RULE", "v several");
    assert!(rule[0].contains("DELETE FROM app.ref") && rule[0].ends_with("NOTIFY app;\n);"), "all the rule's commands");
}

#[test]
fn only_what_the_server_understands_is_left() {
    for text in [PRE_DATA, POST_DATA] {
        let token = text.lines().find_map(|line| line.strip_prefix("\\restrict ")).unwrap();
        for Entry { kind, sql, .. } in entries(text).unwrap() {
            assert!(sql.starts_with(|c: char| c.is_ascii_uppercase()), "no comment before: {sql}");
            assert!(sql.ends_with(';'), "no comment after: {sql}");
            assert!(!sql.contains(token), "no command to psql: {sql}");
            assert_eq!(kind.is_empty(), sql.starts_with("SET "), "settings apart: {sql}");
        }
    }
}

#[test]
fn globals_are_single_statements() {
    let all = statements(GLOBALS).unwrap();
    assert_eq!(all.len(), 13);
    assert!(all[9].contains("\n-- Name: fake;") && all[9].ends_with("DROP ROLE reader;';"), "one comment on a role");
    assert!(all.iter().all(|sql| sql.ends_with(';') && !sql.contains("restrict ")));
}

#[test]
fn a_statement_ends_where_psql_ends_it() {
    #[rustfmt::skip]
    let cases: [(&str, &[&str], &str); 9] = [
        // text                                      statements                                  why
        ("SELECT 1; SELECT 2",                       &["SELECT 1;", "SELECT 2"],                 "the last one needs no semicolon"),
        (";;\n;",                                    &[],                                        "empty ones are none"),
        ("-- a;\nSELECT 1; -- b;",                   &["SELECT 1;"],                             "comments around are left out"),
        ("SELECT /* ; */ 1;",                        &["SELECT /* ; */ 1;"],                     "comments inside stay"),
        ("CREATE RULE r AS ON INSERT TO t DO (A; B); C;",
            &["CREATE RULE r AS ON INSERT TO t DO (A; B);", "C;"],                               "parentheses hold"),
        ("create or replace procedure p() begin atomic select case 1 when 2 then 3 end; end; C;",
            &["create or replace procedure p() begin atomic select case 1 when 2 then 3 end; end;", "C;"],
                                                                                                 "CASE has an END too"),
        ("BEGIN; SELECT 1; END;",                    &["BEGIN;", "SELECT 1;", "END;"],           "no routine: a transaction"),
        ("CREATE TABLE f (begin int); C;",           &["CREATE TABLE f (begin int);", "C;"],     "no routine: a name"),
        ("A;\n\\connect x\nB;",                      &["A;", "B;"],                              "psql's commands are left out"),
    ];
    for (text, expected, why) in cases {
        assert_eq!(statements(text).unwrap(), expected, "{why}: {text}");
    }
}

#[test]
fn a_header_is_read_whatever_its_names_contain() {
    #[rustfmt::skip]
    let cases = [
        // what the comment says                                              name, kind, schema, owner
        ("t; Type: TABLE; Schema: public; Owner: joe",                        Some(("t", "TABLE", Some("public"), Some("joe")))),
        ("a; Type: X; Schema: b; Type: TYPE; Schema: s; Owner: -",            Some(("a; Type: X; Schema: b", "TYPE", Some("s"), None))),
        ("s; Type: SCHEMA; Schema: -; Owner: o; Type: X",                     Some(("s", "SCHEMA", None, Some("o; Type: X")))),
        ("i; Type: INDEX; Schema: s; Owner: o; Tablespace: fast; disk",       Some(("i", "INDEX", Some("s"), Some("o")))),
        ("EXTENSION x; Type: COMMENT; Schema: -; Owner: ",                    Some(("EXTENSION x", "COMMENT", None, None))),
        ("no type at all",                                                    None),
    ];
    for (said, expected) in cases {
        let found = parse_header(said).map(|h| (h.name, h.kind, h.schema, h.owner));
        assert_eq!(found, expected, "{said}");
    }
}

#[test]
fn a_verbose_dump_has_the_same_entries() {
    let verbose =
        PLAIN.replace("--\n-- Name", "--\n-- TOC entry 215 (class 1259 OID 16387)\n-- Dependencies: 5\n-- Name");
    assert_eq!(entries(&verbose).unwrap(), entries(PLAIN).unwrap());
}

#[test]
fn rows_are_no_schema() {
    let text = format!("{PLAIN}COPY public.t (a) FROM stdin;\n1\n\\.\n");
    assert_eq!(entries(&text), Err(SqlTextError::Rows { line: 7 }));
    assert_eq!(statements(&text), Err(SqlTextError::Rows { line: 7 }));
}

proptest! {
    #[test]
    fn every_cut_of_a_dump_is_an_error_or_a_beginning(at: prop::sample::Index) {
        let mut cut = at.index(PRE_DATA.len());
        while !PRE_DATA.is_char_boundary(cut) {
            cut -= 1;
        }
        let (whole, part) = (entries(PRE_DATA).unwrap(), entries(&PRE_DATA[..cut]));
        if let Ok(part) = part {
            let complete = part.len().saturating_sub(1);
            prop_assert_eq!(&part[..complete], &whole[..complete]);
        }
    }

    #[test]
    fn any_text_at_all_is_split_without_losing_a_statement(text in "(--\n|-- Name: |; Type: T|[a-z;'$\"\\\\ \n()]|BEGIN|é){0,30}") {
        if let Ok(found) = statements(&text) {
            prop_assert!(found.iter().all(|sql| text.contains(sql)));
        }
        let _ = entries(&text);
    }
}
