//! How a request on an endpoint ended, as far as the choice of endpoints cares.
//!
//! Not an error type: sessions have their own and map it to this. Start at [`Outcome`].

/// What became of a request on an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The endpoint did its part. Also when the client went away in the middle of a good response.
    Success,
    /// Nothing was learnt about the endpoint, as when a limit or the client ended the attempt.
    Neutral,
    /// The endpoint is to blame; counts towards ejection. The word is the value of the `reason` label and
    /// comes from a fixed list: `refused`, `timeout`, `status`.
    Failure(&'static str),
}
