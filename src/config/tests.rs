//! The configuration's promises: everything wrong is said at once, with its line and its remedy, and no secret is.

use super::*;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// An environment and files that a test writes down.
#[derive(Default)]
struct Scripted(BTreeMap<&'static str, &'static str>);

impl Outside for Scripted {
    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|&value| value.to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let found = path.to_str().and_then(|path| self.0.get(path));
        found.map(|&text| text.to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

const SMALLEST: &str = r#"
[service]
name = "artist-tech"
state_dir = "/var/lib/holdfast"

[key]
file = "/etc/holdfast/key"

[[store]]
folder = "/backups/holdfast"

[[source]]
name = "main"
postgres = "postgres://holdfast@127.0.0.1:5432/artisttech"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/holdfast/holdfast.toml"), text, &Scripted::default())
}

fn complaints(text: &str, outside: &Scripted) -> Vec<String> {
    match Config::parse(Path::new("holdfast.toml"), text, outside) {
        Err(ConfigError::Wrong { complaints, .. }) => complaints.iter().map(Complaint::to_string).collect(),
        other => panic!("expected complaints, got {other:?}"),
    }
}

#[test]
fn the_smallest_useful_file_is_enough() {
    let config = parse(SMALLEST).unwrap();
    assert_eq!(config.need_state_dir().unwrap(), Path::new("/var/lib/holdfast"));
    assert_eq!(config.store.place, StorePlace::Folder("/backups/holdfast".into()));
    let main = config.need_source(None).unwrap();
    assert_eq!(main.identity, Identity::Full);
    assert_eq!(config.log.segment_age, Duration::from_secs(1));
    assert_eq!(config.http, None, "no port is opened unasked");
}

#[test]
fn reading_verbs_need_a_store_and_a_key_alone() {
    let config = parse("[key]\nfile = \"key\"\n[[store]]\nfolder = \"store\"\n").unwrap();
    assert_eq!(
        config.key.file.as_deref(),
        Some(Path::new("/etc/holdfast/key")),
        "a relative path starts at the configuration's folder"
    );
    assert!(matches!(config.need_source(None), Err(NeedError::NoSource { .. })));
    assert!(matches!(config.need_state_dir(), Err(NeedError::NoStateDir { .. })));
}

#[test]
fn the_first_store_decides_and_the_others_are_mirrors_named_after_their_folders() {
    let text = SMALLEST.replace(
        "[[source]]",
        "[[store]]\nfolder = \"/mnt/2nd Copy\"\n[[store]]\nname = \"far\"\nfolder = \"/far\"\nrequired = true\n[[source]]",
    );
    let config = parse(&text).unwrap();
    let stores: Vec<_> = config.stores().map(|store| (store.name.as_str(), store.required)).collect();
    assert_eq!(stores, [("holdfast", true), ("ndcopy", false), ("far", true)]);
    let alone = config.clone().with_store_alone("far").unwrap();
    assert_eq!((alone.store.place, alone.mirrors.len()), (StorePlace::Folder("/far".into()), 0));
    assert!(matches!(config.with_store_alone("near"), Err(NeedError::NoSuchStore { .. })));
    let first = text.replacen("[[store]]", "[[store]]\nrequired = false", 1);
    let told = complaints(&first, &Scripted::default());
    assert!(told.len() == 1 && told[0].contains("the first store decides and cannot be optional"), "{told:?}");
}

#[test]
fn five_mistakes_are_told_at_once_each_with_its_line_and_its_remedy() {
    let text = r#"[service]
state_dir = 7
[key]
kms = { region = "eu-central-1" }
file = "/etc/holdfast/key"
[[store]]
folder = "/backups/holdfast"
[[source]]
name = "main"
postgres = "mysql://root:sesame@db/app"
heartbeat = "30 parsecs"
[log]
segment_byte = "8MiB"
"#;
    let told = complaints(text, &Scripted::default());
    let expected = [
        "holdfast.toml:2: service.state_dir: is not a text; write it in quotes",
        "holdfast.toml:4: key.kms.key_id: is missing; write kms = { key_id = \"alias/holdfast\", region = \"eu-central-1\" }",
        "holdfast.toml:10: source.main.postgres: is not a URL of PostgreSQL; write postgres://USER@HOST:PORT/DATABASE",
        "holdfast.toml:11: source.main.heartbeat: is not a duration: a whole number and one of ms, s, min, h, d, w; \
         write 1s to 5min",
        "holdfast.toml:13: log.segment_byte: means nothing here; write segment_bytes, or take it out",
    ];
    assert_eq!(told, expected);
    let whole = parse(text).unwrap_err().to_string();
    assert!(whole.starts_with("the configuration has 5 mistakes:\n"), "{whole}");
    assert!(!whole.contains("sesame"), "a password was told");
}

#[test]
fn each_mistake_has_its_complaint() {
    let rest = "[key]\nfile = \"/k\"\n[[store]]\nfolder = \"/s\"\n";
    #[rustfmt::skip]
    let cases = [
        // added to a good file                          complaint
        ("[souce]\n",                                    "holdfast.toml:5: souce: means nothing here; write source, or take it out"),
        ("[kafka]\n",                                    "holdfast.toml:5: kafka: not in this version; take the section out"),
        ("[source]\nname = \"a\"\npostgres = \"postgres://h/d\"\n",
                                                         "holdfast.toml:5: source: stands in a list; write [[source]] with two brackets"),
        ("[[log]]\n",                                    "holdfast.toml:5: log: stands once, not in a list; write [log] with one bracket"),
        ("[[source]]\nname = \"a\"\n",                   "holdfast.toml:5: source.a.postgres: is missing; add postgres = \"postgres://USER@HOST:PORT/DATABASE\""),
        ("[[source]]\npostgres = \"postgres://h/d\"\n",  "holdfast.toml:5: source[1].name: is missing; add name = \"main\" to [[source]]"),
        ("[[store]]\nfolder = \"/t/s\"\n",               "holdfast.toml:5: store[2]: is called s like another store; give each store a name of its own: name = \"second\""),
        ("[[store]]\nname = \"t\"\nfolder = \"/s/t\"\n", "holdfast.toml:5: store.t: shares its place with store s; give each store a folder or a prefix of its own, on another disk or in another bucket"),
        ("[[store]]\nname = \"x\"\ns3 = { bucket = \"backups\", prefix = \"a/b\" }\n[[store]]\nname = \"y\"\ns3 = { bucket = \"backups\", prefix = \"a\" }\n",
                                                         "holdfast.toml:8: store.y: shares its place with store x; give each store a folder or a prefix of its own, on another disk or in another bucket"),
        ("[[store]]\nrequired = true\n",                 "holdfast.toml:5: store[2].folder: is missing; add folder = \"/path\" to [[store]]"),
        ("s3 = { bucket = \"backups\" }\n",              "holdfast.toml:3: store[1].folder: stands beside s3, and a store is in one place; take one of them out"),
        ("[log]\nsegment_bytes = 1\n",                   "holdfast.toml:6: log.segment_bytes: is outside its limits; write 64KiB to 8MiB"),
        ("[log]\nsegment_age = \"5ms\"\n",               "holdfast.toml:6: log.segment_age: is outside its limits; write 10ms to 60s"),
        ("[log]\nsegment_age = 5\n",                     "holdfast.toml:6: log.segment_age: is not a duration with its unit; write 10ms to 60s, in quotes"),
        ("[base]\njobs = 33\n",                          "holdfast.toml:6: base.jobs: is not a number of connections; write a number from 1 to 32"),
        ("[retention]\ndelete = \"yes\"\n",              "holdfast.toml:6: retention.delete: is not a yes or no; write true or false, without quotes"),
        ("[[hold]]\nname = \"a\"\nfrom = \"2026-11-23\"\n",
                                                         "holdfast.toml:7: hold.a.from: is not a time; write it with its zone, as in \"2026-11-23T10:15:00Z\""),
        ("[[hold]]\nname = \"a\"\nfrom = \"2026-11-23T10:15:00Z\"\nto = \"2026-11-22T10:15:00Z\"\n",
                                                         "holdfast.toml:5: hold.a.to: is before its from; write a later time"),
        ("[[hold]]\nfrom = \"2026-11-23T10:15:00Z\"\n", "holdfast.toml:5: hold[1].name: is missing; add name = \"case-1\" to [[hold]]"),
        ("[listen]\nhttp = \"9480\"\n",                  "holdfast.toml:6: listen.http: is not an address to listen on; write an address and a port, as in \"127.0.0.1:9480\""),
        ("[listen]\nhttp = [1.5]\n",                     "holdfast.toml:6: listen.http: is of a wrong type (array); write one value, { env = \"NAME\" } or { file = \"PATH\" }"),
        ("[service]\nstate_dir = \"/s/state\"\n",        "holdfast.toml:6: service.state_dir: lies in the store's folder, which may hold nothing but sealed objects; put it elsewhere"),
        ("[service]\nname = { env = \"NONE\" }\n",       "holdfast.toml:6: service.name: the environment variable NONE is not set; set it for this process"),
        ("[service]\nname = { from = \"x\" }\n",         "holdfast.toml:6: service.name: is a table that says neither env nor file; write one value, { env = \"NAME\" } or { file = \"PATH\" }"),
        ("[schema_image]\nmax_wait = \"2s\"\n",          "holdfast.toml:5: schema_image.max_wait: is shorter than schema_image.quiet, which could then never pass; make it longer"),
    ];
    for (added, complaint) in cases {
        assert_eq!(complaints(&format!("{rest}{added}"), &Scripted::default()), [complaint], "{added}");
    }
}

#[test]
fn what_is_missing_altogether_is_told_without_a_line() {
    let told = complaints("", &Scripted::default());
    let expected = [
        "holdfast.toml: key.file: is missing; add file = \"/etc/holdfast/key\" to [key]; holdfast keys new makes that file",
        "holdfast.toml: store: is missing; add [[store]] with folder = \"/path\"",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_store_may_be_a_prefix_of_a_bucket() {
    let with = |s3: &str| format!("[key]\nfile = \"/k\"\n[[store]]\ns3 = {s3}\n");
    let text = with(
        r#"{ bucket = "backups", prefix = "site/a", region = "eu-central-1", endpoint = "http://127.0.0.1:8333/", path_style = true }"#,
    );
    let StorePlace::S3(place) = parse(&text).unwrap().store.place else { panic!("not a bucket") };
    assert_eq!((place.bucket.as_str(), place.prefix.as_str()), ("backups", "site/a/"), "one slash at the end");
    assert_eq!(place.endpoint.as_deref(), Some("http://127.0.0.1:8333"));
    assert_eq!((place.region.as_deref(), place.style), (Some("eu-central-1"), crate::store::s3::Style::Path));
    #[rustfmt::skip]
    let cases = [
        // written                                             complaint
        ("{ prefix = \"a\" }",                                 "store[1].s3.bucket: is missing;"),
        ("{ bucket = \"s3://backups\" }",                      "store[1].s3.bucket: is not a bucket's name;"),
        ("{ bucket = \"backups\", prefix = \"/a\" }",          "store[1].s3.prefix: is not a prefix;"),
        ("{ bucket = \"backups\", prefix = \"a/../b\" }",      "store[1].s3.prefix: is not a prefix;"),
        ("{ bucket = \"backups\", endpoint = \"localhost\" }", "store[1].s3.endpoint: is not the URL of an endpoint;"),
        ("{ bucket = \"backups\", endpoint = \"http://user:sesame@h\" }", "store[1].s3.endpoint: is not the URL of an endpoint;"),
        ("{ bucket = \"backups\", region = \"EU\" }",          "store[1].s3.region: is not a region;"),
        ("{ bucket = \"backups\", path_stile = true }",        "store[1].s3.path_stile: means nothing here; write path_style"),
        ("\"backups\"",                                        "store[1].s3: is of a wrong type (string); write s3 = {"),
    ];
    for (written, complaint) in cases {
        let told = complaints(&with(written), &Scripted::default());
        assert!(told.len() == 1 && told[0].contains(complaint) && !told[0].contains("sesame"), "{written}: {told:?}");
    }
}

#[test]
fn two_sources_never_share_a_slot() {
    let source = |name: &str| format!("[[source]]\nname = \"{name}\"\npostgres = \"postgres://h/d\"\n");
    let text = format!("[key]\nfile = \"/k\"\n[[store]]\nfolder = \"/s\"\n{}{}", source("a-b"), source("a_b"));
    let told = complaints(&text, &Scripted::default());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("source.a_b.name: its slot would be that of the source a-b"), "{told:?}");
}

#[test]
fn any_value_may_come_from_the_environment_or_a_file() {
    let outside = Scripted(BTreeMap::from([
        ("HOLDFAST_URL", "postgres://u:sesame@h/d"),
        ("/run/secrets/age", "50ms\n"),
        ("JOBS", "4"),
        ("DELETE", "true"),
    ]));
    let text = SMALLEST.replace("\"postgres://holdfast@127.0.0.1:5432/artisttech\"", "{ env = \"HOLDFAST_URL\" }")
        + "[log]\nsegment_age = { file = \"/run/secrets/age\" }\n[base]\njobs = { env = \"JOBS\" }\n\
           [retention]\ndelete = { env = \"DELETE\" }\n";
    let config = Config::parse(Path::new("holdfast.toml"), &text, &outside).unwrap();
    assert_eq!(config.sources[0].postgres.expose(), "postgres://u:sesame@h/d");
    assert_eq!(config.log.segment_age, Duration::from_millis(50), "one newline at the end is no part of the value");
    assert_eq!((config.base.jobs, config.retention.delete), (4, true));
    assert!(!format!("{config:?}").contains("sesame"));
}

#[test]
fn a_secret_in_the_wrong_place_is_not_told() {
    let outside = Scripted(BTreeMap::from([("PASSWORD", "sesame")]));
    for (_, _, settings) in SETTINGS {
        for name in settings {
            for (section, _, _) in SETTINGS.iter().filter(|(_, _, names)| names.contains(name)) {
                let brackets = if *section == "store" || *section == "source" { ("[[", "]]") } else { ("[", "]") };
                let text = format!("{}{section}{}\n{name} = {{ env = \"PASSWORD\" }}\n", brackets.0, brackets.1);
                let told = complaints(&text, &outside).join("\n");
                assert!(!told.contains("sesame"), "{told}");
            }
        }
    }
    let told = complaints("[key]\nfile = \"sesame\nx\"\n", &outside).join("\n");
    assert!(told.contains("holdfast.toml:2: syntax:") && !told.contains("sesame"), "{told}");
}

#[test]
fn every_known_name_is_read() {
    for (section, shape, settings) in SETTINGS {
        for name in settings {
            let header = if shape == Shape::Many { format!("[[{section}]]") } else { format!("[{section}]") };
            let told = complaints(&format!("{header}\n{name} = 1.5\n"), &Scripted::default());
            let told = told.iter().any(|line| line.contains(&format!(".{name}: is of a wrong type (float)")));
            assert!(told, "{section}.{name} is a known name that nobody reads");
        }
    }
}

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let error = Config::load(Some(Path::new("/nowhere/holdfast.toml"))).unwrap_err();
    assert!(error.to_string().starts_with("could not read the configuration /nowhere/holdfast.toml;"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\PC\n]{0,200}") {
        drop(parse(&text));
    }

    #[test]
    fn no_damage_to_a_good_file_makes_it_panic(at in 0..SMALLEST.len(), byte in 0u8..128) {
        let mut text = SMALLEST.as_bytes().to_vec();
        text[at] = byte;
        drop(parse(&String::from_utf8(text).unwrap()));
    }
}

#[test]
fn l6_the_way_to_a_key_service_is_sealed_or_does_not_leave_this_machine() {
    #[rustfmt::skip]
    let cases = [
        // endpoint                                good    why
        ("https://kms.eu-central-1.amazonaws.com", true,   "as AWS has it"),
        ("https://vpce-1.kms.example:8443",        true,   "a way of one's own"),
        ("http://127.0.0.1:4566",                  true,   "a double on this machine"),
        ("http://[::1]:4566",                      true,   "the same"),
        ("http://localhost:4566",                  true,   "by its name"),
        ("http://kms.example",                     false,  "data keys for everyone to read"),
        ("http://10.0.0.7:4566",                   false,  "a private network is a network"),
        ("http://127.0.0.1.example",               false,  "a name that begins like an address"),
        ("http://localhost@kms.example",           false,  "a user that looks like a host"),
        ("https://user:secret@kms.example",        false,  "a password in a URL that is told"),
        ("ftp://kms.example",                      false,  "nothing that the SDK speaks"),
        ("kms.example",                            false,  "no URL"),
    ];
    for (endpoint, good, why) in cases {
        let key = format!("[key]\nkms = {{ key_id = \"alias/holdfast\", endpoint = \"{endpoint}\" }}");
        let text = SMALLEST.replace("[key]\nfile = \"/etc/holdfast/key\"", &key);
        match parse(&text) {
            Ok(config) => assert!(good && config.key.kms.is_some(), "{why}: {endpoint}"),
            Err(error) => {
                let told = error.to_string();
                assert!(!good && told.contains("key.kms.endpoint") && !told.contains("secret"), "{why}: {told}");
            }
        }
    }
}
