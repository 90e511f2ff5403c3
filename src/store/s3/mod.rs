//! A store in an S3 bucket: an object is created under `If-None-Match: *`, whole or not at all, and never overwritten.
//!
//! ```text
//!   Retrying ──▶ S3Store ──▶ pace · one try within its time · what the answer means ──▶ the SDK ──▶ a bucket
//!      ▲            │
//!      └ 409, 5xx, silence, SlowDown, expired credentials: the same bytes again
//! ```
//!
//! The SDK retries nothing: a put that it repeats on its own turns success into 412, and it would repeat neither a 409
//! nor a request with expired credentials. Every object carries its put id (the SHA-256 of its sealed bytes, whose salt
//! is fresh) in its metadata, and that hash as its checksum: after a lost reply one HEAD tells our own object from a
//! rival's, and a bare 412 never counts as success (L1, L5). No object is larger than one put, so nothing is ever uploaded
//! in parts and nothing half uploaded is left behind. A bucket that is gone is an error, never an empty store (L4).

mod fault;
mod link;
mod pace;
mod part;
mod settings;
mod versions;

pub use crate::store::versions::{Tampering, Version, VersionKind, Versions};
pub use pace::Pace;
pub use settings::{BYTES_PER_SECOND_MIN, Identity, S3Patience, S3Place, S3Settings, Style};
pub use versions::{Lock, Protection, Versioning};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_lc_rs::digest;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::{Bytes, BytesMut};

use crate::clock::Clock;
use crate::crypto::Sealed;
use crate::model::ObjectKey;
use crate::model::limits::LIST_PAGE_KEYS_MAX;
use crate::step::Step;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};
use crate::store::layout;
use crate::store::memory::{check_size, size_of};
use crate::store::s3::fault::Trouble;
use crate::store::s3::link::Link;
use crate::store::s3::part::{Ask, Extent, Unlike};
use crate::store::versions::Kept;
use crate::store::{OBJECT_BYTES_MAX, Part, PutNew, Store};

/// The metadata that tells whose put made an object: `x-amz-meta-holdfast-put`.
pub const PUT_ID: &str = "holdfast-put";

/// How often an object is read whose bytes differ from its checksum.
const READS_OF_UNLIKE: usize = 3;

/// A store in a bucket, below a prefix.
pub struct S3Store {
    link: Link,
    /// Whether the bucket was seen to keep versions: from then on it has some for ever.
    keeps: AtomicBool,
}

