//! What stands under `ops/` keeps its promises: policies give and withhold what they say, alerts ask for metrics that
//! exist, units restart nothing that must not be restarted.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use holdfast::daemon::metrics::{ALL, Kind};
use serde_json::Value;

/// One statement of a policy.
struct Statement {
    sid: String,
    allows: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    condition: Value,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn policy(name: &str) -> Vec<Statement> {
    let text = fs::read_to_string(format!("ops/iam/{name}.json")).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(policy["Version"], "2012-10-17", "{name}: older versions read conditions otherwise");
    assert_eq!(policy.as_object().unwrap().len(), 2, "{name}: a version and statements");
    let statement = |statement: &Value| {
        let known = ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"];
        let names: Vec<_> = statement.as_object().unwrap().keys().collect();
        assert!(names.iter().all(|name| known.contains(&name.as_str())), "{name}: {names:?}");
        let effect = statement["Effect"].as_str().unwrap();
        assert!(["Allow", "Deny"].contains(&effect), "{name}: {effect}");
        Statement {
            sid: statement["Sid"].as_str().unwrap().to_owned(),
            allows: effect == "Allow",
            actions: strings(&statement["Action"]),
            resources: strings(&statement["Resource"]),
            condition: statement.get("Condition").cloned().unwrap_or_default(),
        }
    };
    policy["Statement"].as_array().unwrap().iter().map(statement).collect()
}

/// Whether a pattern of a policy covers an action.
fn covers(pattern: &str, action: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == action, |start| action.starts_with(start))
}

fn allowed(policy: &[Statement], action: &str) -> bool {
    policy.iter().any(|of| of.allows && of.actions.iter().any(|pattern| covers(pattern, action)))
}

/// Whether an action is denied whatever the circumstances and whatever other policies allow.
fn denied(policy: &[Statement], action: &str) -> bool {
    let always = |of: &&Statement| !of.allows && of.condition.is_null() && of.resources == ["*"];
    policy.iter().filter(always).any(|of| of.actions.iter().any(|pattern| covers(pattern, action)))
}

const ROLES: [&str; 6] = ["writer", "retention", "operator", "verifier", "restore", "auditor"];

/// Who creates what is named so, and who deletes it: as the code does, and nobody else.
#[rustfmt::skip]
const DUTIES: [(&str, &[&str], &[&str]); 8] = [
    // prefix       creates          deletes
    ("log",         &["writer"],     &["retention"]),
    ("checkpoint",  &["writer"],     &["retention"]),
    ("boundary",    &["retention"],  &["retention"]),
    ("hold",        &["operator"],   &["operator"]),
    ("base",        &["writer"],     &["retention"]),
    ("keys",        &["operator"],   &[]),
    ("first",       &["operator"],   &[]),
    ("probe",       &["writer"],     &[]),
];

/// Whether a role's policy allows an action on an object, whatever the conditions.
fn may(policy: &[Statement], action: &str, resource: &str) -> bool {
    let about = |of: &Statement| {
        of.actions.iter().any(|pattern| covers(pattern, action)) && of.resources.iter().any(|at| covers(at, resource))
    };
    let denied = policy.iter().any(|of| !of.allows && of.condition.is_null() && about(of));
    !denied && policy.iter().any(|of| of.allows && about(of))
}

/// The first words of all names that the layout makes: as its drawing says, and every one in its code.
fn prefixes() -> BTreeSet<String> {
    let text = fs::read_to_string("src/store/layout.rs").unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let first = |name: &str| name.split_once('/').map(|(first, _)| first.to_owned());
    let drawn = |line: &str| line.strip_prefix("//!   ").and_then(first);
    let is_word = |word: &String| !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_lowercase());
    let drawn: BTreeSet<_> = code.lines().filter_map(drawn).filter(is_word).collect();
    let literals = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = literals.flat_map(|line| line.split('"').skip(1).step_by(2)).filter_map(first).filter(is_word);
    assert_eq!(drawn, literals.collect(), "the drawing in the layout and its code name other prefixes");
    drawn
}

