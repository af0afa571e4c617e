//! A planner that does what links make cheapest.

use std::time::Duration;

use phineus_infer::plan::{Engine, Link, Options, Plan};
use phineus_model::fixed::Op;
use phineus_model::phn::Public;

use crate::nets;

#[test]
fn links_decide_what_the_planner_takes() {
    let models = nets::patterns();
    let model = models.iter().find(|model| model.name == "residual with projection").unwrap();
    let taken = |link: Link| {
        let options = Options { link, ..Options::of(Engine::Auto) };
        let plan = Plan::new(Public::of(model), &options).unwrap();
        let explained = plan.explain().unwrap();
        let acts = model.graph.nodes.iter().filter(|n| matches!(n.op, Op::Act(_))).count();
        assert_eq!(explained.len(), acts);
        for layer in &explained {
            // What the plan has is the best of what it compares.
            let compared = layer.candidates.iter().filter(|c| c.protocol != "act_cg");
            let best = compared.min_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
            assert_eq!(best.protocol, layer.chosen);
            // The bytes are those of the whole plan.
            let row = &plan.predicted().layers[layer.node];
            let candidate = layer.candidates.iter().find(|c| c.protocol == layer.chosen).unwrap();
            assert_eq!(row.protocol, layer.chosen);
            assert_eq!(row.online.client_to_server_bytes, candidate.online.client_to_server_bytes);
            assert_eq!(row.online.server_to_client_bytes, candidate.online.server_to_client_bytes);
        }
        explained.iter().map(|layer| layer.chosen).collect::<Vec<_>>()
    };
    let thin = taken(Link::symmetric(1_000_000, Duration::ZERO));
    assert!(thin.iter().all(|protocol| *protocol == "act_ot"), "{thin:?}");
    let far = taken(Link::symmetric(1_000_000_000_000, Duration::from_secs(1)));
    assert!(far.iter().all(|protocol| *protocol == "act_gc"), "{far:?}");
}
