//! Seconds per layer before anything has run: the bytes and rounds of [`Plan::predicted`] over the plan's link, and the work
//! of both parties at measured rates, one after the other.
//!
//! Nothing overlaps in this account, so that a session does better. What it is for is to compare layers and networks.

use super::{NonLinear, Plan, Work};
use crate::clear::Way;
use crate::report::{Cost, Report};

impl Plan {
    /// As [`Plan::predicted`], with seconds.
    #[must_use]
    pub fn forecast(&self) -> Report {
        let mut report = self.predicted();
        for layer in &mut report.layers {
            layer.offline.seconds = self.over(&layer.offline);
            layer.online.seconds = self.over(&layer.online);
        }
        for layer in self.linear.layers() {
            let row = &mut report.layers[layer.node];
            let [client, server] = self.linear.work_of(layer, &self.rings);
            row.offline.seconds += (client + server) * 1e-9;
            row.online.seconds += Way::best(&layer.conv, layer.bits).nanoseconds(&layer.conv) * 1e-9;
        }
        for layer in self.nonlinear() {
            let row = &mut report.layers[NonLinear::node(layer)];
            let [offline, online] = Work::of(layer, [&row.offline, &row.online]).of_both();
            row.offline.seconds += offline;
            row.online.seconds += online;
        }
        report.total();
        report
    }

    fn over(&self, cost: &Cost) -> f64 {
        let Cost { client_to_server_bytes, server_to_client_bytes, rounds, .. } = *cost;
        self.options.link.seconds(client_to_server_bytes, server_to_client_bytes, rounds)
    }
}
