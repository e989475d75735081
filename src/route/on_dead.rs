//! `on_dead`: the output that gets the event of a delivery that is dead.
//!
//! Does: says which target that is, refuses circles, and puts in front of what people read what is dead and why. Never: of what is dead at
//! such a target itself: an event goes one step, whatever the file says.

use super::drill::mark;
use super::plan::{Builder, Rendering, Route, Router, near_miss};
use super::template::{Context, Died, Template};
use crate::model::{Drill, Event, Message, NotRendered, OrderKey, Plan, Target};
use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use switchyard_api::{At, Problem};

/// Where what is dead goes.
#[derive(Debug, Clone)]
pub(super) struct LastStop {
    pub target: Arc<Target>,
    /// By what it is kept in order there.
    key: Option<Arc<Template>>,
}

impl Router {
    /// Whether what is dead at a target goes somewhere.
    pub fn has_on_dead(&self, target: &Target) -> bool {
        self.on_dead.contains_key(target)
    }

    /// From which output to which what is dead goes, for people.
    pub fn last_stops(&self) -> BTreeSet<(&str, &str)> {
        self.on_dead.iter().map(|(target, stop)| (&*target.output, &*stop.target.output)).collect()
    }

    /// What is added to the plan of an event of which a delivery to this target is dead: one target; nothing where the file names none, or the
    /// event is a drill.
    pub fn plan_on_dead(&self, event: &Event, target: &Target) -> Plan {
        let Some(stop) = self.on_dead.get(target).filter(|_| Drill::of(event).is_none()) else { return Plan::default() };
        // Without a key it need not wait for anybody.
        let key = stop.key.as_ref().and_then(|key| key.render(&Context::new(event, None)).ok()).filter(|key| !key.is_empty());
        let ordered = key.map(|key| (0, OrderKey::of(&key))).into_iter().collect();
        Plan { targets: vec![Arc::clone(&stop.target)], ordered, ..self.empty_plan() }
    }

    /// The messages of such a target: the event by the output's own templates, and before it what is dead.
    ///
    /// # Errors
    /// The target is gone from the file, or a template failed for this event.
    pub fn render_on_dead(&self, event: &Event, target: &Target, died: &Died) -> Result<Vec<Arc<Message>>, NotRendered> {
        let Some(rendering) = self.renderings.get(target) else { return Err(NotRendered::Gone(target.route.to_string())) };
        if rendering.fields.is_empty() {
            return Ok(vec![Arc::clone(&self.plain)]);
        }
        let mut all = super::render::rendered(rendering, event, &Context::after(event, died))?;
        let told = |name: &str| match name {
            "text" | "html" | "message" => format!("[NOT DELIVERED by {} to {}: {}]", died.target.route, died.target.output, died.why),
            _ => "[NOT DELIVERED]".to_owned(),
        };
        mark(&rendering.fields, &mut all, told, &format!("{} {}", event.topic, event.id));
        let fitted = rendering.fields.fit(all, self.link_to(event).as_deref()).map_err(|error| NotRendered::Failed(error.to_string()))?;
        Ok(fitted.into_iter().map(|fields| Arc::new(Message { fields, ..Message::default() })).collect())
    }
}

impl Builder<'_> {
    /// Where the events of dead deliveries of these routes go; `None`: something is wrong with it.
    pub(super) fn on_dead(&mut self, routes: &[Route]) -> Option<HashMap<Arc<Target>, LastStop>> {
        let (mut stops, mut good) = (HashMap::new(), true);
        for (place, output) in self.outputs.iter().enumerate() {
            let Some(written) = &output.on_dead else { continue };
            let Some(to) = self.outputs.iter().position(|other| *other.name == *written.value) else {
                let title = format!("the dead of `{}` go to `{}`, which is not an output", output.name, written.value);
                let problem = Problem::error("unknown-output", written.span, title, "no output has this name");
                let names: Vec<_> = self.outputs.iter().map(|output| (&*output.name, output.span)).collect();
                self.problems.push(near_miss(problem, &written.value, &names));
                good = false;
                continue;
            };
            if !self.ends(place, written) {
                good = false;
                continue;
            }
            let stop = &self.outputs[to];
            let fields = self.own[to].as_ref().and_then(|own| own.over(stop, written.span, &[], self.problems));
            let (Some(fields), Ok(line)) = (fields, &self.lines[to]) else {
                good = false;
                continue;
            };
            let key = line.as_ref().filter(|line| line.digest.is_none()).and_then(|line| line.by.clone());
            for target in routes.iter().flat_map(|route| &route.targets).filter(|target| target.output == output.name) {
                let there = Arc::new(target.on_dead(&stop.name));
                self.renderings.insert(Arc::clone(&there), Rendering { transform: None, fields: fields.clone(), digest: None });
                stops.insert(Arc::clone(target), LastStop { target: there, key: key.clone() });
            }
        }
        good.then_some(stops)
    }

    /// Whether one that follows each `on_dead` from this output on does not come back to it. A circle is told once: at the first of its outputs.
    fn ends(&mut self, start: usize, first: &At<String>) -> bool {
        let (mut at, mut last, mut told) = (start, first, false);
        // As many steps as there are outputs: one that never comes back here is another's circle, and told there.
        for _ in 0..self.outputs.len() {
            let Some(next) = self.outputs.iter().position(|other| *other.name == *last.value) else { return true };
            if next == start && told {
                return false;
            }
            if next == start {
                let name = &self.outputs[start].name;
                let title = format!("the dead of `{name}` would come back to it");
                self.problems.push(if at == start {
                    Problem::error("on-dead-circle", first.span, title, "itself").help("name another output, or take `on_dead` out")
                } else {
                    let problem = Problem::error("on-dead-circle", first.span, title, "begins here");
                    problem.also(last.span, "and comes back here").help("take one of the two out")
                });
                return false;
            }
            let Some(further) = &self.outputs[next].on_dead else { return true };
            (at, last, told) = (next, further, told || next < start);
        }
        true
    }
}