#[test]
fn every_name_that_the_layout_makes_has_one_role_that_creates_it_and_at_most_one_that_deletes_it() {
    let known: BTreeSet<_> = DUTIES.iter().map(|(prefix, _, _)| (*prefix).to_owned()).collect();
    assert_eq!(prefixes(), known, "who creates and deletes what is named so? say it here and in ops/iam");
    let bucket = policy("bucket");
    let manual = fs::read_to_string("ops/s3.md").unwrap();
    for (prefix, creators, deleters) in DUTIES {
        let object = format!("arn:aws:s3:::BUCKET/PREFIX/{prefix}/x");
        for role in ROLES {
            let policy = policy(role);
            assert_eq!(may(&policy, "s3:PutObject", &object), creators.contains(&role), "{role} creates {prefix}/");
            assert_eq!(may(&policy, "s3:DeleteObject", &object), deleters.contains(&role), "{role} deletes {prefix}/");
            let erases = deleters.contains(&role) && role == "retention";
            assert_eq!(may(&policy, "s3:DeleteObjectVersion", &object), erases, "{role} erases {prefix}/");
            // What another policy may one day allow by mistake, the bucket denies.
            let arn = format!("arn:aws:iam::ACCOUNT:role/holdfast-{role}");
            let forbids = |of: &&Statement| {
                let but = &of.condition["ArnNotEquals"]["aws:PrincipalArn"];
                let excepted = !but.is_null() && strings(but).contains(&arn);
                !of.allows && of.actions.iter().any(|action| action == "s3:DeleteObject") && !excepted
            };
            let is_denied = bucket.iter().filter(forbids).any(|of| of.resources.iter().any(|at| covers(at, &object)));
            assert_eq!(is_denied, !deleters.contains(&role), "the bucket and {role} that deletes {prefix}/");
        }
        let row = format!("| `{prefix}/` | {} | {} |", creators.join(", "), deleters.first().unwrap_or(&"nobody"));
        assert!(manual.contains(&row), "ops/s3.md does not say: {row}");
    }
}

#[test]
fn in_a_mirrors_bucket_the_writer_creates_every_name_and_deletes_none() {
    let (policy, bucket) = (policy("mirror"), policy("mirror-bucket"));
    let denies = |action: &str, object: &str| {
        bucket.iter().any(|of| {
            let but = &of.condition["ArnNotEquals"]["aws:PrincipalArn"];
            let everybody =
                !but.is_null() && !strings(but).contains(&"arn:aws:iam::ACCOUNT:role/holdfast-writer".to_owned());
            !of.allows
                && everybody
                && of.actions.iter().any(|of| of == action)
                && of.resources.iter().any(|at| covers(at, object))
        })
    };
    for (prefix, _, _) in DUTIES {
        let object = format!("arn:aws:s3:::BUCKET/PREFIX/{prefix}/x");
        assert!(may(&policy, "s3:PutObject", &object), "{prefix}/ does not reach the mirror");
        assert!(!denies("s3:PutObject", &object), "the mirror's bucket does not take {prefix}/");
        for action in ["s3:DeleteObject", "s3:DeleteObjectVersion"] {
            assert!(!may(&policy, action, &object) && denies(action, &object), "{action} of {prefix}/");
        }
    }
    // In everything else the bucket is as the first one.
    let first = self::policy("bucket");
    let rest = |of: &[Statement]| -> Vec<_> {
        let others = of
            .iter()
            .filter(|of| !of.actions.contains(&"s3:PutObject".to_owned()) || of.condition["ArnNotEquals"].is_null());
        others.map(|of| (of.sid.clone(), of.actions.clone(), of.condition.clone())).collect()
    };
    assert_eq!(rest(&bucket), rest(&first));
}

#[test]
fn each_role_may_do_its_work_and_is_denied_what_would_harm() {
    const CREATE: &str = "s3:PutObject";
    const READ: &str = "s3:GetObject";
    const DELETE: &str = "s3:DeleteObject";
    const ERASE: &str = "s3:DeleteObjectVersion";
    const OPEN: &str = "kms:Decrypt";
    const WRAP: &str = "kms:Encrypt";
    const SEAL: &str = "kms:GenerateDataKey";
    #[rustfmt::skip]
    let cases: [(&str, &[&str], &[&str]); 7] = [
        // role         may                               is denied, always
        ("writer",      &[CREATE, READ, SEAL],            &[DELETE, ERASE, OPEN]),
        ("retention",   &[CREATE, READ, DELETE, ERASE, SEAL, OPEN], &[]),
        ("operator",    &[CREATE, READ, DELETE, SEAL, OPEN, WRAP], &[ERASE]),
        ("verifier",    &[READ, OPEN],                    &[CREATE, DELETE, ERASE, SEAL, WRAP]),
        ("restore",     &[READ, OPEN],                    &[CREATE, DELETE, ERASE, SEAL, WRAP]),
        ("auditor",     &[],                              &[READ, CREATE, DELETE, ERASE, OPEN, SEAL, WRAP]),
        ("mirror",      &[CREATE, READ],                  &[DELETE, ERASE, OPEN]),
    ];
    let nobody = [
        "s3:BypassGovernanceRetention",
        "s3:PutObjectRetention",
        "s3:PutObjectLegalHold",
        "s3:DeleteBucket",
        "s3:DeleteBucketPolicy",
        "s3:PutBucketPolicy",
        "s3:PutBucketVersioning",
        "s3:PutLifecycleConfiguration",
        "s3:PutBucketObjectLockConfiguration",
        "kms:ScheduleKeyDeletion",
        "kms:DisableKey",
        "kms:PutKeyPolicy",
    ];
    let all = [CREATE, READ, DELETE, ERASE, OPEN, SEAL, WRAP];
    for (role, may, never) in cases {
        let policy = policy(role);
        for action in all {
            assert_eq!(allowed(&policy, action), may.contains(&action), "{role}: {action}");
            assert!(!(denied(&policy, action) && may.contains(&action)), "{role}: {action} is allowed and denied");
        }
        for action in never.iter().chain(&nobody) {
            assert!(denied(&policy, action), "{role} is not denied {action}");
        }
    }
}

