//! What this process asks of the kernel for itself before anything else runs.

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::process::{getpriority_process, set_dumpable_behavior, setrlimit};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy};
use thread_priority::{set_thread_priority_and_policy, thread_native_id};

use crate::cli::out;

/// Niceness 0 on the library's own scale of 0 to 99.
const USUAL: u8 = 48;

/// Keys and rows must not end in a core dump, nor be read by a process of the same user (L6).
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let refused =
        setrlimit(Resource::Core, none).is_err() || set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err();
    if refused {
        out::warn("core dumps could not be switched off; set LimitCORE=0 for this process");
    }
}

/// Lets servers on the same machine go first: a thread of ours that wakes up takes a free core, and never one that a
/// running thread has (`SCHED_BATCH`, sched(7)); its share of the processor stays what it was.
///
/// What follows a server wakes up thousands of times a second, each time because the server has just written something
/// and is about to go on: without this it is the server that stops. To be called before other threads begin, which
/// inherit it, as programs do that are started later.
pub fn let_servers_go_first() {
    // Whoever gave a niceness has decided more than we could; and the library sets both together.
    if getpriority_process(None) != Ok(0) {
        return;
    }
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let usual = ThreadPriorityValue::try_from(USUAL).map(ThreadPriority::Crossplatform);
    if let Ok(usual) = usual
        && let Err(error) = set_thread_priority_and_policy(thread_native_id(), usual, batch)
    {
        tracing::debug!(?error, "the kernel keeps its usual scheduling for this process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_never_takes_a_core_from_a_running_server() {
        let thread = std::thread::spawn(|| {
            let before = getpriority_process(None);
            let_servers_go_first();
            let inherited = std::thread::spawn(thread_priority::thread_schedule_policy).join().unwrap();
            (before, getpriority_process(None), inherited.unwrap())
        });
        let (before, after, policy) = thread.join().unwrap();
        assert_eq!(before, after, "its share stays what it was");
        let usual = before == Ok(0);
        let expected = if usual { NormalThreadSchedulePolicy::Batch } else { NormalThreadSchedulePolicy::Other };
        assert_eq!(policy, ThreadSchedulePolicy::Normal(expected), "niceness {before:?}");
    }
}
