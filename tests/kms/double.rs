//! A double of AWS KMS: the JSON protocol over real HTTP, keys with states, contexts that are checked, and faults.
//!
//! It knows `GenerateDataKey`, `Encrypt`, `Decrypt`, `ReEncrypt` and `DescribeKey`. What it wraps is really sealed, so that
//! no plain key stands in what it gives out; it remembers every plain data key, so that a test can look for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_smithy_types::base64;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use holdfast::clock::{Clock, SystemClock, sleep};
use holdfast::crypto::stream::sha256;
use holdfast::entropy::{OsEntropy, draw};
use serde_json::{Value, json};

/// What a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyIs {
    Enabled,
    Disabled,
    PendingDeletion,
    /// Its key store is cut off.
    Unavailable,
}

/// What goes wrong with every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// KMS says that it has trouble of its own.
    Internal,
    /// Too many requests in the account; an answer with status 400.
    Throttle,
    /// No answer for so long.
    Silent(Duration),
    /// The answer is cut before its last letter, so that nobody can read it.
    Cut,
}

/// What KMS says of credentials that it does not know any more.
pub(crate) const STALE: [&str; 3] = ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"];

#[derive(Default)]
struct World {
    keys: BTreeMap<String, ([u8; 32], Option<KeyIs>)>,
    aliases: BTreeMap<String, String>,
    fault: Option<Fault>,
    expired: Option<(String, &'static str)>,
    fired: usize,
    denied: BTreeSet<&'static str>,
    calls: Vec<(String, BTreeMap<String, String>)>,
    plain: Vec<Vec<u8>>,
}

/// The double, listening.
pub(crate) struct Double {
    world: Arc<Mutex<World>>,
    pub(crate) endpoint: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Double {
    /// Listens on a free port, with one enabled key behind `alias/holdfast`.
    pub(crate) async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&world));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let double = Self { world, endpoint, serving };
        let key = double.make_key();
        double.point("alias/holdfast", &key);
        double
    }

    fn world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap())
    }

    /// A new enabled key; gives its ARN.
    pub(crate) fn make_key(&self) -> String {
        let arn = format!("arn:aws:kms:eu-central-1:111122223333:key/{}", hex::encode(draw::<16>(&OsEntropy)));
        self.world(|world| world.keys.insert(arn.clone(), (draw(&OsEntropy), Some(KeyIs::Enabled))));
        arn
    }

    pub(crate) fn point(&self, alias: &str, key: &str) {
        self.world(|world| world.aliases.insert(alias.to_owned(), key.to_owned()));
    }

    /// The key behind `alias/holdfast`.
    pub(crate) fn key(&self) -> String {
        self.world(|world| world.aliases["alias/holdfast"].clone())
    }

    pub(crate) fn set(&self, key: &str, is: KeyIs) {
        self.world(|world| world.keys.get_mut(key).unwrap().1 = Some(is));
    }

    /// The key is gone for good, as after its waiting time.
    pub(crate) fn destroy(&self, key: &str) {
        self.world(|world| world.keys.remove(key));
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.world(|world| world.fault = fault);
    }

    /// How often the faults struck since the last question.
    pub(crate) fn fired(&self) -> usize {
        self.world(|world| std::mem::take(&mut world.fired))
    }

    /// From now on this access key is refused with this code.
    pub(crate) fn expire(&self, access: &str, code: &'static str) {
        self.world(|world| world.expired = Some((access.to_owned(), code)));
    }

    pub(crate) fn deny(&self, op: &'static str) {
        self.world(|world| world.denied.insert(op));
    }

    /// How often `op` was asked for.
    pub(crate) fn count(&self, op: &str) -> usize {
        self.world(|world| world.calls.iter().filter(|(called, _)| called == op).count())
    }

    /// The encryption contexts of every call of `op`.
    pub(crate) fn contexts(&self, op: &str) -> Vec<BTreeMap<String, String>> {
        self.world(|world| {
            world.calls.iter().filter(|(called, _)| called == op).map(|(_, context)| context.clone()).collect()
        })
    }

    /// Every plain data key that ever left.
    pub(crate) fn plain_keys(&self) -> Vec<Vec<u8>> {
        self.world(|world| world.plain.clone())
    }
}

type Refusal = (&'static str, &'static str);

async fn answer(State(world): State<Arc<Mutex<World>>>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let fault = {
        let mut world = world.lock().unwrap();
        world.fired += usize::from(world.fault.is_some());
        world.fault
    };
    match fault {
        Some(Fault::Silent(wait)) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            sleep(&*clock, wait).await;
        }
        Some(Fault::Internal) => return refused(StatusCode::INTERNAL_SERVER_ERROR, ("KMSInternalException", "later")),
        Some(Fault::Throttle) => return refused(StatusCode::BAD_REQUEST, ("ThrottlingException", "Rate exceeded")),
        Some(Fault::Cut) | None => {}
    }
    let signed = headers["authorization"].to_str().unwrap().to_owned();
    let stale = {
        let mut world = world.lock().unwrap();
        let of = |access: &String| signed.contains(&format!("Credential={access}/"));
        let stale = world.expired.as_ref().filter(|(access, _)| of(access)).map(|(_, code)| *code);
        world.fired += usize::from(stale.is_some());
        stale
    };
    if let Some(code) = stale {
        return refused(StatusCode::BAD_REQUEST, (code, "the security token is not valid any more"));
    }
    let target = headers["x-amz-target"].to_str().unwrap();
    let op = target.strip_prefix("TrentService.").unwrap();
    let request: Value = serde_json::from_str(&body).unwrap();
    match world.lock().unwrap().call(op, &request) {
        Ok(answer) => {
            let mut text = answer.to_string();
            text.truncate(text.len() - usize::from(fault == Some(Fault::Cut)));
            (StatusCode::OK, text)
        }
        Err(refusal) => refused(StatusCode::BAD_REQUEST, refusal),
    }
}