/// Else the watch over the key is silent where it is needed most: in the deployment that is shipped.
#[test]
fn l11_the_writer_may_ask_how_its_key_is_and_every_sign_of_trouble_has_an_alert() {
    const ASK: &str = "kms:DescribeKey";
    assert!(allowed(&policy("writer"), ASK) && !denied(&policy("writer"), ASK));
    let text = fs::read_to_string("ops/iam/key.json").unwrap();
    let key: Value = serde_json::from_str(&text).unwrap();
    let lets_ask = |of: &Value| {
        of["Effect"] == "Allow"
            && strings(&of["Action"]).contains(&ASK.to_owned())
            && strings(&of["Principal"]["AWS"]).iter().any(|role| role.ends_with("role/holdfast-writer"))
    };
    assert!(key["Statement"].as_array().unwrap().iter().any(lets_ask), "the key's own policy must say so too");
    let alerts = fs::read_to_string("ops/alerts.yml").unwrap();
    for metric in ALL.iter().filter(|metric| metric.name.starts_with("holdfast_key_")) {
        assert!(alerts.contains(metric.name), "no alert asks for {}", metric.name);
    }
}

#[test]
fn nothing_is_allowed_everywhere_nor_without_a_condition() {
    for name in ROLES.into_iter().chain(["bucket", "key", "mirror", "mirror-bucket"]) {
        let policy = policy(name);
        let sids: BTreeSet<_> = policy.iter().map(|statement| &statement.sid).collect();
        assert_eq!(sids.len(), policy.len(), "{name}: each statement has a name of its own");
        for Statement { sid, actions, resources, condition, .. } in policy.iter().filter(|statement| statement.allows) {
            assert!(!condition.is_null(), "{name}/{sid}: without a condition");
            assert!(actions.iter().all(|action| !action.contains('*')), "{name}/{sid}: {actions:?}");
            // A key's own policy says "*" for the key itself.
            let bounded = |resource: &String| resource.starts_with("arn:") && !resource.ends_with("BUCKET/*");
            assert!(name == "key" || resources.iter().all(bounded), "{name}/{sid}: {resources:?}");
            if actions
                .iter()
                .any(|action| ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"].contains(&action.as_str()))
            {
                let bound = &condition["StringEquals"]["kms:EncryptionContext:application"];
                assert_eq!(bound, "holdfast", "{name}/{sid}: a key for everything");
            }
        }
    }
}

#[test]
fn whoever_creates_never_overwrites() {
    for name in ["writer", "retention", "operator", "mirror"] {
        for Statement { sid, condition, .. } in
            policy(name).iter().filter(|of| of.allows && of.actions.contains(&"s3:PutObject".to_owned()))
        {
            // Nothing is uploaded in parts, whose uploads would have to be excepted.
            assert_eq!(condition["Null"]["s3:if-none-match"], "false", "{name}/{sid}");
        }
    }
    for bucket in ["bucket", "mirror-bucket"] {
        let forces = |of: &&Statement| of.condition["Null"]["s3:if-none-match"] == "true" && !of.allows;
        assert_eq!(policy(bucket).iter().filter(forces).count(), 1, "{bucket} forces it on everybody");
    }
}

#[test]
fn people_need_a_second_factor_for_everything() {
    for role in ["restore", "operator"] {
        let policy = policy(role);
        for Statement { sid, condition, .. } in policy.iter().filter(|statement| statement.allows) {
            assert_eq!(condition["Bool"]["aws:MultiFactorAuthPresent"], "true", "{role}/{sid}");
        }
        let without =
            |of: &&Statement| of.condition["BoolIfExists"]["aws:MultiFactorAuthPresent"] == "false" && !of.allows;
        let forbidden: Vec<_> = policy.iter().filter(without).flat_map(|of| of.actions.clone()).collect();
        assert_eq!(forbidden, ["s3:*", "kms:*"], "{role}");
    }
}

#[test]
fn every_policy_is_in_the_manual_with_what_it_is_tested_against() {
    let manual = fs::read_to_string("ops/s3.md").unwrap();
    for entry in fs::read_dir("ops/iam").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table of ops/s3.md"));
        assert!(row.contains("untested") || row.contains("tested against"), "{row}");
    }
}

