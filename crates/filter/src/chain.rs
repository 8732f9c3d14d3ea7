//! The ordered filters of one route or listener.
//!
//! Requests pass forwards, responses backwards. A response visits only the filters that the request reached, so
//! a filter that refuses is the last to see its own reply. Not a scheduler: delays and waits are carried out
//! through the [`Timer`] of the session. Start at [`FilterChain::on_request`].

use std::pin::Pin;
use std::time::Instant;

use crate::verdict::{Stop, Timer, Verdict};
use crate::{Context, Filter, Interest, Messages};

/// The ordered filters of one route or listener.
pub struct FilterChain<M: Messages> {
    filters: Box<[Entry<M>]>,
    interest: Interest,
}

struct Entry<M: Messages> {
    filter: Box<dyn Filter<M>>,
    interest: Interest,
}

impl<M: Messages> Default for FilterChain<M> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

#[allow(clippy::manual_async_fn)] // an async function would hold its arguments twice
impl<M: Messages> FilterChain<M> {
    /// A chain of `filters` in the order of requests.
    #[must_use]
    pub fn new(filters: Vec<Box<dyn Filter<M>>>) -> Self {
        let filters: Box<[Entry<M>]> = filters
            .into_iter()
            .map(|filter| Entry {
                interest: filter.interest(),
                filter,
            })
            .collect();
        let interest = filters
            .iter()
            .fold(Interest::NONE, |all, entry| all.and(entry.interest));
        Self { filters, interest }
    }

    /// Which hooks any filter of the chain uses.
    #[must_use]
    pub const fn interest(&self) -> Interest {
        self.interest
    }

