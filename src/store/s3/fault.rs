//! From what S3 says (or does not say) to what the caller can do.
//!
//! A put whose answer is anything but a clear "not done" may have landed: it is `Unanswered`, and settled by asking
//! again (L1, L5). The SDK retries nothing here; what it leaves out (409, expired credentials) and what it would retry is
//! tried again in one place, [`Retrying`](crate::store::Retrying).

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use crate::clock::Elapsed;
use crate::store::error::{Op, Refusal, StoreError, StoreErrorKind};

type Cause = Box<dyn Error + Send + Sync>;

/// Why a try did not end in what was wanted.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// S3 answered with an error.
    Answer(Answer),
    /// No answer, or half of one.
    Silence(Cause),
    /// Nobody said who asks.
    Nobody(Cause),
    /// The request could not be made.
    Unmade(Cause),
    /// The answer contradicts itself or the request.
    Contradiction(&'static str),
    /// The answer settles it.
    Settled(StoreErrorKind),
}

/// S3's own words, without its message, which may quote what was sent (L6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// None where the answer has no body: a HEAD's.
    pub(crate) code: Option<String>,
    pub(crate) request: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.code.as_deref().unwrap_or("no code"), self.status)?;
        self.request.as_ref().map_or(Ok(()), |id| write!(f, ", request {id}"))
    }
}

impl Error for Answer {}

/// An answer that contradicts itself or the request.
#[derive(Debug, thiserror::Error)]
#[error("the answer {0}")]
struct Contradiction(&'static str);

impl<E> From<SdkError<E, HttpResponse>> for Trouble
where
    E: ProvideErrorMetadata + RequestId + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let SdkError::ServiceError(answer) = &error {
            let (status, said) = (answer.raw().status().as_u16(), answer.err());
            let code = said.code().filter(|code| !code.is_empty() && *code != "NotFound").map(str::to_owned);
            return Self::Answer(Answer { status, code, request: said.request_id().map(str::to_owned) });
        }
        if let SdkError::ResponseError(answer) = &error
            && answer.raw().status().as_u16() >= 300
        {
            return Self::Answer(Answer { status: answer.raw().status().as_u16(), code: None, request: None });
        }
        let unmade = matches!(error, SdkError::ConstructionFailure(_));
        let nobody = is_nobody(&error);
        let cause = error.into_source().unwrap_or_else(Into::into);
        match (nobody, unmade) {
            (true, _) => Self::Nobody(cause),
            (false, true) => Self::Unmade(cause),
            (false, false) => Self::Silence(cause),
        }
    }
}

/// Whether there are no credentials anywhere; a provider that did not answer now may answer later.
fn is_nobody(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) =
            error.downcast_ref::<CredentialsError>()
        {
            return true;
        }
        next = error.source();
    }
    false
}

impl From<Elapsed> for Trouble {
    fn from(elapsed: Elapsed) -> Self {
        Self::Silence(elapsed.into())
    }
}

impl Trouble {
    /// An error answer without a body: a HEAD's says its status and nothing more.
    pub(crate) fn is_mute(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.code.is_none())
    }

    pub(crate) fn has_status(&self, status: u16) -> bool {
        matches!(self, Self::Answer(answer) if answer.status == status)
    }

    /// Whether the store asks for fewer requests.
    pub(crate) fn asks_for_less(&self) -> bool {
        let Self::Answer(answer) = self else { return false };
        answer.status == 429 || matches!(answer.code(), "SlowDown" | "RequestLimitExceeded") || answer.throttles()
    }

    /// Whether new credentials may help.
    pub(crate) fn asks_for_credentials(&self) -> bool {
        let Self::Answer(answer) = self else { return false };
        matches!(answer.code(), "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken")
    }

    /// Whether the request bore a time that is too far from the store's.
    pub(crate) fn is_skewed(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.code() == "RequestTimeTooSkewed")
    }

    /// What the caller of `op` can do.
    pub(crate) fn kind(&self, op: Op) -> StoreErrorKind {
        // Asking again does no harm where nothing was to be changed.
        let doubt = match op {
            Op::Put | Op::Delete => StoreErrorKind::Unanswered,
            Op::Create | Op::Open | Op::Get | Op::List | Op::Size => StoreErrorKind::Unavailable,
        };
        match self {
            Self::Answer(_) if self.asks_for_less() || self.asks_for_credentials() => StoreErrorKind::Unavailable,
            Self::Answer(answer) => answer.kind(doubt),
            Self::Silence(_) => doubt,
            Self::Nobody(_) => StoreErrorKind::Refused(Refusal::NoCredentials),
            Self::Unmade(_) => StoreErrorKind::Refused(Refusal::WrongRegion),
            Self::Contradiction(_) if op == Op::Put => doubt,
            Self::Contradiction(_) => StoreErrorKind::Refused(Refusal::ContractBroken),
            Self::Settled(kind) => *kind,
        }
    }

    pub(crate) fn told(self, op: Op, what: &str) -> StoreError {
        let error = StoreError::new(op, what, self.kind(op));
        match self {
            Self::Answer(answer) => error.caused_by(answer),
            Self::Silence(cause) | Self::Nobody(cause) | Self::Unmade(cause) => error.caused_by(cause),
            Self::Contradiction(how) => error.caused_by(Contradiction(how)),
            Self::Settled(_) => error,
        }
    }
}

