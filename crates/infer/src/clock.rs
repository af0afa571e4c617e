//! Wall time, CPU time and traffic of a stretch of a protocol.

use std::time::Instant;

use cpu_time::ProcessTime;
use phineus_net::Traffic;

use crate::report::Cost;

/// Which party measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Its sent bytes go to the server.
    Client,
    /// Its sent bytes go to the client.
    Server,
}

/// Started where a stretch begins.
pub(crate) struct Clock {
    side: Side,
    wall: Instant,
    cpu: Option<ProcessTime>,
    traffic: Traffic,
}

impl Clock {
    pub(crate) fn start(side: Side, traffic: Traffic) -> Self {
        Self { side, wall: Instant::now(), cpu: ProcessTime::try_now().ok(), traffic }
    }

    /// What has happened since the start, or since the last lap; the clock starts anew.
    pub(crate) fn lap(&mut self, traffic: Traffic) -> Cost {
        let now = Self::start(self.side, traffic);
        let cpu = match (self.cpu, now.cpu) {
            (Some(then), Some(now)) => now.duration_since(then).as_secs_f64(),
            _ => 0.0,
        };
        let crossed = traffic - self.traffic;
        let seconds = (now.wall - self.wall).as_secs_f64();
        *self = now;
        match self.side {
            Side::Client => Cost {
                seconds,
                client_to_server_bytes: crossed.sent,
                server_to_client_bytes: crossed.received,
                rounds: crossed.rounds,
                client_cpu_seconds: cpu,
                server_cpu_seconds: 0.0,
            },
            Side::Server => Cost {
                seconds,
                client_to_server_bytes: crossed.received,
                server_to_client_bytes: crossed.sent,
                rounds: crossed.rounds,
                client_cpu_seconds: 0.0,
                server_cpu_seconds: cpu,
            },
        }
    }
}