impl S3Store {
    /// A way to the bucket. Asks the bucket nothing; what the SDK's chain needs for it is read here.
    pub async fn open(settings: S3Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open(settings, clock).await?, keeps: AtomicBool::new(false) })
    }

    /// How requests are spaced after the store has asked for fewer.
    pub fn pace(&self) -> &Pace {
        &self.link.pace
    }

    /// Refuses a prefix that holds what no Holdfast put there: two things under one prefix end in tears.
    pub async fn refuse_foreign(&self) -> Result<(), StoreError> {
        let what = self.link.shown();
        let (names, _) = self.page(&what, "", None).await?;
        let own = |name: &String| name.parse().is_ok_and(|key| layout::parse(&key).is_some());
        if names.is_empty() || names.iter().any(own) {
            return Ok(());
        }
        Err(StoreError::new(Op::Create, what, StoreErrorKind::Refused(Refusal::NotEmpty)))
    }

    /// Names as they are in the bucket, without the prefix; and whether there are more.
    async fn page(&self, what: &str, prefix: &str, after: Option<&str>) -> Result<(Vec<String>, bool), StoreError> {
        let link = &self.link;
        let call = async {
            let max = i32::try_from(LIST_PAGE_KEYS_MAX).unwrap_or(i32::MAX);
            let request = link.client().list_objects_v2().bucket(link.bucket()).max_keys(max);
            let request = request.prefix(link.name(prefix)).set_start_after(after.map(|after| link.name(after)));
            let answer = request.send().await?;
            let names = answer.contents().iter().filter_map(|object| object.key());
            let names: Option<Vec<_>> = names.map(|name| Some(name.strip_prefix(link.prefix())?.to_owned())).collect();
            let names = names.ok_or(Trouble::Contradiction("lists what was not asked for"))?;
            Ok((names, answer.is_truncated().unwrap_or(false)))
        };
        link.attempt(Op::List, what, 0, Box::pin(call)).await
    }

    async fn head(&self, op: Op, key: &ObjectKey, version: Option<&str>) -> Result<HeadObjectOutput, StoreError> {
        let (link, version) = (&self.link, version.map(str::to_owned));
        let call = async {
            let request = link.client().head_object().bucket(link.bucket()).key(link.name(key.as_str()));
            let request = request.set_version_id(version.clone());
            let answer = request.checksum_mode(ChecksumMode::Enabled).send().await.map_err(Trouble::from);
            if answer.as_ref().is_err_and(Trouble::is_mute) {
                // A HEAD's error has no body: whether object or bucket is missing, and which right, a GET says.
                link.client()
                    .get_object()
                    .bucket(link.bucket())
                    .key(link.name(key.as_str()))
                    .set_version_id(version)
                    .range("bytes=0-0")
                    .send()
                    .await?;
                // Both ask for one right. What refused the one and not the other has passed: a wrong clock, corrected since.
                if answer.as_ref().is_err_and(|trouble| trouble.has_status(403) || trouble.has_status(400)) {
                    return Err(Trouble::Settled(StoreErrorKind::Unavailable));
                }
            }
            answer
        };
        link.attempt(op, key.as_str(), 0, Box::pin(call)).await
    }

    async fn size_for(&self, op: Op, key: &ObjectKey, version: Option<&str>) -> Result<u64, StoreError> {
        let answer = self.head(op, key, version).await?;
        let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
        size.ok_or_else(|| Trouble::Contradiction("tells no size").told(op, key.as_str()))
    }

    async fn fetch(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
        part: Part,
        range: Option<String>,
    ) -> Result<Fetched, StoreError> {
        let (link, version) = (&self.link, version.map(str::to_owned));
        let expected = match part {
            Part::Whole => OBJECT_BYTES_MAX,
            Part::Range { bytes, .. } | Part::First { bytes } | Part::Last { bytes } => bytes,
        };
        let call = async {
            let request = link.client().get_object().bucket(link.bucket()).key(link.name(key.as_str()));
            // The SDK compares a whole body with the stored checksum; of a part only the seal can tell.
            let request = request.set_version_id(version).set_range(range).checksum_mode(ChecksumMode::Enabled);
            let answer = link.head_of(Box::pin(request.send())).await?;
            drain(link, answer, part).await
        };
        link.attempt(Op::Get, key.as_str(), expected.min(OBJECT_BYTES_MAX), Box::pin(call)).await
    }

    /// An object or a part of it: the newest, or the version with that name.
    async fn read(&self, key: &ObjectKey, version: Option<&str>, part: Part) -> Result<Sealed, StoreError> {
        let range = match part::ask(part) {
            Ask::Get(range) => range,
            Ask::Size => {
                let size = self.size_for(Op::Get, key, version).await?;
                let (at, bytes) = part.within(size).map_err(|kind| StoreError::new(Op::Get, key, kind))?;
                if bytes == 0 {
                    return Ok(Sealed::stored(Bytes::new()));
                }
                Some(format!("bytes={at}-{}", at.saturating_add(bytes).saturating_sub(1)))
            }
        };
        match self.fetch_sound(key, version, part, range).await {
            // "Not satisfiable" says of an empty object what it says of a place behind the end.
            Err(error) if error.kind == StoreErrorKind::Short { size: 0 } => {
                let size = self.size_for(Op::Get, key, version).await?;
                match part.within(size) {
                    Ok((_, 0)) => Ok(Sealed::stored(Bytes::new())),
                    Ok(_) => Err(StoreError { kind: StoreErrorKind::Unavailable, ..error }),
                    Err(kind) => Err(StoreError { kind, ..error }),
                }
            }
            body => body.map(Sealed::stored),
        }
    }

    /// Bytes that differ from their checksum may have been changed on the way, so they are read again. Those that differ
    /// each time are what the bucket holds: no silence, and told as damage by whoever opens the seal, as those of a folder.
    async fn fetch_sound(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
        part: Part,
        range: Option<String>,
    ) -> Result<Bytes, StoreError> {
        let mut fetched = self.fetch(key, version, part, range.clone()).await?;
        for _ in 1..READS_OF_UNLIKE {
            if let Fetched::Unlike(_) = fetched {
                fetched = self.fetch(key, version, part, range.clone()).await?;
            }
        }
        let (Fetched::Sound(bytes) | Fetched::Unlike(bytes)) = fetched;
        Ok(bytes)
    }

    async fn send(&self, key: &ObjectKey, body: &Sealed) -> Result<PutNew, StoreError> {
        let (link, id) = (&self.link, PutId::of(body));
        let call = async {
            let request = link.client().put_object().bucket(link.bucket()).key(link.name(key.as_str()));
            let request = request.if_none_match("*").checksum_sha256(&id.checksum).metadata(PUT_ID, &id.hex);
            let request = request.body(ByteStream::from(body.bytes())).content_type("application/octet-stream");
            // The signature covers the checksum's header, and the server compares the body with it: hashing the body
            // once more for the signature would prove nothing new.
            let answer = match request.customize().disable_payload_signing().send().await.map_err(Trouble::from) {
                Err(trouble) if trouble.has_status(412) => return Ok(PutNew::AlreadyThere),
                answer => answer?,
            };
            match answer.checksum_sha256() {
                Some(stored) if stored != id.checksum => {
                    Err(Trouble::Contradiction("has another checksum than was sent"))
                }
                Some(_) | None => Ok(PutNew::Created),
            }
        };
        link.attempt(Op::Put, key.as_str(), size_of(body.as_bytes()), Box::pin(call)).await
    }
}

