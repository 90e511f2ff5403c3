//! A bucket in memory behind one lock: truly linearizable, with versions, delete markers and checksums.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest;
use bytes::Bytes;
use futures::StreamExt;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    BucketVersioningStatus, DeleteMarkerEntry, DeleteObjectInput, DeleteObjectOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, GetObjectInput, GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsV2Input, ListObjectsV2Output, Metadata, Object, ObjectVersion, PutObjectInput, PutObjectOutput,
    StreamingBlob, Timestamp,
};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::plan::{Fault, Plan};
use super::wire::Wire;
use super::{ACCESS, SECRET};

/// A running double; its server ends with it.
pub struct Double {
    /// What goes wrong.
    pub plan: Arc<Plan>,
    /// Where it is.
    pub endpoint: String,
    late: Arc<Notify>,
    buckets: Buckets,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Buckets(Arc<Mutex<BTreeMap<String, Bucket>>>);

#[derive(Debug, Default)]
struct Bucket {
    versioned: bool,
    /// Oldest first; without versions there is one.
    objects: BTreeMap<String, Vec<Stored>>,
    made: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    id: u64,
    /// None is a delete marker.
    body: Option<Bytes>,
    checksum: String,
    metadata: Option<Metadata>,
}

impl Double {
    /// A server with one bucket.
    pub async fn start(bucket: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (plan, late, buckets) = (Arc::new(Plan::default()), Arc::new(Notify::new()), Buckets::default());
        let mut builder = S3ServiceBuilder::new(buckets.clone());
        let mut known = SimpleAuth::from_single(ACCESS, SECRET);
        known.register("AKFRESH".to_owned(), SECRET.into());
        builder.set_auth(known);
        let wire = Wire { service: builder.build(), plan: Arc::clone(&plan), late: Arc::clone(&late) };
        let server = tokio::spawn(Arc::new(wire).serve(listener));
        let this = Self { plan, endpoint, late, buckets, server };
        this.make(bucket);
        this
    }

    /// A bucket.
    pub fn make(&self, bucket: &str) {
        self.buckets.all().insert(bucket.to_owned(), Bucket::default());
    }

    /// From now on the bucket keeps old versions.
    pub fn keep_versions(&self, bucket: &str) {
        self.buckets.all().get_mut(bucket).unwrap().versioned = true;
    }

    /// The bucket is gone.
    pub fn remove(&self, bucket: &str) {
        self.buckets.all().remove(bucket);
    }

    /// What is late lands now.
    pub async fn land_late(&self) {
        self.late.notify_waiters();
        self.late.notified().await;
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.server.abort();
        let idle = self.plan.idle();
        assert!(idle.is_empty() || std::thread::panicking(), "planned, and never struck: {idle:?}");
    }
}

impl Bucket {
    fn newest(&self, key: &str) -> Option<&Stored> {
        self.objects.get(key)?.last().filter(|stored| stored.body.is_some())
    }

    fn add(&mut self, key: &str, body: Option<Bytes>, checksum: String, metadata: Option<Metadata>) -> u64 {
        self.made += 1;
        let stored = Stored { id: self.made, body, checksum, metadata };
        let all = self.objects.entry(key.to_owned()).or_default();
        if !self.versioned {
            all.clear();
        }
        all.push(stored);
        self.made
    }
}

impl Buckets {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn within<T>(&self, bucket: &str, work: impl FnOnce(&mut Bucket) -> S3Result<T>) -> S3Result<T> {
        match self.all().get_mut(bucket) {
            Some(bucket) => work(bucket),
            None => Err(s3_error!(NoSuchBucket)),
        }
    }

