//! Where the messages of a service are described, and how that is kept current.
//!
//! A schema is replaced whole: a call that has begun keeps the one it began with. Files are read when a snapshot is built,
//! so that a bad one is a mistake in the configuration. Live reflection is asked on the control runtime: at the start, then
//! at each [`REFRESH`], and when a call names a method that is not known; what was good stays in use while asking fails.

mod files;
mod reflection;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use causeway_config as config;
use causeway_protocols::FailureKind;
use causeway_protocols::transcode::Schema;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

pub use files::FileError;

use crate::clock::Clock;
use crate::discovery::Watched;
use crate::error::CallError;

/// A schema by reflection is asked for again after this long.
pub const REFRESH: Duration = Duration::from_secs(60);
/// After a failure, and between two askings because of unknown methods.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A call waits this long for the first schema of its service.
const WAIT: Duration = Duration::from_secs(3);

/// What is known of a schema.
#[derive(Clone, Debug, Default)]
struct Known {
    schema: Option<Arc<Schema>>,
    /// Why the last asking failed.
    failure: Option<Arc<str>>,
    /// Counts askings that have ended.
    asked: u64,
}

/// The schema of a service. Cloning shares it; asking ends with the last clone.
#[derive(Clone, Debug)]
pub struct Source {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    /// Keeps the task that asks; none for files.
    _asking: Option<Arc<watch::Sender<()>>>,
}

impl Source {
    /// A schema that does not change.
    fn fixed(schema: Schema) -> Self {
        let known = Known {
            schema: Some(Arc::new(schema)),
            failure: None,
            asked: 1,
        };
        Self {
            known: watch::channel(known).1,
            wanted: Arc::new(Notify::new()),
            _asking: None,
        }
    }

    /// The schema, waiting a little for the first one.
    ///
    /// # Errors
    /// [`FailureKind::NoEndpoint`] with the reason when there is none: the backend could not be asked.
    pub async fn load(&self, clock: &std::rc::Rc<Clock>) -> Result<Arc<Schema>, CallError> {
        if let Some(schema) = &self.known.borrow().schema {
            return Ok(Arc::clone(schema));
        }
        self.wait(clock, |known| known.schema.is_some()).await;
        let known = self.known.borrow();
        known.schema.clone().ok_or_else(|| {
            let why = known.failure.as_deref().unwrap_or("it has not answered yet");
            CallError::new(FailureKind::NoEndpoint, format!("no schema by reflection: {why}")).after(PAUSE)
        })
    }

    /// Another schema than this one, if asking again gives one: the backend may know a method that it did not know.
    pub async fn newer(&self, than: &Arc<Schema>, clock: &std::rc::Rc<Clock>) -> Option<Arc<Schema>> {
        self._asking.as_ref()?;
        let asked = self.known.borrow().asked;
        self.wanted.notify_one();
        self.wait(clock, |known| known.asked != asked).await;
        let schema = self.known.borrow().schema.clone()?;
        (!Arc::ptr_eq(&schema, than)).then_some(schema)
    }

    async fn wait(&self, clock: &std::rc::Rc<Clock>, enough: impl FnMut(&Known) -> bool) {
        let mut known = self.known.clone();
        let timer = clock.timer();
        timer.arm(WAIT);
        tokio::select! {
            // An error: the task has ended with the gateway.
            _ = known.wait_for(enough) => {}
            () = timer.wait() => {}
        }
    }
}

/// All sources by reflection, so that a service keeps its schema over a reload.
#[derive(Debug)]
pub struct Schemas {
    handle: Handle,
    asked: Mutex<HashMap<String, Asked>>,
}

/// A backend that is asked, for as long as somebody has its source.
#[derive(Debug)]
struct Asked {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    asking: Weak<watch::Sender<()>>,
}

impl Schemas {
    /// Asks on this runtime.
    pub fn new(handle: Handle) -> Self {
        Self {
            handle,
            asked: Mutex::default(),
        }
    }

    /// The schema of a service, if it has one.
    ///
    /// # Errors
    /// When a file cannot be read or does not describe what it should.
    pub fn source(
        &self,
        service: &config::Service,
        watched: &Watched,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> Result<Option<Source>, FileError> {
        match &service.schema {
            None => Ok(None),
            Some(config::Schema::Directory(path)) => files::directory(path).map(Source::fixed).map(Some),
            Some(config::Schema::Descriptors(path)) => files::descriptor_set(path).map(Source::fixed).map(Some),
            Some(config::Schema::Reflection) => Ok(Some(self.reflected(service, watched, tls))),
        }
    }

    fn reflected(
        &self,
        service: &config::Service,
        watched: &Watched,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> Source {
        let key = format!(
            "{} {:?} {:?} {:?}",
            service.name, service.endpoints, service.tls, service.host
        );
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, asked| asked.asking.strong_count() > 0);
        if let Some(asked) = asked.get(&key)
            && let Some(asking) = asked.asking.upgrade()
        {
            return Source {
                known: asked.known.clone(),
                wanted: Arc::clone(&asked.wanted),
                _asking: Some(asking),
            };
        }
        let (publish, known) = watch::channel(Known::default());
        let (asking, ended) = watch::channel(());
        let asking = Arc::new(asking);
        let wanted = Arc::new(Notify::new());
        let backend = reflection::Backend::new(service, watched, tls);
        self.handle
            .spawn(ask(backend, service.name.clone(), publish, Arc::clone(&wanted), ended));
        let entry = Asked {
            known: known.clone(),
            wanted: Arc::clone(&wanted),
            asking: Arc::downgrade(&asking),
        };
        asked.insert(key, entry);
        Source {
            known,
            wanted,
            _asking: Some(asking),
        }
    }
}

/// Asks until nobody wants to know any more.
async fn ask(
    backend: reflection::Backend,
    service: config::Name,
    publish: watch::Sender<Known>,
    wanted: Arc<Notify>,
    mut ended: watch::Receiver<()>,
) {
    let mut pause = PAUSE;
    let mut last = Vec::new();
    loop {
        let asked = tokio::select! {
            asked = backend.ask() => asked,
            _ = ended.changed() => return,
        };
        let made = asked.and_then(|set| {
            if set == last {
                return Ok(None);
            }
            let schema = Schema::from_descriptor_set(&set).map_err(|error| error.to_string())?;
            last = set;
            Ok(Some(Arc::new(schema)))
        });
        let rest = match made {
            Ok(schema) => {
                pause = PAUSE;
                if schema.is_some() {
                    tracing::info!(%service, "schema taken over by reflection");
                }
                publish.send_modify(|known| {
                    known.asked += 1;
                    known.failure = None;
                    known.schema = schema.or_else(|| known.schema.take());
                });
                REFRESH
            }
            Err(error) => {
                tracing::warn!(%service, %error, "asking for the schema by reflection failed");
                publish.send_modify(|known| {
                    known.asked += 1;
                    known.failure = Some(error.into());
                });
                let rest = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                rest
            }
        };
        // However many unknown methods are named, the backend is asked once in each pause.
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = ended.changed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(rest.saturating_sub(PAUSE)) => {}
            () = wanted.notified() => {}
            _ = ended.changed() => return,
        }
    }
}
