//! One day, event by event.
//!
//! Jobs compute by a clock of their own, which stands still while a request is answered if they share its cores.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use rand::Rng;

use super::{Day, Profile, Setting, arrivals};

/// What happens to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request arrives.
    Arrival,
    /// A batch is stored on both sides.
    Stored,
    /// A request is answered.
    Answered,
}

/// Anything that changes the state.
enum Happening {
    /// A worker has computed a batch for this client, which the link can move.
    Computed(usize),
    /// An event of this client.
    Event(usize, Event),
}

/// Seconds since the day began, in total order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Default)]
struct Client {
    /// Arrival times of the requests that wait.
    waiting: VecDeque<f64>,
    /// Arrival time of the request that is being answered.
    serving: Option<f64>,
    /// Pre-computes ready.
    stock: usize,
    /// Pre-computes in the making.
    making: usize,
    /// Computed batches that wait for the link, with the one that is on it.
    moving: usize,
}

struct State<'s> {
    setting: &'s Setting,
    clients: Vec<Client>,
    events: BinaryHeap<Reverse<(Time, usize, Event)>>,
    /// Batches that are computed, by when they are done on the jobs' clock, and for whom.
    jobs: BinaryHeap<Reverse<(Time, usize)>>,
    /// What the jobs' clock shows.
    clock: f64,
    /// Requests that are being answered.
    answering: usize,
    free_workers: usize,
    /// Whose turn the next offline job is.
    turn: usize,
    /// Pre-computes per client and per server.
    room: (usize, usize),
    /// Pre-computes per offline job.
    batch: usize,
    /// Seconds of computing and of moving one batch, and of one online phase.
    compute: f64,
    transfer: f64,
    online: f64,
    day: Day,
    /// Sum of all latencies.
    latency: f64,
}

/// Simulates one day.
pub(super) fn run(profile: &Profile, setting: &Setting, rng: &mut impl Rng) -> Day {
    let fits = |storage: Option<u64>, each: u64| {
        storage.map_or(usize::MAX, |bytes| bytes.checked_div(each).map_or(usize::MAX, |n| n as usize))
    };
    let link = setting.link.as_ref();
    let room = (
        fits(setting.client_storage, profile.client_bytes),
        fits(setting.server_storage, profile.server_bytes),
    );
    // Where not even a batch fits, it is made smaller; where nothing fits, no job ever starts.
    let batch = setting.batch.min(room.0).min(room.1).max(1);
    let state = State {
        setting,
        clients: (0..setting.clients).map(|_| Client::default()).collect(),
        events: BinaryHeap::new(),
        jobs: BinaryHeap::new(),
        clock: 0.0,
        answering: 0,
        free_workers: setting.workers.max(1),
        turn: 0,
        room,
        batch,
        compute: batch as f64 * profile.offline.seconds,
        transfer: batch as f64 * profile.offline.transfer_seconds(link),
        online: profile.online.seconds + profile.online.transfer_seconds(link),
        day: Day::default(),
        latency: 0.0,
    };
    state.run(rng)
}

