use phineus_kernel::prg::Prg;

use super::published::{LATENCIES, NETWORKS, SUSTAINED as RATES};
use super::*;

fn profile(offline: f64, online: f64, bytes: u64) -> Profile {
    let phase = |seconds| Phase { seconds, ..Phase::default() };
    Profile {
        name: "x".into(),
        offline: phase(offline),
        online: phase(online),
        client_bytes: bytes,
        server_bytes: bytes,
    }
}

#[test]
fn without_room_a_request_waits_as_in_a_queue_with_constant_service() {
    let setting = Setting { rate: 0.005, hours: 24.0, client_storage: Some(9), ..Setting::default() };
    let got = simulate(&profile(80.0, 20.0, 10), &setting, 200, &mut Prg::new([1; 16]));
    // M/D/1 at load 1/2: wait = load / (2 (1 - load)) services.
    assert!((got.latency - 150.0).abs() < 4.0, "{got:?}");
    // Little's law.
    assert!((got.outstanding - 0.75).abs() < 0.03, "{got:?}");
    assert_eq!(got.ready, 0.0);
}

#[test]
fn with_room_for_many_only_the_online_time_is_left() {
    let setting = Setting { rate: 0.001, client_storage: Some(1000), ..Setting::default() };
    let got = simulate(&profile(100.0, 1.0, 10), &setting, 100, &mut Prg::new([2; 16]));
    assert!(got.latency < 3.0 && got.ready > 0.99, "{got:?}");
}

#[test]
fn overlap_hides_the_link_and_several_workers_share_the_clients() {
    let link = Link {
        up_bits_per_second: 8_000_000,
        down_bits_per_second: 8_000_000,
        round_trip: std::time::Duration::ZERO,
    };
    let mut profile = profile(60.0, 1.0, 10);
    profile.offline.down_bytes = 60_000_000;
    let setting = Setting { rate: 0.01, client_storage: Some(20), link: Some(link), ..Setting::default() };
    let rng = &mut Prg::new([3; 16]);
    let one_after_the_other = simulate(&profile, &setting, 40, rng);
    let overlapped = simulate(&profile, &Setting { overlap: true, ..setting.clone() }, 40, rng);
    // 120 s per pre-compute cannot sustain one request per 100 s; 60 s can.
    assert!(one_after_the_other.outstanding > SUSTAINED, "{one_after_the_other:?}");
    assert!(overlapped.outstanding < SUSTAINED, "{overlapped:?}");
    let many = Setting { clients: 4, workers: 4, overlap: true, ..setting };
    let shared = simulate(&profile, &many, 20, rng);
    assert!(shared.outstanding < 4.0 * SUSTAINED, "{shared:?}");
}

#[test]
fn jobs_that_share_the_cores_of_answers_stand_still_meanwhile() {
    // Room for one, requests faster than anything else: every request waits for the job that its predecessor delayed.
    let setting = Setting { rate: 1.0, hours: 1.0, client_storage: Some(10), ..Setting::default() };
    let rng = &mut Prg::new([7; 16]);
    let rate = |shared: bool, rng: &mut Prg| {
        // Far more requests than are answered: the last answer tells the rate.
        let got = simulate(&profile(3.0, 2.0, 10), &Setting { shared, ..setting.clone() }, 1, rng);
        // The mean wait in a queue that only grows is half of its last answer.
        3600.0 / (2.0 * got.latency + 3600.0)
    };
    let (apart, together) = (rate(false, rng), rate(true, rng));
    assert!((apart - 1.0 / 3.0).abs() < 0.02, "{apart}");
    assert!((together - 1.0 / 5.0).abs() < 0.02, "{together}");
    // Of the requests, those that come while their predecessor's place is filled again lose the interruption.
    let setting = Setting { rate: 0.01, client_storage: Some(1000), shared: true, ..Setting::default() };
    let day = |interruption| {
        let setting = Setting { interruption, ..setting.clone() };
        simulate(&profile(10.0, 1.0, 10), &setting, 20, &mut Prg::new([9; 16]))
    };
    let (free, busy) = (day(0.0), day(0.5));
    let share = (busy.latency - free.latency) / 0.5;
    assert!((share - busy.interrupting).abs() < 0.02, "{share} {busy:?}");
    assert!((share - (1.0 - f64::exp(-0.11))).abs() < 0.03, "{share}");
    // What never meets takes as long as ever.
    let calm = Setting { rate: 0.001, client_storage: Some(1000), shared: true, ..Setting::default() };
    let got = simulate(&profile(100.0, 1.0, 10), &calm, 50, rng);
    assert!(got.latency < 3.0 && got.ready > 0.99, "{got:?}");
}

#[test]
fn what_a_planner_foretells_can_be_simulated() {
    let link = Link::symmetric(8_000_000, std::time::Duration::ZERO);
    let mut profile = profile(0.0, 0.5, 10);
    profile.offline.up_bytes = 10_000_000;
    // Two clients with links of their own: the transfers of 10 s do not add up.
    let setting =
        Setting { rate: 0.05, hours: 2.0, client_storage: Some(100), link: Some(link), ..Setting::default() };
    let one = simulate(&profile, &setting, 20, &mut Prg::new([8; 16]));
    let two = Setting { clients: 2, workers: 2, ..setting };
    let two = simulate(&profile, &two, 20, &mut Prg::new([8; 16]));
    assert!((two.outstanding / one.outstanding - 2.0).abs() < 0.4, "{one:?} {two:?}");
}

#[test]
fn jobs_of_several_keep_within_the_room() {
    let setting = Setting { rate: 0.002, client_storage: Some(45), batch: 8, ..Setting::default() };
    let got = simulate(&profile(50.0, 1.0, 10), &setting, 40, &mut Prg::new([4; 16]));
    assert!(got.outstanding < SUSTAINED && got.latency < 250.0, "{got:?}");
}

#[test]
fn published_latencies_come_out() {
    let rng = &mut Prg::new([5; 16]);
    for published in LATENCIES {
        let profile = NETWORKS[published.network].profile(published.system);
        let setting =
            Setting { rate: published.rate, client_storage: Some(published.storage), ..Setting::default() };
        let got = simulate(&profile, &setting, 400, rng);
        let (minutes, error) = (got.latency / 60.0, got.error / 60.0);
        // The published means are of several dozen days and printed with two digits.
        let slack = 3.0 * error * f64::sqrt(400.0 / 40.0) + 0.05;
        let [low, high] = published.minutes;
        assert!((low - slack..high + slack).contains(&minutes), "{published:?}: {minutes} +- {error}");
    }
}

#[test]
fn published_rates_are_sustained_to_the_digit_they_have() {
    let rng = &mut Prg::new([6; 16]);
    for published in RATES {
        let profile = NETWORKS[published.network].profile(published.system);
        let setting = Setting { client_storage: Some(published.storage), ..Setting::default() };
        let rates: Vec<f64> = published.tried().collect();
        let got = sustained(&profile, &setting, &rates, 100, rng).unwrap_or_default();
        assert!((0.85..1.15).contains(&(got / published.rate)), "{published:?}: {got}");
    }
}
