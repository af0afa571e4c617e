use super::*;

/// Volumes and work of a made-up preset.
fn preset(engine: Engine, seconds: [f64; 2], stored: [u64; 2], room: Option<u64>) -> Preset {
    let phase = |seconds, bytes| Phase { seconds, up_bytes: bytes, down_bytes: bytes, rounds: 1 };
    let [offline, online] = seconds;
    Preset {
        engine,
        link: Link::LAN,
        split: None,
        bulk: 1,
        work: Work { offline: [offline; 2], online: [online; 2] },
        offline: phase(offline, stored[0]),
        online: phase(online, 1_000),
        stored,
        room,
        rate: 1.0 / offline,
    }
}

fn three(rooms: [Option<u64>; 3]) -> [Preset; 3] {
    [
        preset(Engine::Delphi, [1.0, 0.2], [1_000, 10], rooms[0]),
        preset(Engine::ClientGarbler, [0.9, 0.3], [10, 1_000], rooms[1]),
        preset(Engine::Ot, [2.0, 0.1], [100, 200], rooms[2]),
    ]
}

fn chosen(presets: &[Preset], objective: Objective) -> Engine {
    presets[choose(presets, objective).unwrap().index].engine
}

#[test]
fn objectives_choose_among_what_fits() {
    let all = three([None; 3]);
    assert_eq!(chosen(&all, Objective::Latency), Engine::Ot);
    assert_eq!(chosen(&all, Objective::Rate), Engine::ClientGarbler);
    assert_eq!(chosen(&all, Objective::Storage), Engine::ClientGarbler);
    let without_ot = three([Some(3), Some(2), Some(0)]);
    assert_eq!(chosen(&without_ot, Objective::Latency), Engine::Delphi);
    assert!(
        choose(&without_ot, Objective::Latency).unwrap().reason.contains("no room for a pre-compute of ot")
    );
    let nothing = three([Some(0); 3]);
    // Everything online: 1.2 s against 1.2 s and 2.1 s, and the larger volumes take longer.
    assert_eq!(chosen(&nothing, Objective::Latency), Engine::ClientGarbler);
    assert!(choose(&nothing, Objective::Latency).unwrap().reason.contains("everything is done online"));
    assert_eq!(choose(&[], Objective::Latency), None);
}

#[test]
fn what_is_busiest_limits_the_rate() {
    let preset = preset(Engine::Ot, [0.75, 0.112], [0, 0], None);
    let one_machine = Site { one_machine: true, ..Site::default() };
    assert!((preset.busiest(&one_machine) - 0.862).abs() < 1e-9);
    // Two machines share the work of a request; the one offline job takes longest.
    let seconds = preset.busiest(&Site::default());
    assert!((seconds - preset.offline_seconds()).abs() < 1e-9, "{seconds}");
    // 8,000 bits of the online phase at 1 kbit/s.
    let thin = Preset { link: Link::symmetric(1_000, std::time::Duration::ZERO), ..preset.clone() };
    assert!((thin.busiest(&Site::default()) - thin.online_seconds()).abs() < 1e-9);
    // Without room every inference takes both.
    let online = Preset { room: Some(0), ..preset };
    assert_eq!(online.busiest(&one_machine), online.unprepared_seconds());
}