/// The words of a text that begin with `holdfast_`, with the label names behind each.
fn metrics_of(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let found = expression.match_indices("holdfast_").map(|(at, _)| &expression[at..]);
    found
        .map(|rest| {
            let name: String = rest.chars().take_while(|letter| is_word(*letter)).collect();
            let labels = rest[name.len()..].strip_prefix('{').and_then(|labels| labels.split('}').next()).unwrap_or("");
            let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
            (name.clone(), labels.collect())
        })
        .collect()
}

#[test]
fn every_alert_asks_for_a_metric_that_exists_and_names_a_section_of_the_runbook() {
    let alerts = fs::read_to_string("ops/alerts.yml").unwrap();
    let runbook = fs::read_to_string("ops/runbook.md").unwrap();
    let rules: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10, "the rules are read wrongly");
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = rule.lines().next().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        let field = |field: &str| {
            let line = rule.lines().find_map(|line| line.trim().strip_prefix(&format!("{field}: ")));
            line.unwrap_or_else(|| panic!("{name} has no {field}"))
        };
        let asked = metrics_of(field("expr"));
        assert!(!asked.is_empty(), "{name} asks for nothing");
        for (metric, labels) in asked {
            let known = ALL.iter().find(|known| known.name == metric.trim_end_matches("_bucket"));
            let known = known.unwrap_or_else(|| panic!("{name}: there is no metric {metric}"));
            assert_eq!(metric.ends_with("_bucket"), known.kind == Kind::Histogram, "{name}: {metric}");
            assert!(labels.iter().all(|label| known.labels.contains(&label.as_str())), "{name}: {metric} {labels:?}");
            let shown = rule.split("$labels.").skip(1).filter_map(|rest| rest.split([' ', '}']).next());
            assert!(
                shown.clone().all(|label| known.labels.contains(&label)),
                "{name}: {:?}",
                shown.collect::<Vec<_>>()
            );
        }
        assert!(["{ severity: page }", "{ severity: ticket }"].contains(&field("labels")), "{name}");
        assert!(field("summary").len() > 20 && !field("summary").contains(": "), "{name}: or YAML reads it otherwise");
        let section = field("runbook");
        assert!(runbook.contains(&format!("\n## {section}\n")), "{name}: the runbook has no section {section}");
    }
}

#[test]
fn a_fenced_or_misconfigured_daemon_is_not_started_again_and_no_unit_may_do_what_it_need_not() {
    let unit = |name: &str| fs::read_to_string(Path::new("ops").join(name)).unwrap();
    let daemon = unit("holdfast.service");
    assert!(
        daemon.lines().any(|line| line == "RestartPreventExitStatus=2 5"),
        "two daemons would fence each other for ever"
    );
    assert!(daemon.lines().any(|line| line == "Restart=always"));
    let jobs = unit("holdfast-jobs.service");
    assert!(jobs.contains("run --jobs ") && jobs.lines().any(|line| line == "Type=oneshot"));
    let ours = |text: &str| -> BTreeSet<String> {
        let hardened = text.split("LimitCORE=0").nth(1).unwrap().split("[Install]").next().unwrap();
        let names = ["StateDirectory=", "ConfigurationDirectory=", "#"];
        hardened.lines().filter(|line| !names.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
    };
    assert_eq!(ours(&daemon), ours(&jobs), "what is taken away from the daemon is taken away from its jobs");
    for needed in ["NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "UMask=0077"] {
        assert!(ours(&daemon).contains(needed), "{needed}");
    }
    assert!(unit("holdfast-jobs.timer").contains("Persistent=yes"));
}
