//! What one access-log entry says of the revision that served it.
//!
//! A failure is a 5xx, a time-out, a reset, or a gRPC status that the policy names, caused upstream. A client
//! that went away and an answer that the proxy made up itself (no route, rate limit, overload, …) say nothing of
//! the revision. A revision that cannot be reached is its own fault. Every attempt counts: a request that was
//! tried three times is three observations, the first two of them failures.

/// One exchange, in the words that judging needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The status that the client was sent; 0 when it was sent nothing.
    pub status: u32,
    /// Envoy's `response_code_details`; empty when the proxy gives none.
    pub details: &'a str,
    /// The `grpc-status` of the answer.
    pub grpc_status: Option<i32>,
    /// The client ended the exchange.
    pub client_left: bool,
    /// The proxy answered by itself, for a reason of its own or of the client.
    pub proxy_refused: bool,
    /// A flag of the proxy names the upstream as the cause.
    pub upstream_fault: bool,
    /// How often the revision was tried; 0 counts as 1.
    pub attempts: u32,
}

/// What the last attempt of an exchange says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The revision answered as it should.
    Success,
    /// The revision failed, under every policy.
    Failure,
    /// The revision answered with this gRPC status, not 0; the policy says what that is.
    Grpc(i32),
}

impl Outcome {
    /// Whether it is a failure under a policy with these gRPC codes.
    pub fn is_failure(self, grpc_failure_codes: &[i32]) -> bool {
        match self {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Grpc(code) => grpc_failure_codes.contains(&code),
        }
    }
}

/// An entry claims at most this many attempts; more is a broken or hostile proxy.
const ATTEMPTS_MAX: u32 = 16;

impl Exchange<'_> {
    /// What the last attempt says; `None` when it says nothing of the revision.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.client_left || self.proxy_refused {
            return None;
        }
        if self.upstream_fault {
            return Some(Outcome::Failure);
        }
        match self.details {
            "" | "via_upstream" => self.answered(),
            "no_healthy_upstream" => Some(Outcome::Failure),
            // 408 is the client's slow upload; 504 an upstream that did not move.
            "stream_idle_timeout" => (self.status == 504).then_some(Outcome::Failure),
            details if details.starts_with("upstream_") => {
                let by_proxy = details.contains("overflow") || details.contains("{local_reset");
                (!by_proxy).then_some(Outcome::Failure)
            }
            _ => None,
        }
    }

    /// Attempts before the last one; each of them failed.
    pub fn failed_attempts_before(&self) -> u32 {
        self.attempts.min(ATTEMPTS_MAX).saturating_sub(1)
    }

    fn answered(&self) -> Option<Outcome> {
        match (self.status, self.grpc_status) {
            (0, _) => None,
            (500.., _) => Some(Outcome::Failure),
            (_, None | Some(0)) => Some(Outcome::Success),
            (_, Some(code)) => Some(Outcome::Grpc(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u32, details: &str) -> Exchange<'_> {
        Exchange {
            status,
            details,
            attempts: 1,
            ..Exchange::default()
        }
    }

    #[test]
    fn only_what_the_upstream_caused_is_a_failure() {
        let failed = Some(Outcome::Failure);
        let table = [
            (answer(200, "via_upstream"), Some(Outcome::Success)),
            (answer(404, "via_upstream"), Some(Outcome::Success)),
            (answer(500, "via_upstream"), failed),
            (answer(503, ""), failed),
            (answer(0, ""), None),
            (answer(503, "no_healthy_upstream"), failed),
            (answer(504, "upstream_response_timeout"), failed),
            (
                answer(
                    503,
                    "upstream_reset_before_response_started{connection_failure}",
                ),
                failed,
            ),
            (
                answer(200, "upstream_reset_after_response_started{remote_reset}"),
                failed,
            ),
            (
                answer(503, "upstream_reset_before_response_started{overflow}"),
                None,
            ),
            (answer(503, "direct_response"), None),
            (answer(404, "route_not_found"), None),
            (answer(503, "overload"), None),
            (answer(408, "stream_idle_timeout"), None),
            (answer(504, "stream_idle_timeout"), failed),
            (answer(0, "downstream_remote_disconnect"), None),
        ];
        for (exchange, expected) in table {
            assert_eq!(exchange.outcome(), expected, "{exchange:?}");
        }
    }

    #[test]
    fn flags_decide_before_the_status() {
        let left = Exchange {
            client_left: true,
            upstream_fault: true,
            ..answer(503, "via_upstream")
        };
        assert_eq!(left.outcome(), None);
        let refused = Exchange {
            proxy_refused: true,
            ..answer(503, "")
        };
        assert_eq!(refused.outcome(), None);
        let fault = Exchange {
            upstream_fault: true,
            ..answer(200, "via_upstream")
        };
        assert_eq!(fault.outcome(), Some(Outcome::Failure));
    }

    #[test]
    fn the_policy_says_which_grpc_status_fails() {
        let exchange = Exchange {
            grpc_status: Some(14),
            ..answer(200, "via_upstream")
        };
        let outcome = exchange.outcome().unwrap();
        assert_eq!(outcome, Outcome::Grpc(14));
        assert!(outcome.is_failure(&[13, 14]) && !outcome.is_failure(&[13]));
        let fine = Exchange {
            grpc_status: Some(0),
            ..answer(200, "via_upstream")
        };
        assert_eq!(fine.outcome(), Some(Outcome::Success));
    }

    #[test]
    fn every_attempt_counts() {
        let retried = Exchange {
            attempts: 3,
            ..answer(200, "via_upstream")
        };
        assert_eq!(retried.failed_attempts_before(), 2);
        assert_eq!(
            Exchange {
                attempts: 0,
                ..retried
            }
            .failed_attempts_before(),
            0
        );
        assert_eq!(
            Exchange {
                attempts: u32::MAX,
                ..retried
            }
            .failed_attempts_before(),
            15
        );
    }
}