    /// How many filters there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Passes a request forwards through the chain.
    ///
    /// # Errors
    /// The [`Stop`] of the first filter that refuses.
    pub fn on_request<'f>(
        &'f self,
        request: &'f mut M::Request,
        cx: &'f mut Context,
        timer: &'f dyn Timer,
    ) -> impl Future<Output = Result<(), Stop<M>>> + 'f {
        async move {
            cx.reached = 0;
            for entry in &self.filters {
                cx.reached += 1;
                if entry.interest.includes(Interest::REQUEST)
                    && let Some(wait) = settle(entry.filter.on_request(request, cx), timer)?
                {
                    wait.await?;
                }
            }
            Ok(())
        }
    }

    /// Passes a piece of the request's body forwards through the chain.
    ///
    /// # Errors
    /// The [`Stop`] of the first filter that refuses.
    pub fn on_request_data<'f>(
        &'f self,
        data: &'f mut M::Data,
        last: bool,
        cx: &'f mut Context,
        timer: &'f dyn Timer,
    ) -> impl Future<Output = Result<(), Stop<M>>> + 'f {
        async move {
            for entry in &self.filters {
                if entry.interest.includes(Interest::REQUEST_DATA)
                    && let Some(wait) = settle(entry.filter.on_request_data(data, last, cx), timer)?
                {
                    wait.await?;
                }
            }
            Ok(())
        }
    }

    /// As [`FilterChain::on_request`] for a session that cannot wait.
    ///
    /// # Errors
    /// As there; a filter that would hold the request back refuses it.
    pub fn on_request_at_once(
        &self,
        request: &mut M::Request,
        cx: &mut Context,
    ) -> Result<(), Stop<M>> {
        cx.reached = 0;
        for entry in &self.filters {
            cx.reached += 1;
            if entry.interest.includes(Interest::REQUEST)
                && until(entry.filter.on_request(request, cx))?.is_some()
            {
                return Err(Stop::Close("filter_waits"));
            }
        }
        Ok(())
    }

    /// As [`FilterChain::on_request_data`] for a session that carries both directions in one task and so cannot
    /// stand still for one of them: the answer is until when the piece is to be held, by the latest delay.
    ///
    /// # Errors
    /// The [`Stop`] of the first filter that refuses. [`Verdict::Wait`] is a refusal here: a filter that asks
    /// somebody does so about the request, not about each piece.
    pub fn hold_request_data(
        &self,
        data: &mut M::Data,
        last: bool,
        cx: &mut Context,
    ) -> Result<Option<Instant>, Stop<M>> {
        let mut hold = None;
        for entry in &self.filters {
            if entry.interest.includes(Interest::REQUEST_DATA) {
                hold = hold.max(until(entry.filter.on_request_data(data, last, cx))?);
            }
        }
        Ok(hold)
    }

    /// As [`FilterChain::hold_request_data`], for [`FilterChain::on_response_data`].
    ///
    /// # Errors
    /// As there.
    pub fn hold_response_data(
        &self,
        data: &mut M::Data,
        last: bool,
        cx: &mut Context,
    ) -> Result<Option<Instant>, Stop<M>> {
        let mut hold = None;
        for entry in self.reached(cx).iter().rev() {
            if entry.interest.includes(Interest::RESPONSE_DATA) {
                hold = hold.max(until(entry.filter.on_response_data(data, last, cx))?);
            }
        }
        Ok(hold)
    }

    /// Passes a response backwards through the filters that the request reached.
    ///
    /// # Errors
    /// The [`Stop`] of the first filter that refuses.
    pub fn on_response<'f>(
        &'f self,
        response: &'f mut M::Response,
        cx: &'f mut Context,
        timer: &'f dyn Timer,
    ) -> impl Future<Output = Result<(), Stop<M>>> + 'f {
        async move {
            if !self.interest.includes(Interest::RESPONSE) {
                return Ok(());
            }
            for entry in self.reached(cx).iter().rev() {
                if entry.interest.includes(Interest::RESPONSE)
                    && let Some(wait) = settle(entry.filter.on_response(response, cx), timer)?
                {
                    wait.await?;
                }
            }
            Ok(())
        }
    }

    /// Passes a piece of the response's body backwards through the filters that the request reached.
    ///
    /// # Errors
    /// The [`Stop`] of the first filter that refuses.
    pub fn on_response_data<'f>(
        &'f self,
        data: &'f mut M::Data,
        last: bool,
        cx: &'f mut Context,
        timer: &'f dyn Timer,
    ) -> impl Future<Output = Result<(), Stop<M>>> + 'f {
        async move {
            for entry in self.reached(cx).iter().rev() {
                if entry.interest.includes(Interest::RESPONSE_DATA)
                    && let Some(wait) =
                        settle(entry.filter.on_response_data(data, last, cx), timer)?
                {
                    wait.await?;
                }
            }
            Ok(())
        }
    }

    /// Tells the filters that the request reached that it is over.
    pub fn on_complete(&self, record: &M::Record, cx: &Context) {
        if !self.interest.includes(Interest::COMPLETE) {
            return;
        }
        for entry in self.reached(cx) {
            if entry.interest.includes(Interest::COMPLETE) {
                entry.filter.on_complete(record, cx);
            }
        }
    }

    /// Tells the filters that ask for it of a request that was refused before any of them could see it.
    pub fn on_refused(&self, record: &M::Record, cx: &Context) {
        for entry in &self.filters {
            if entry.interest.includes(Interest::REFUSED) {
                entry.filter.on_complete(record, cx);
            }
        }
    }

    fn reached(&self, cx: &Context) -> &[Entry<M>] {
        self.filters.get(..cx.reached).unwrap_or(&self.filters)
    }
}

/// A filter that is waited for.
type Waiting<'w, M> = Pin<Box<dyn Future<Output = Result<(), Stop<M>>> + 'w>>;

/// What there is to wait for. Mostly nothing, and then a chain is passed without a future for each of its filters.
#[inline]
fn settle<'w, M: Messages>(
    verdict: Verdict<'w, M>,
    timer: &'w dyn Timer,
) -> Result<Option<Waiting<'w, M>>, Stop<M>> {
    match verdict {
        Verdict::Continue => Ok(None),
        Verdict::Stop(stop) => Err(stop),
        Verdict::Delay(until) => Ok(Some(Box::pin(async move {
            timer.sleep_until(until).await;
            Ok(())
        }))),
        Verdict::Wait(answer) => Ok(Some(answer)),
    }
}

