//! Asks the running daemon, if there is one.

use serde_json::Value;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::scene::Scene;
use crate::daemon::control::{self, ControlError};

/// The daemon's answer; `None` if none runs, or if the configuration names no place where one could.
pub async fn daemon(scene: &Scene, request: &Value) -> Result<Option<Value>, Failure> {
    match scene.config.service.state_dir.as_deref() {
        Some(state_dir) => Ok(control::ask(state_dir, request).await?),
        None => Ok(None),
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let exit = match &error {
            ControlError::Refused(refused) => {
                Exit::ALL.into_iter().find(|exit| exit.code() == refused.exit).unwrap_or(Exit::Failed)
            }
            ControlError::Bind { .. } | ControlError::Ask { .. } | ControlError::NoAnswer { .. } => Exit::Failed,
        };
        Self::of(exit, error)
    }
}
