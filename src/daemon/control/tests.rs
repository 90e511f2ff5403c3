//! The socket against callers of every kind: right ones, endless ones, silent ones, and the file that a dead daemon left.

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::model::Timestamp;

fn handlers() -> Arc<Handlers> {
    let no = |_| async { Err(Refused { sentence: "not now".to_owned(), exit: 5 }) };
    Arc::new(Handlers::default().on("echo", |request| async move { Ok(request) }).on("no", no))
}

fn serve(folder: &Path, clock: Arc<dyn Clock>) -> JoinSet<()> {
    let mut serving = JoinSet::new();
    serving.spawn(Control::bind(folder).unwrap().serve(handlers(), clock));
    serving
}

#[tokio::test]
async fn what_is_asked_is_answered_and_a_no_keeps_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ask(folder.path(), &json!({ "verb": "echo" })).await.unwrap(), None, "no daemon");
    let serving = serve(folder.path(), Arc::new(SystemClock::new()));
    let request = json!({ "verb": "echo", "of": ["a\nline", 7] });
    assert_eq!(ask(folder.path(), &request).await.unwrap(), Some(request));
    let refused = ask(folder.path(), &json!({ "verb": "no" })).await.unwrap_err();
    assert!(matches!(refused, ControlError::Refused(Refused { exit: 5, .. })), "{refused}");
    let unknown = ask(folder.path(), &json!({ "verb": "drop" })).await.unwrap_err();
    assert!(matches!(unknown, ControlError::Refused(Refused { exit: 1, .. })), "{unknown}");
    drop(serving);
}

#[tokio::test]
async fn l6_the_socket_is_its_users_alone_and_replaces_a_dead_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(folder.path());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead daemon's socket stays");
    assert_eq!(ask(folder.path(), &json!({ "verb": "echo" })).await.unwrap(), None, "nobody listens there");
    let control = Control::bind(folder.path()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(control);
    assert!(!path.exists(), "it goes with its daemon");
}

#[tokio::test]
async fn l8_whoever_says_nothing_or_never_ends_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::default()));
    let serving = serve(folder.path(), Arc::<ManualClock>::clone(&clock));
    let mut endless = UnixStream::connect(path(folder.path())).await.unwrap();
    let word = vec![b'x'; usize::try_from(REQUEST_BYTES_MAX).unwrap() + 1];
    // It may be let go before it has said all.
    let _written = endless.write_all(&word).await;
    let mut answer = Vec::new();
    let _gone = endless.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "it was let go without an answer");
    let mut silent = Vec::new();
    for _ in 0..AT_ONCE_MAX {
        silent.push(UnixStream::connect(path(folder.path())).await.unwrap());
    }
    let request = json!({ "verb": "echo" });
    let asking = ask(folder.path(), &request);
    tokio::pin!(asking);
    let answered = loop {
        tokio::select! {
            biased;
            answered = &mut asking => break answered,
            () = tokio::task::yield_now() => clock.advance(Duration::from_millis(100)),
        }
    };
    assert!(answered.unwrap().is_some(), "the silent ones give way");
    drop(serving);
}
