//! Real servers: SeaweedFS and moto, from the folder that `ops/setup` fills, one of each per test program.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;

use super::{ACCESS, SECRET};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that ends with this program.
pub struct Server {
    child: Child,
    folder: Option<tempfile::TempDir>,
    /// Sockets that it would leave behind.
    sockets: Vec<PathBuf>,
    /// Where it is.
    pub endpoint: String,
}

impl Server {
    /// SeaweedFS.
    pub async fn seaweed() -> Self {
        let folder = tempfile::Builder::new().prefix("hf-weed-").tempdir().unwrap();
        let identity = format!(
            "{{\"identities\":[{{\"name\":\"t\",\"credentials\":[{{\"accessKey\":\"{ACCESS}\",\"secretKey\":\"{SECRET}\"}}],\
             \"actions\":[\"Admin\",\"Read\",\"Write\",\"List\",\"Tagging\"]}}]}}"
        );
        fs::write(folder.path().join("identities.json"), identity).unwrap();
        let [master, volume, filer, s3] = free_ports();
        let mut command = Command::new(program("weed"));
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=200"]);
        // What listens on a fixed port would let one server at a time live on this machine.
        command.args(["-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg(format!("-dir={}", folder.path().display()));
        command.args([format!("-master.port={master}"), format!("-volume.port={volume}")]);
        command.args([format!("-filer.port={filer}"), format!("-s3.port={s3}"), "-s3.config=identities.json".into()]);
        let sockets = [("master", master), ("volume", volume), ("filer", filer), ("s3", s3)].map(|(kind, port)| {
            [format!("/tmp/seaweedfs-{kind}-{port}.sock"), format!("/tmp/seaweedfs-{kind}-grpc-{}.sock", port + 10_000)]
        });
        let sockets = sockets.into_iter().flatten().map(PathBuf::from).collect();
        Self::start(command, Some(folder), sockets, s3).await
    }

    /// moto.
    pub async fn moto() -> Self {
        let [_, _, _, port] = free_ports();
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Self::start(command, None, Vec::new(), port).await
    }

    async fn start(mut command: Command, folder: Option<tempfile::TempDir>, sockets: Vec<PathBuf>, port: u16) -> Self {
        if let Some(folder) = &folder {
            command.current_dir(folder.path());
        }
        let (out, err) = match &folder {
            Some(folder) => {
                let log = fs::File::create(folder.path().join("log")).unwrap();
                (Stdio::from(log.try_clone().unwrap()), Stdio::from(log))
            }
            None => (Stdio::null(), Stdio::null()),
        };
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; ops/setup installs it"));
        let mut this = Self { child, folder, sockets, endpoint: format!("http://127.0.0.1:{port}") };
        // A port that answers is not enough: SeaweedFS has to know its volumes before it makes a bucket.
        let started = Instant::now();
        while let Err(error) = this.try_bucket("ready").await {
            assert!(started.elapsed() < PATIENCE, "it does not start: {error}\n{}", this.log());
            assert!(this.child.try_wait().unwrap().is_none(), "it ended\n{}", this.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        this
    }

    fn log(&self) -> String {
        let folder = self.folder.as_ref().map(|folder| folder.path().join("log"));
        folder.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default()
    }

    /// The SDK as anybody would use it.
    pub fn plain(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(ACCESS, SECRET, None, None, "test"));
        aws_sdk_s3::Client::from_conf(config.build())
    }

    async fn try_bucket(&self, name: &str) -> Result<(), String> {
        match self.plain().create_bucket().bucket(name).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error)) => Err(format!("{:?}", error.err())),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// From now on the bucket keeps old versions.
    pub async fn keep_versions(&self, bucket: &str) {
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.plain().put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await.unwrap();
    }

    /// A new bucket.
    pub async fn bucket(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("bucket-{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.try_bucket(&name).await.unwrap();
        name
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.sockets.iter().for_each(|socket| drop(fs::remove_file(socket)));
    }
}

/// The one SeaweedFS of this program.
pub async fn seaweed() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| async { ended_with_us(Server::seaweed().await) }).await
}

/// The one moto of this program.
pub async fn moto() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| async { ended_with_us(Server::moto().await) }).await
}

/// A static is never dropped: a shell that waits for this program's end ends the server, and tidies up after it.
#[expect(clippy::zombie_processes, reason = "it outlives us on purpose")]
fn ended_with_us(server: Server) -> Server {
    let script =
        "while kill -0 $0 2>/dev/null; do sleep 0.2; done; kill -9 $1 2>/dev/null; sleep 0.2; shift; rm -rf \"$@\"";
    let folder = server.folder.as_ref().map_or(Path::new("/nonexistent"), |folder| folder.path());
    let mut guard = Command::new("sh");
    guard.args(["-c", script, &std::process::id().to_string(), &server.child.id().to_string()]);
    guard.arg(folder).args(&server.sockets).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().unwrap();
    server
}

/// Ends a server that another process started, for tests of servers that go away.
pub fn stop(server: &Server, how: Signal) {
    let pid = Pid::from_child(&server.child);
    kill_process(pid, how).unwrap_or_default();
}

/// A program that `ops/setup` has installed.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".servers/s3/bin").join(name);
    assert!(path.exists(), "these tests need {}: run ops/setup", path.display());
    path
}

/// Ports whose ports 10,000 further on are free too: SeaweedFS speaks gRPC there.
fn free_ports() -> [u16; 4] {
    let mut held = Vec::new();
    let mut next = || {
        for _ in 0..1000 {
            let one = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = one.local_addr().unwrap().port();
            // The kernel hands out ports from 32768 on; the lower half of what is left has room above.
            if let Some(other) = port.checked_add(10_000).and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()) {
                held.push((one, other));
                return port;
            }
        }
        panic!("no pair of free ports");
    };
    [next(), next(), next(), next()]
}