    fn read(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Stored> {
        let named = |bucket: &Bucket, id: &str| {
            let all = bucket.objects.get(key)?;
            all.iter().find(|stored| stored.id.to_string() == id && stored.body.is_some()).cloned()
        };
        self.within(bucket, |bucket| match version {
            Some(id) => named(bucket, id).ok_or_else(|| s3_error!(NoSuchVersion)),
            None => bucket.newest(key).cloned().ok_or_else(|| s3_error!(NoSuchKey)),
        })
    }
}

fn sha256(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn moment(id: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000 + id))
}

fn length(bytes: &Bytes) -> i64 {
    i64::try_from(bytes.len()).unwrap()
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut whole = Vec::new();
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    while let Some(piece) = body.next().await {
        whole.extend_from_slice(&piece.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(Bytes::from(whole))
}

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let body = collect(input.body).await?;
        let checksum = sha256(&body);
        if input.checksum_sha256.is_some_and(|sent| sent != checksum) {
            return Err(s3_error!(BadDigest));
        }
        self.within(&input.bucket, |bucket| {
            if input.if_none_match.is_some() && bucket.newest(&input.key).is_some() {
                return Err(s3_error!(PreconditionFailed));
            }
            bucket.add(&input.key, Some(body), checksum.clone(), input.metadata);
            Ok(())
        })?;
        Ok(S3Response::new(PutObjectOutput { checksum_sha256: Some(checksum), ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let fault = request.extensions.get::<Fault>().copied();
        let input = request.input;
        let stored = self.read(&input.bucket, &input.key, input.version_id.as_deref())?;
        let body = stored.body.unwrap();
        let size = u64::try_from(body.len()).unwrap();
        let (part, content_range) = match input.range {
            None => (body.clone(), None),
            Some(range) => {
                let mut range = range.check(size).map_err(|_| s3_error!(InvalidRange))?;
                if fault == Some(Fault::RangeOffByOne) {
                    range = range.start + 1..range.end + 1;
                }
                let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let place = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                (body.slice(place), Some(told))
            }
        };
        let whole = content_range.is_none();
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(length(&part)),
            content_range,
            checksum_sha256: whole.then_some(stored.checksum),
            metadata: stored.metadata,
            last_modified: Some(moment(stored.id)),
            body: Some(StreamingBlob::from(Body::from(part))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let stored = self.read(&input.bucket, &input.key, input.version_id.as_deref())?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(&stored.body.unwrap())),
            checksum_sha256: Some(stored.checksum),
            metadata: stored.metadata,
            last_modified: Some(moment(stored.id)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.within(&input.bucket, |bucket| {
            if bucket.versioned {
                bucket.add(&input.key, None, String::new(), None);
            } else {
                bucket.objects.remove(&input.key);
            }
            Ok(())
        })?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let fault = request.extensions.get::<Fault>().copied();
        let input = request.input;
        let (prefix, after) = (input.prefix.unwrap_or_default(), input.start_after.unwrap_or_default());
        let after = if fault == Some(Fault::ListRepeated) { String::new() } else { after };
        let max = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap();
        let mut names: Vec<String> = self.within(&input.bucket, |bucket| {
            let names = bucket.objects.keys().filter(|name| name.starts_with(&prefix) && **name > after);
            Ok(names.filter(|name| bucket.newest(name).is_some()).take(max + 1).cloned().collect())
        })?;
        let more = names.len() > max;
        names.truncate(max);
        match fault {
            Some(Fault::ListHole) if names.len() > 2 => drop(names.remove(names.len() / 2)),
            Some(Fault::ListStale) => drop(names.pop()),
            Some(Fault::ListReordered) => names.reverse(),
            _ => {}
        }
        let object = |key| Object { key: Some(key), ..Object::default() };
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(more),
            contents: Some(names.into_iter().map(object).collect()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let mut output = ListObjectVersionsOutput::default();
        let mut all: Vec<(String, Stored, bool)> = self.within(&input.bucket, |bucket| {
            let named = bucket.objects.iter().filter(|(name, _)| name.starts_with(&prefix));
            let newest_first = named.flat_map(|(name, all)| {
                all.iter().rev().enumerate().map(|(age, one)| (name.clone(), one.clone(), age == 0))
            });
            Ok(newest_first.collect())
        })?;
        if let Some(after) = &input.key_marker {
            // Without a version the whole name is behind us, with one all that is newer than it.
            let older = |stored: &Stored| {
                let id = input.version_id_marker.as_ref().and_then(|id| id.parse::<u64>().ok());
                id.is_some_and(|id| stored.id < id)
            };
            all.retain(|(name, stored, _)| name > after || (name == after && older(stored)));
        }
        let max = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap();
        output.is_truncated = Some(all.len() > max);
        all.truncate(max);
        if let (Some(true), Some((name, stored, _))) = (output.is_truncated, all.last()) {
            output.next_key_marker = Some(name.clone());
            output.next_version_id_marker = Some(stored.id.to_string());
        }
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for (key, stored, newest) in all {
            let (key, version_id, last_modified) = (Some(key), Some(stored.id.to_string()), Some(moment(stored.id)));
            let is_latest = Some(newest);
            match stored.body {
                Some(body) => versions.push(ObjectVersion {
                    key,
                    version_id,
                    last_modified,
                    is_latest,
                    size: Some(length(&body)),
                    ..ObjectVersion::default()
                }),
                None => markers.push(DeleteMarkerEntry {
                    key,
                    version_id,
                    last_modified,
                    is_latest,
                    ..DeleteMarkerEntry::default()
                }),
            }
        }
        (output.versions, output.delete_markers) = (Some(versions), Some(markers));
        Ok(S3Response::new(output))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let versioned = self.within(&request.input.bucket, |bucket| Ok(bucket.versioned))?;
        let enabled = BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED);
        let status = versioned.then_some(enabled);
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() }))
    }

    async fn get_object_lock_configuration(
        &self,
        _request: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        Err(s3_error!(ObjectLockConfigurationNotFoundError))
    }
}
