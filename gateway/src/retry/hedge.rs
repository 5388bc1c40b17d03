//! A further attempt beside one that takes long: the first reply wins, and dropping the others cancels them.

use std::pin::Pin;
use std::time::Duration;

use std::task::Poll;

/// An attempt under way.
pub type Attempt<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + 'a>>;

/// Runs `first`, and whatever `more` gives each time another `after` has passed without a reply; `more` is not asked
/// again once it gave nothing. An attempt that fails is forgotten while others are under way.
///
/// # Errors
/// That of the last attempt under way.
pub async fn race<'a, T, E>(
    first: Attempt<'a, T, E>,
    after: Duration,
    mut more: impl FnMut() -> Option<Attempt<'a, T, E>>,
) -> Result<T, E> {
    let mut running = vec![first];
    // Not the worker's wheel: its ticks are as long as many a wait here.
    let mut wait = std::pin::pin!(tokio::time::sleep(after));
    let mut asking = true;
    std::future::poll_fn(|task| {
        loop {
            let mut at = 0;
            while let Some(attempt) = running.get_mut(at) {
                match attempt.as_mut().poll(task) {
                    Poll::Ready(Err(_)) if running.len() > 1 => drop(running.swap_remove(at)),
                    Poll::Ready(done) => return Poll::Ready(done),
                    Poll::Pending => at += 1,
                }
            }
            if !asking || wait.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            match more() {
                Some(attempt) => {
                    running.push(attempt);
                    wait.as_mut().reset(tokio::time::Instant::now() + after);
                }
                None => asking = false,
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// An attempt that ends after so many milliseconds.
    fn attempt<'a>(millis: u64, ends: Result<u8, u8>, cancelled: &'a Cell<u8>) -> Attempt<'a, u8, u8> {
        struct Guard<'a>(&'a Cell<u8>);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        Box::pin(async move {
            let guard = Guard(cancelled);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            std::mem::forget(guard);
            ends
        })
    }

    #[tokio::test]
    async fn the_first_reply_wins_and_the_others_are_cancelled() {
        let cancelled = Cell::new(0);
        let mut later = vec![attempt(1, Ok(3), &cancelled), attempt(600_000, Ok(2), &cancelled)];
        let first = attempt(600_000, Ok(1), &cancelled);
        let won = race(first, Duration::from_millis(5), || later.pop()).await;
        assert_eq!(won, Ok(3), "the third");
        assert_eq!(cancelled.get(), 2);
    }

    #[tokio::test]
    async fn a_quick_reply_has_no_company() {
        let cancelled = Cell::new(0);
        let more = || panic!("asked for another");
        let won = race(attempt(1, Ok(1), &cancelled), Duration::from_secs(600), more).await;
        assert_eq!(won, Ok(1));
    }

    #[tokio::test]
    async fn a_failure_counts_only_when_nobody_else_is_under_way() {
        let cancelled = Cell::new(0);
        let mut later = vec![attempt(1, Err(2), &cancelled)];
        let won = race(attempt(200, Ok(1), &cancelled), Duration::from_millis(5), || {
            later.pop()
        })
        .await;
        assert_eq!(won, Ok(1));
        let lost = race(attempt(1, Err(1), &cancelled), Duration::from_secs(600), || None).await;
        assert_eq!(lost, Err(1), "it failed before there was another");
    }
}
