//! The runbook has a section for every sentence of the daemon's policy, and none for a sentence that it never says.

use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_sentence_of_the_policy_heads_a_section_of_the_runbook() {
    let policy = fs::read_to_string("src/daemon/policy.rs").unwrap();
    let verdicts = policy.split("#[cfg(test)]").next().unwrap().split("(Verdict::").skip(1);
    let jobs = policy.split("pub const fn job_trouble").nth(1).unwrap().split("\n}").next().unwrap();
    let of_jobs = jobs.split("Trouble::").filter_map(|trouble| trouble.split('"').nth(1));
    let said: BTreeSet<&str> = verdicts.filter_map(|verdict| verdict.split('"').nth(1)).chain(of_jobs).collect();
    let runbook = fs::read_to_string("ops/runbook.md").unwrap();
    let headed: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(said.len() > 10, "the policy is read wrongly: {said:?}");
    assert_eq!(said, headed);
}
