//! The schema and the globals of a base, by PostgreSQL's own programs.

use std::pin::pin;

use futures::future::{Either, select};

use crate::clock::sleep;
use crate::codec::base::Content;
use crate::source::postgres::base::Taking;
use crate::source::postgres::base::dump::{self, Tools};
use crate::source::postgres::base::error::BaseTakeError;
use crate::source::postgres::base::parts::PartWriter;
use crate::source::postgres::base::way::Way;
use crate::source::postgres::patience::{LOCK_PAUSE, LOCK_TRIES, LOCK_WAIT};

/// Schema and globals; gives what a person should know of them.
pub(crate) async fn dump(taking: &Taking<'_>) -> Result<Option<String>, BaseTakeError> {
    let Taking { env, order, held, parts, .. } = taking;
    let tools = Tools::find(held.server.version).await?;
    for (content, arguments) in dump::sections(&held.snapshot) {
        section(taking, &tools, content, &arguments).await?;
    }
    let mut writer = PartWriter::new(env, parts, Content::Globals);
    let warning = tools.globals(&order.target, &mut writer).await?;
    writer.finish().await?;
    Ok(warning)
}

/// What became of one try.
enum Tried {
    Done,
    /// A lock was not to be had, or somebody needed ours.
    Locked,
    Failed(BaseTakeError),
}

/// Where a lock is not to be had, or somebody needs one of ours, all are let go, and he has his turn before it is tried
/// again (L12).
async fn section(
    taking: &Taking<'_>,
    tools: &Tools,
    content: Content,
    arguments: &[String],
) -> Result<(), BaseTakeError> {
    let mut tries = 1;
    loop {
        let mut writer = PartWriter::new(taking.env, &taking.parts, content);
        match once(taking, tools, arguments, &mut writer).await? {
            Tried::Done => return writer.finish().await,
            Tried::Failed(error) => return Err(error),
            Tried::Locked if tries < LOCK_TRIES => {
                writer.finish().await?;
                taking.parts.discard(|other| *other == content);
                tries += 1;
                sleep(&*taking.env.clock, LOCK_PAUSE).await;
            }
            Tried::Locked => return Err(BaseTakeError::Locked),
        }
    }
}

async fn once(
    taking: &Taking<'_>,
    tools: &Tools,
    arguments: &[String],
    writer: &mut PartWriter,
) -> Result<Tried, BaseTakeError> {
    let Taking { env, order, .. } = taking;
    let mut way = Way::watch(env, order).await?;
    let begun = env.clock.tick();
    let target = way.target(order);
    let ended = {
        let (dump, needed) = (pin!(tools.dump(&target, arguments, writer)), pin!(way.is_needed(env)));
        match select(dump, needed).await {
            Either::Left((ended, _)) => Some(ended),
            Either::Right((needed, _)) => needed.map(|()| None)?,
        }
    };
    let Some(ended) = ended else {
        way.give().await?;
        return Ok(Tried::Locked);
    };
    Ok(match ended {
        Ok(()) => Tried::Done,
        // Its words are in the server's language; that it took so long and wrote nothing is clear in each.
        Err(BaseTakeError::ToolFailed { .. })
            if writer.is_untouched() && env.clock.tick().since(begun) >= LOCK_WAIT =>
        {
            Tried::Locked
        }
        Err(error) => Tried::Failed(error),
    })
}