impl Answer {
    fn code(&self) -> &str {
        self.code.as_deref().unwrap_or("")
    }

    fn throttles(&self) -> bool {
        self.code().starts_with("Throttl") || self.code() == "TooManyRequestsException"
    }

    fn kind(&self, doubt: StoreErrorKind) -> StoreErrorKind {
        let refused = StoreErrorKind::Refused;
        match self.code() {
            "NoSuchKey" | "NoSuchVersion" => return StoreErrorKind::Missing,
            "NoSuchBucket" => return refused(Refusal::NoBucket),
            // A race with another put; a body that was changed or cut on its way. Neither was done.
            "ConditionalRequestConflict"
            | "OperationAborted"
            | "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody" => return StoreErrorKind::Unavailable,
            "RequestTimeout" => return doubt,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                return refused(Refusal::WrongRegion);
            }
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "NotSignedUp" => return refused(Refusal::NoCredentials),
            "RequestTimeTooSkewed" => return refused(Refusal::WrongClock),
            "EntityTooLarge" => return refused(Refusal::TooLarge),
            "NotImplemented" | "MethodNotAllowed" => return refused(Refusal::Unfit),
            _ => {}
        }
        match self.status {
            301 | 307 => refused(Refusal::WrongRegion),
            401 | 403 => refused(Refusal::NoRights),
            // S3 says which thing is missing. Without that word it was not S3 that answered but something in between that
            // has lost it: an ingress without a route, a balancer without a server. "Missing" would be believed for good.
            404 if self.code.is_none() => doubt,
            404 => StoreErrorKind::Missing,
            408 | 500..=599 => doubt,
            409 => StoreErrorKind::Unavailable,
            _ => refused(Refusal::ContractBroken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StoreErrorKind::{Missing, Refused, Unanswered, Unavailable};

    #[test]
    fn every_answer_says_what_the_caller_can_do() {
        #[rustfmt::skip]
        let cases = [
            // status  code                            of a put                         of a get                        why
            (409, "ConditionalRequestConflict",        Unavailable,                     Unavailable,                    "a race: the same bytes again"),
            (503, "SlowDown",                          Unavailable,                     Unavailable,                    "not done, and says so"),
            (500, "InternalError",                     Unanswered,                      Unavailable,                    "it may have landed"),
            (502, "",                                  Unanswered,                      Unavailable,                    "a proxy in between knows nothing"),
            (400, "RequestTimeout",                    Unanswered,                      Unavailable,                    "the body was not all there"),
            (400, "BadDigest",                         Unavailable,                     Unavailable,                    "changed on the way"),
            (400, "ExpiredToken",                      Unavailable,                     Unavailable,                    "after a refresh"),
            (403, "ExpiredToken",                      Unavailable,                     Unavailable,                    "either status"),
            (403, "AccessDenied",                      Refused(Refusal::NoRights),      Refused(Refusal::NoRights),     "a person must act"),
            (403, "SignatureDoesNotMatch",             Refused(Refusal::NoCredentials), Refused(Refusal::NoCredentials), "the wrong secret"),
            (403, "RequestTimeTooSkewed",              Refused(Refusal::WrongClock),    Refused(Refusal::WrongClock),   "a typed stop"),
            (404, "NoSuchBucket",                      Refused(Refusal::NoBucket),      Refused(Refusal::NoBucket),     "never empty"),
            (404, "NoSuchKey",                         Missing,                         Missing,                        "one object"),
            (404, "",                                  Unanswered,                      Unavailable,                    "something in between: not S3's word"),
            (301, "PermanentRedirect",                 Refused(Refusal::WrongRegion),   Refused(Refusal::WrongRegion),  "another region's"),
            (400, "AuthorizationHeaderMalformed",      Refused(Refusal::WrongRegion),   Refused(Refusal::WrongRegion),  "signed for another region"),
            (501, "NotImplemented",                    Refused(Refusal::Unfit),         Refused(Refusal::Unfit),        "conditions are not known there"),
            (418, "Teapot",                            Refused(Refusal::ContractBroken), Refused(Refusal::ContractBroken), "nothing that S3 says"),
        ];
        for (status, code, put, get, why) in cases {
            let code = Some(code.to_owned()).filter(|code| !code.is_empty());
            let trouble = Trouble::Answer(Answer { status, code, request: None });
            assert_eq!((trouble.kind(Op::Put), trouble.kind(Op::Get)), (put, get), "{why}: {trouble:?}");
        }
        let silence = Trouble::Silence("reset".into());
        assert_eq!((silence.kind(Op::Put), silence.kind(Op::List)), (Unanswered, Unavailable));
    }
}
