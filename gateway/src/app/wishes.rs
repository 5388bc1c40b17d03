//! What the operator asks a running gateway for at its admin port.

use std::sync::{Arc, OnceLock};

use serde_json::json;
use tokio::sync::watch;

use crate::admin::{Control, Outcome};
use crate::cache::{Store, purge};
use crate::reload::{Reloader, Trigger};

/// Takes the wishes. Whoever runs the gateway says how it is reloaded, and waits for the wish to stop.
#[derive(Debug, Default)]
pub struct Wishes {
    reloader: OnceLock<Arc<Reloader>>,
    stop: watch::Sender<bool>,
    cache: OnceLock<Arc<Store>>,
}

impl Wishes {
    /// Reloads are done by this one from now on; before, they are refused. Only the first counts.
    pub fn reload_by(&self, reloader: &Arc<Reloader>) {
        self.reloader.set(Arc::clone(reloader)).ok();
    }

    /// Kept replies are forgotten here. Only the first counts.
    pub(super) fn purge_from(&self, cache: &Arc<Store>) {
        self.cache.set(Arc::clone(cache)).ok();
    }

    /// Ready when somebody wants the gateway to drain.
    pub async fn stop(&self) {
        let mut stop = self.stop.subscribe();
        // The sender is ours.
        stop.wait_for(|stop| *stop).await.ok();
    }
}

impl Control for Wishes {
    fn reload(&self) -> Outcome<'_> {
        let problems = |problems: Vec<String>| json!({ "problems": problems });
        Box::pin(async move {
            let Some(reloader) = self.reloader.get().map(Arc::clone) else {
                return Err(problems(vec!["this gateway cannot be reloaded".to_owned()]));
            };
            // It waits for files and look-ups.
            let reloaded = tokio::task::spawn_blocking(move || reloader.reload(Trigger::Admin)).await;
            match reloaded {
                Ok(Ok(generation)) => Ok(json!({ "generation": generation })),
                Ok(Err(error)) => Err(problems(error.problems())),
                Err(error) => Err(problems(vec![error.to_string()])),
            }
        })
    }

    fn purge(&self, what: &str) -> Outcome<'_> {
        let purged = match (self.cache.get(), purge::parse(what)) {
            (Some(cache), Ok(wanted)) => Ok(json!({ "purged": wanted.purge(cache) })),
            (None, _) => Err(json!({ "problems": ["this gateway keeps nothing"] })),
            (_, Err(problem)) => Err(json!({ "problems": [problem] })),
        };
        Box::pin(std::future::ready(purged))
    }

    fn drain(&self) -> Outcome<'_> {
        self.stop.send_replace(true);
        Box::pin(std::future::ready(Ok(json!({ "draining": true }))))
    }
}