impl State<'_> {
    fn run(mut self, rng: &mut impl Rng) -> Day {
        let end = 3600.0 * self.setting.hours;
        for client in 0..self.clients.len() {
            for seconds in arrivals(self.setting.rate, end, rng) {
                self.at(seconds, client, Event::Arrival);
            }
        }
        let (mut now, mut outstanding) = (0.0, 0_usize);
        let mut area = 0.0;
        self.start(0.0);
        while let Some((then, happening)) = self.next(now) {
            area += outstanding as f64 * (then.min(end) - f64::min(now, end));
            if !self.paused() {
                self.clock += then - now;
            }
            now = then;
            match happening {
                Happening::Computed(client) => {
                    self.clients[client].moving += 1;
                    if self.clients[client].moving == 1 {
                        self.at(now + self.transfer, client, Event::Stored);
                    }
                    self.free_workers += usize::from(self.setting.overlap);
                }
                Happening::Event(client, Event::Arrival) => {
                    outstanding += 1;
                    self.day.requests += 1;
                    let this = &mut self.clients[client];
                    self.day.ready += usize::from(this.stock > this.waiting.len());
                    this.waiting.push_back(now);
                }
                Happening::Event(client, Event::Stored) => {
                    let this = &mut self.clients[client];
                    this.stock += self.batch;
                    this.making -= self.batch;
                    this.moving -= 1;
                    if this.moving > 0 {
                        self.at(now + self.transfer, client, Event::Stored);
                    }
                    self.free_workers += usize::from(!self.setting.overlap);
                }
                Happening::Event(client, Event::Answered) => {
                    outstanding -= 1;
                    self.answering -= 1;
                    if let Some(arrival) = self.clients[client].serving.take() {
                        self.latency += now - arrival;
                    }
                }
            }
            // Once the day is over and everybody has an answer, stocking up matters no more.
            if now >= end && outstanding == 0 {
                break;
            }
            self.start(now);
        }
        self.day.latency = self.latency / self.day.requests.max(1) as f64;
        self.day.outstanding = area / end;
        self.day
    }

    /// Whether jobs stand still.
    fn paused(&self) -> bool {
        self.setting.shared && self.answering > 0
    }

    /// What happens next, and when.
    fn next(&mut self, now: f64) -> Option<(f64, Happening)> {
        let event = self.events.peek().map(|Reverse((Time(then), ..))| *then);
        let job = self.jobs.peek().map(|Reverse((Time(done), _))| now + (done - self.clock).max(0.0));
        match (event, job.filter(|_| !self.paused())) {
            (event, Some(job)) if event.is_none_or(|event| job < event) => {
                self.jobs.pop().map(|Reverse((_, client))| (job, Happening::Computed(client)))
            }
            _ => {
                let Reverse((Time(then), client, event)) = self.events.pop()?;
                Some((then, Happening::Event(client, event)))
            }
        }
    }

    /// Starts whatever can start: answers first, then offline jobs, client by client in turn.
    fn start(&mut self, now: f64) {
        let everything_online = self.room.0.min(self.room.1) == 0;
        for client in 0..self.clients.len() {
            let this = &mut self.clients[client];
            if this.serving.is_some() || (this.stock == 0 && !everything_online) {
                continue;
            }
            let Some(arrival) = this.waiting.pop_front() else { continue };
            this.serving = Some(arrival);
            self.answering += 1;
            let mut seconds = self.online;
            if self.setting.shared && !self.jobs.is_empty() {
                seconds += self.setting.interruption;
                self.day.interrupting += 1;
            }
            if everything_online {
                // A batch of one: more do not fit.
                seconds += self.compute + self.transfer;
            } else {
                this.stock -= 1;
            }
            self.at(now + seconds, client, Event::Answered);
        }
        if everything_online {
            return;
        }
        let (mut skipped, most) = (0, self.most());
        while self.free_workers > 0 && skipped < self.clients.len() {
            let client = self.turn;
            self.turn = (self.turn + 1) % self.clients.len();
            let kept: usize = self.clients.iter().map(|c| c.stock + c.making).sum();
            let this = &mut self.clients[client];
            let room = (self.room.0 - this.stock - this.making).min(self.room.1 - kept);
            // Without limits a client still wants no more than a day's requests.
            if room < self.batch || this.stock + this.making >= most {
                skipped += 1;
                continue;
            }
            skipped = 0;
            self.free_workers -= 1;
            this.making += self.batch;
            self.jobs.push(Reverse((Time(self.clock + self.compute), client)));
        }
    }

    fn most(&self) -> usize {
        (2.0 * self.setting.rate * 3600.0 * self.setting.hours).ceil() as usize + self.batch
    }

    fn at(&mut self, seconds: f64, client: usize, event: Event) {
        self.events.push(Reverse((Time(seconds), client, event)));
    }
}
