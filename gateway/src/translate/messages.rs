//! The messages of one direction, pulled out of a body: cut, converted, and ended in a way that can be told on.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use causeway_protocols::framing::Decoder;
use causeway_protocols::message::{Event, Message, Outcome};
use causeway_protocols::status::Status;
use causeway_protocols::{Code, End, Fields};

use super::content::Content;
use super::fault::Fault;
use super::grpc;
use super::mux::Inbox;
use crate::payload::{Body, Chunk, Pump};

/// Whose messages they are, and so whose fault a bad one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The backend's.
    Backend,
}

/// One step of a direction.
#[derive(Debug)]
pub enum Next {
    /// A message, as the other side wants it.
    Message(Message),
    /// The end. What a client sends ends OK, which is a half-close, or cancelled.
    End(Outcome),
}

/// How a direction ended whose framing did not say it.
#[derive(Debug)]
pub enum Ending {
    /// Well: the end of the bytes is the end of the messages.
    Well,
    /// As the trailers say, or as the head did where there is nothing but a head.
    Grpc {
        /// The head's, if it had a status.
        head: Option<Box<Outcome>>,
    },
    /// As is known already.
    As(Box<Outcome>),
}

impl Ending {
    fn of(&mut self, end: End) -> Outcome {
        match std::mem::replace(self, Self::Well) {
            Self::Well => Outcome {
                trailers: end.trailers,
                ..Outcome::new(Status::new(Code::Ok, ""))
            },
            Self::Grpc { head: Some(outcome) } => *outcome,
            Self::Grpc { head: None } => grpc::outcome(end.trailers),
            Self::As(outcome) => *outcome,
        }
    }
}

/// What follows once it is known: the reply of a backend that speaks only after it has heard something.
pub type Later = Pin<Box<dyn Future<Output = Result<Messages, Fault>>>>;

enum Source {
    Decoded {
        body: Body,
        decoder: Box<Decoder>,
        /// The carrier's end, once it has come.
        end: Option<End>,
    },
    /// What a multiplexed socket has brought for one call.
    Queue(Rc<Inbox>),
    /// One message that is known already; nothing of the body is read.
    One(Option<Message>),
    Later(Later),
}