/// A body, all of it.
enum Fetched {
    /// As its checksum says, where there is one.
    Sound(Bytes),
    /// Not as its checksum says.
    Unlike(Bytes),
}

/// What tells one put from every other: the hash of sealed bytes, which begin with a fresh salt.
struct PutId {
    hex: String,
    checksum: String,
}

impl PutId {
    fn of(body: &Sealed) -> Self {
        let hash = digest::digest(&digest::SHA256, body.as_bytes());
        Self { hex: hex::encode(hash.as_ref()), checksum: aws_smithy_types::base64::encode(hash.as_ref()) }
    }
}

/// The body, if it is what was asked for and all of it comes.
async fn drain(link: &Link, answer: GetObjectOutput, part: Part) -> Result<Fetched, Trouble> {
    let extent = Extent::read(answer.content_length(), answer.content_range());
    let extent = extent.ok_or(Trouble::Contradiction("contradicts itself about its length"))?;
    extent.answers(part).map_err(|unlike| match unlike {
        Unlike::Contract(kind) => Trouble::Settled(kind),
        Unlike::OtherBytes => Trouble::Contradiction("gives other bytes than were asked for"),
    })?;
    link.body_of(extent.bytes, all_of(answer.body, extent.bytes)).await
}

async fn all_of(mut body: ByteStream, bytes: u64) -> Result<Fetched, Trouble> {
    // `answers` has bounded it by OBJECT_BYTES_MAX.
    let expected = usize::try_from(bytes).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(expected);
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            // Nothing more was to come: what fails now is the comparison with the checksum.
            Err(_) if bytes.len() == expected => return Ok(Fetched::Unlike(bytes.freeze())),
            Err(error) => return Err(Trouble::Silence(error.into())),
        }
        if bytes.len() > expected {
            return Err(Trouble::Contradiction("is longer than it says"));
        }
    }
    if bytes.len() < expected {
        return Err(Trouble::Silence("the body broke off".into()));
    }
    Ok(Fetched::Sound(bytes.freeze()))
}

#[async_trait::async_trait]
impl Store for S3Store {
    async fn put_new(&self, key: &ObjectKey, body: Sealed) -> Result<PutNew, StoreError> {
        check_size(key, &body)?;
        Step::PutSent.reached();
        self.send(key, &body).await
    }

    async fn get(&self, key: &ObjectKey, part: Part) -> Result<Sealed, StoreError> {
        self.read(key, None, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        let mut after = after.map(|after| after.as_str().to_owned());
        loop {
            let (names, more) = self.page(prefix, prefix, after.as_deref()).await?;
            let mut before = after.as_deref();
            for name in &names {
                // Out of order or repeated, a page could hide a hole.
                if before.is_some_and(|before| name.as_str() <= before) || !name.starts_with(prefix) {
                    return Err(Trouble::Contradiction("is out of order").told(Op::List, prefix));
                }
                before = Some(name);
            }
            let keys: Vec<ObjectKey> = names.iter().filter_map(|name| name.parse().ok()).collect();
            if !keys.is_empty() || !more {
                return Ok(keys);
            }
            // A page of foreign names alone is not the end.
            after = Some(names.last().cloned().ok_or_else(|| {
                Trouble::Contradiction("is an empty page that says there are more").told(Op::List, prefix)
            })?);
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let link = &self.link;
        let call = async {
            let request = link.client().delete_object().bucket(link.bucket()).key(link.name(key.as_str()));
            request.send().await?;
            Ok(())
        };
        match link.attempt(Op::Delete, key.as_str(), 0, Box::pin(call)).await {
            Err(error) if error.kind == StoreErrorKind::Missing => Ok(()),
            done => done,
        }
    }

    async fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.size_for(Op::Size, key, None).await
    }

    async fn kept(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Option<Vec<Kept>>, StoreError> {
        if self.keeps_nothing().await { Ok(None) } else { self.page_of_kept(prefix, after).await }
    }

    async fn get_kept(&self, key: &ObjectKey, version: &str, part: Part) -> Result<Sealed, StoreError> {
        self.read(key, Some(version), part).await
    }

    async fn holds(&self, key: &ObjectKey, body: &Sealed) -> Result<bool, StoreError> {
        let (answer, id) = (self.head(Op::Put, key, None).await?, PutId::of(body));
        let claimed = answer.metadata().and_then(|metadata| metadata.get(PUT_ID)).is_some_and(|put| *put == id.hex);
        let sized =
            answer.content_length().and_then(|length| u64::try_from(length).ok()) == Some(size_of(body.as_bytes()));
        match (claimed, sized, answer.checksum_sha256()) {
            (false, _, _) => Ok(false),
            (true, true, Some(stored)) if stored == id.checksum => Ok(true),
            // Ours by its name and not by its bytes: somebody else answers for what this store holds.
            (true, false, _) | (true, true, Some(_)) => {
                Err(StoreError::new(Op::Put, key, StoreErrorKind::Refused(Refusal::ContractBroken)))
            }
            // A server that keeps no checksums.
            (true, true, None) => crate::store::begins_like(self, key, body).await,
        }
    }
}