fn refused(status: StatusCode, (kind, message): Refusal) -> (StatusCode, String) {
    (status, json!({ "__type": kind, "message": message }).to_string())
}

fn context(request: &Value, field: &str) -> BTreeMap<String, String> {
    request.get(field).map(|pairs| serde_json::from_value(pairs.clone()).unwrap()).unwrap_or_default()
}

fn blob(request: &Value, field: &str) -> Vec<u8> {
    base64::decode(request[field].as_str().unwrap()).unwrap()
}

impl World {
    fn call(&mut self, op: &str, request: &Value) -> Result<Value, Refusal> {
        self.calls.push((op.to_owned(), context(request, "EncryptionContext")));
        if self.denied.contains(op) {
            return Err(("AccessDeniedException", "the role is not authorized to perform this"));
        }
        match op {
            "DescribeKey" => {
                let arn = self.find(request)?;
                let state = match self.keys[&arn].1.unwrap() {
                    KeyIs::Enabled => "Enabled",
                    KeyIs::Disabled => "Disabled",
                    KeyIs::PendingDeletion => "PendingDeletion",
                    KeyIs::Unavailable => "Unavailable",
                };
                Ok(json!({ "KeyMetadata": { "KeyId": arn, "Arn": arn, "KeyState": state } }))
            }
            "GenerateDataKey" => {
                let plain: [u8; 32] = draw(&OsEntropy);
                self.plain.push(plain.to_vec());
                let (arn, sealed) = self.wrap(&self.usable(request)?, &plain, &context(request, "EncryptionContext"));
                let sealed = base64::encode(sealed);
                Ok(json!({ "KeyId": arn, "CiphertextBlob": sealed, "Plaintext": base64::encode(plain) }))
            }
            "Encrypt" => {
                let plain = blob(request, "Plaintext");
                let (arn, sealed) = self.wrap(&self.usable(request)?, &plain, &context(request, "EncryptionContext"));
                Ok(json!({ "KeyId": arn, "CiphertextBlob": base64::encode(sealed) }))
            }
            "Decrypt" => {
                let named = request.get("KeyId").map(|_| self.find(request)).transpose()?;
                let (arn, plain) = self.unwrap(request, "EncryptionContext", named)?;
                Ok(json!({ "KeyId": arn, "Plaintext": base64::encode(plain) }))
            }
            "ReEncrypt" => {
                let (source, plain) = self.unwrap(request, "SourceEncryptionContext", None)?;
                let wanted = json!({ "KeyId": request["DestinationKeyId"] });
                let bound = context(request, "DestinationEncryptionContext");
                let (arn, sealed) = self.wrap(&self.usable(&wanted)?, &plain, &bound);
                Ok(json!({ "KeyId": arn, "SourceKeyId": source, "CiphertextBlob": base64::encode(sealed) }))
            }
            _ => Err(("UnknownOperationException", "")),
        }
    }

    fn find(&self, request: &Value) -> Result<String, Refusal> {
        let named = request["KeyId"].as_str().unwrap();
        let arn = self.aliases.get(named).map_or(named, String::as_str);
        let found = self.keys.keys().find(|key| key.as_str() == arn || key.ends_with(&format!("/{arn}")));
        found.cloned().ok_or(("NotFoundException", "Key does not exist"))
    }

    fn usable(&self, request: &Value) -> Result<String, Refusal> {
        let arn = self.find(request)?;
        match self.keys[&arn].1.unwrap() {
            KeyIs::Enabled => Ok(arn),
            KeyIs::Disabled => Err(("DisabledException", "the key is disabled")),
            KeyIs::PendingDeletion => Err(("KMSInvalidStateException", "the key is pending deletion")),
            KeyIs::Unavailable => Err(("KMSInvalidStateException", "the key is unavailable")),
        }
    }

    fn wrap(&self, arn: &str, plain: &[u8], bound: &BTreeMap<String, String>) -> (String, Vec<u8>) {
        let mut sealed = plain.to_vec();
        let nonce: [u8; 12] = draw(&OsEntropy);
        let aad = Aad::from(sha256(json!(bound).to_string().as_bytes()));
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.keys[arn].0).unwrap());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).unwrap();
        (arn.to_owned(), [&[u8::try_from(arn.len()).unwrap()], arn.as_bytes(), &nonce, &sealed].concat())
    }

    fn unwrap(&self, request: &Value, field: &str, named: Option<String>) -> Result<(String, Vec<u8>), Refusal> {
        const DAMAGED: Refusal = ("InvalidCiphertextException", "");
        let wrapped = blob(request, "CiphertextBlob");
        let (length, rest) = wrapped.split_first().ok_or(DAMAGED)?;
        let (arn, rest) = rest.split_at_checked(usize::from(*length)).ok_or(DAMAGED)?;
        let arn = std::str::from_utf8(arn).ok().filter(|arn| self.keys.contains_key(*arn)).ok_or(DAMAGED)?;
        if named.is_some_and(|named| named != arn) {
            return Err(("IncorrectKeyException", "the key in the request is not the one that wrapped this"));
        }
        let arn = self.usable(&json!({ "KeyId": arn }))?;
        let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or(DAMAGED)?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(sha256(json!(context(request, field)).to_string().as_bytes()));
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.keys[&arn].0).unwrap());
        let plain = key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut sealed).map_err(|_| DAMAGED)?;
        Ok((arn.clone(), plain.to_vec()))
    }
}
