//! A server of moto, started on a free port and stopped again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdfast::clock::{Clock, SystemClock, sleep};

/// The server.
pub(crate) struct Moto {
    child: Child,
    pub(crate) endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Moto {
    pub(crate) async fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".servers/s3/bin/moto_server");
        assert!(program.exists(), "moto is not installed: run ops/setup");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &free.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { child, endpoint: format!("http://127.0.0.1:{free}") };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", free)).await.is_ok() {
                return moto;
            }
            sleep(&*clock, Duration::from_millis(100)).await;
        }
        panic!("moto did not start");
    }

    /// The SDK as an administrator: makes keys and changes their state.
    pub(crate) async fn admin(&self) -> aws_sdk_kms::Client {
        let credentials = aws_sdk_kms::config::Credentials::new("AKIATEST", "secret", None, None, "test");
        let shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region(aws_sdk_kms::config::Region::new("eu-central-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(credentials)
            .load()
            .await;
        aws_sdk_kms::Client::new(&shared)
    }

    pub(crate) async fn make_key(&self) -> String {
        let made = self.admin().await.create_key().send().await.unwrap();
        made.key_metadata.unwrap().key_id
    }
}