fn until<M: Messages>(verdict: Verdict<'_, M>) -> Result<Option<Instant>, Stop<M>> {
    match verdict {
        Verdict::Continue => Ok(None),
        Verdict::Delay(until) => Ok(Some(until)),
        Verdict::Stop(stop) => Err(stop),
        Verdict::Wait(_) => Err(Stop::Close("filter_waits_on_data")),
    }
}

impl<M: Messages> std::fmt::Debug for FilterChain<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.filters.iter().map(|entry| entry.filter.name()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::Connection;

    struct Bytes;

    impl Messages for Bytes {
        type Request = ();
        type Response = ();
        type Data = Vec<u8>;
        type Record = ();
    }

    /// Writes its letter into the data and answers.
    struct Answer(u8, fn(Instant) -> Verdict<'static, Bytes>);

    impl Filter<Bytes> for Answer {
        fn name(&self) -> &'static str {
            "answer"
        }

        fn interest(&self) -> Interest {
            Interest::REQUEST_DATA.and(Interest::RESPONSE_DATA)
        }

        fn on_request_data<'a>(
            &'a self,
            data: &'a mut Vec<u8>,
            _: bool,
            cx: &'a mut Context,
        ) -> Verdict<'a, Bytes> {
            data.push(self.0);
            (self.1)(cx.now)
        }

        fn on_response_data<'a>(
            &'a self,
            data: &'a mut Vec<u8>,
            last: bool,
            cx: &'a mut Context,
        ) -> Verdict<'a, Bytes> {
            self.on_request_data(data, last, cx)
        }
    }

    fn after(now: Instant, seconds: u64) -> Verdict<'static, Bytes> {
        Verdict::Delay(now + Duration::from_secs(seconds))
    }

    #[test]
    fn data_is_held_until_the_latest_delay_and_stops_at_the_first_refusal() {
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let connection = Connection {
            listener: "test".into(),
            peer: None,
            local: None,
            client: None,
            secure: false,
            tls: None,
            accepted_at: now,
            id: 1,
        };
        let mut cx = Context::new(Rc::new(connection), now);
        let go: fn(Instant) -> Verdict<'static, Bytes> = |_| Verdict::Continue;
        type Row = (
            &'static str,
            [Answer; 3],
            Result<Option<u64>, &'static str>,
            &'static str,
        );
        let rows: [Row; 4] = [
            (
                "pass",
                [Answer(b'a', go), Answer(b'b', go), Answer(b'c', go)],
                Ok(None),
                "abc",
            ),
            (
                "held",
                [
                    Answer(b'a', |now| after(now, 9)),
                    Answer(b'b', |now| after(now, 3)),
                    Answer(b'c', go),
                ],
                Ok(Some(9)),
                "abc",
            ),
            (
                "stopped",
                [
                    Answer(b'a', |now| after(now, 9)),
                    Answer(b'b', |_| Verdict::Stop(Stop::Close("no"))),
                    Answer(b'c', go),
                ],
                Err("no"),
                "ab",
            ),
            (
                "waiting is a refusal",
                [
                    Answer(b'a', |_| Verdict::Wait(Box::pin(async { Ok(()) }))),
                    Answer(b'b', go),
                    Answer(b'c', go),
                ],
                Err("filter_waits_on_data"),
                "a",
            ),
        ];
        for (name, answers, wanted, seen) in rows {
            let filters = answers.map(|answer| Box::new(answer) as Box<dyn Filter<Bytes>>);
            let chain = FilterChain::new(filters.into());
            let wanted =
                wanted.map(|seconds| seconds.map(|seconds| now + Duration::from_secs(seconds)));
            let mut data = Vec::new();
            let held = chain.hold_request_data(&mut data, false, &mut cx);
            let held = held.map_err(|stop| match stop {
                Stop::Close(reason) => reason,
                _ => "another stop",
            });
            assert_eq!((held, &*data), (wanted, seen.as_bytes()), "{name}");
            if seen.len() == 3 {
                cx.reached = 2;
                data.clear();
                let _ = chain.hold_response_data(&mut data, false, &mut cx);
                assert_eq!(
                    data, b"ba",
                    "{name}: backwards, and only those that were reached"
                );
            }
        }
    }
}