/// Messages to be pulled.
pub struct Messages {
    side: Side,
    source: Source,
    content: Content,
    ending: Ending,
    /// Looked at before, and to be given again.
    put_back: Option<Next>,
    /// The request, where nobody else moves it: that of a call that was opened after its client had been let in.
    rest: Option<Pump>,
    over: bool,
    /// The first message is the last: a reply over something that does not end by itself.
    only_one: bool,
    count: u64,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("side", &self.side)
            .field("over", &self.over)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Messages {
    fn new(side: Side, source: Source) -> Self {
        Self {
            side,
            source,
            content: Content::AsIs,
            ending: Ending::Well,
            put_back: None,
            rest: None,
            over: false,
            only_one: false,
            count: 0,
        }
    }

    /// No message, and this end.
    pub fn ended(side: Side, outcome: Outcome) -> Self {
        Self::new(side, Source::One(None)).ending(Ending::As(Box::new(outcome)))
    }

    /// The messages in a body.
    pub fn decoded(side: Side, body: Body, decoder: Decoder) -> Self {
        Self::new(
            side,
            Source::Decoded {
                body,
                decoder: Box::new(decoder),
                end: None,
            },
        )
    }

    /// A single message, before the end.
    pub fn one(side: Side, message: Message) -> Self {
        Self::new(side, Source::One(Some(message)))
    }

    /// The messages of a call on a multiplexed socket.
    pub fn queued(inbox: Rc<Inbox>) -> Self {
        Self::new(Side::Client, Source::Queue(inbox))
    }

    /// Messages that are not there yet. Their content is that of what comes.
    pub fn later(side: Side, later: Later) -> Self {
        Self::new(side, Source::Later(later))
    }

    /// Converts each message.
    pub fn with(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Says how they end where their framing does not.
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Ends well after the first message.
    pub fn only_one(mut self) -> Self {
        self.only_one = true;
        self
    }

    /// Messages that have been handed out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is done to each.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Gives back what was taken, to be given again.
    pub fn put_back(&mut self, next: Next) {
        self.over = false;
        self.put_back = Some(next);
    }

    /// The next step. After an end it must not be asked again.
    ///
    /// # Errors
    /// When the rest will not come, or is not what it should be.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Fault>> {
        if let Some(next) = self.put_back.take() {
            self.over = !matches!(next, Next::Message(_));
            return Poll::Ready(Ok(next));
        }
        self.move_rest(cx);
        if self.only_one && self.count > 0 && !self.over {
            self.ending = Ending::Well;
            return Poll::Ready(Ok(self.end(End::default())));
        }
        loop {
            let event = match &mut self.source {
                Source::One(message) => match message.take() {
                    Some(message) => Event::Message(message),
                    None => return Poll::Ready(Ok(self.end(End::default()))),
                },
                Source::Queue(inbox) => match ready!(inbox.poll_next(cx)) {
                    Some(message) => Event::Message(message),
                    None => return Poll::Ready(Ok(self.end(End::default()))),
                },
                Source::Later(later) => {
                    let messages = ready!(later.as_mut().poll(cx))?;
                    let rest = self.rest.take();
                    *self = messages;
                    self.rest = self.rest.take().or(rest);
                    self.move_rest(cx);
                    continue;
                }
                Source::Decoded { body, decoder, end } => match decoder.next() {
                    Ok(Some(event)) => event,
                    Ok(None) => {
                        if let Some(end) = end.take() {
                            return Poll::Ready(Ok(self.end(end)));
                        }
                        match ready!(body.poll_chunk(cx))? {
                            Chunk::Data(data) => decoder.push(data),
                            Chunk::End(ended) => {
                                decoder.finish();
                                *end = Some(ended);
                            }
                        }
                        continue;
                    }
                    Err(error) => {
                        return Poll::Ready(Err(match self.side {
                            Side::Client => Fault::of_client(&error),
                            Side::Backend => Fault::of_backend(&error),
                        }));
                    }
                },
            };
            return Poll::Ready(match event {
                Event::End(outcome) => {
                    self.over = true;
                    Ok(Next::End(outcome))
                }
                Event::Message(message) => match self.content.apply(message) {
                    Ok(message) => {
                        self.count += 1;
                        Ok(Next::Message(message))
                    }
                    Err(error) => Err(match self.side {
                        Side::Client => Fault::of_request(&error),
                        Side::Backend => Fault::of_reply(&error),
                    }),
                },
            });
        }
    }

    fn end(&mut self, end: End) -> Next {
        self.over = true;
        Next::End(self.ending.of(end))
    }

    /// Whether an end has been handed out.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Moves the request with its reply. What goes wrong with it is in the link already, or told by the reply.
    pub fn pumping(mut self, rest: Pump) -> Self {
        self.rest = Some(rest);
        self
    }

    fn move_rest(&mut self, cx: &mut Context<'_>) {
        if let Some(rest) = &mut self.rest
            && rest.poll(cx).is_ready()
        {
            self.rest = None;
        }
    }

    /// The head that a client of `grpc-websockets` sends on its socket, before its first message.
    ///
    /// # Errors
    /// As [`poll_next`](Self::poll_next).
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fields, Fault>> {
        let next = self.poll_next(cx);
        if let Poll::Ready(next) = next {
            self.put_back(next?);
        }
        match &self.source {
            Source::Decoded { decoder, .. } => match &**decoder {
                Decoder::WebSocket(decoder) => match decoder.head() {
                    Some(head) => Poll::Ready(Ok(head.clone())),
                    // The client has closed before it said anything.
                    None if self.put_back.is_some() => Poll::Ready(Ok(Fields::new())),
                    None => Poll::Pending,
                },
                _ => Poll::Ready(Ok(Fields::new())),
            },
            _ => Poll::Ready(Ok(Fields::new())),
        }
    }

    /// Takes in what has arrived while nobody wants it yet; see [`Body::absorb`]. The request goes on meanwhile.
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        self.move_rest(cx);
        if let Source::Decoded { body, .. } = &mut self.source {
            body.absorb(cx);
        }
    }
}
