//! The applications of a scenario, one by one, by time of submission.
//! Owns: [`Template`] (a kind of applications, checked), [`Generator`]. Called by: the scenario's reader. Thread: the
//! reader's. Does not: read text.
//! Invariants: application `n` of a kind is a function of seed, kind and `n`; times never go back; memory is one entry for
//! each kind.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use heddle_wire::limits::NAME_MAX;
use heddle_wire::record::{ExecutionType, Resource};

use super::{
    GROUPS, PRIORITIES, Place, Process, QUEUE, RawDependency, RawTasks, RawTemplate, RawUsers, TASKS,
    USERS_MAX,
};
use crate::fleet::Chance;
use crate::workload::durations::{Distribution, Shape, pick, seed_of, sums};
use crate::workload::{
    AmSpec, ApplicationSpec, Dependency, Durations, LOCALITIES_MAX, Locality, QueueTreeSpec, TaskGroup,
    WorkloadError,
};

/// Most tags of one application (YARN's limit).
const TAGS_MAX: usize = 10;

/// Most applications that arrive together.
const BURST_MAX: u64 = 100_000;

/// Most arrivals per minute.
const RATE_MAX: f64 = 10_000_000.0;

/// A kind of applications.
#[derive(Debug)]
pub(super) struct Template {
    name: Arc<str>,
    application_type: Arc<str>,
    queues: Vec<Arc<str>>,
    queue_sums: Vec<f64>,
    users: Vec<Arc<str>>,
    user_sums: Vec<f64>,
    arrivals: Arrivals,
    priority: Option<i32>,
    label: Option<Arc<str>>,
    tags: Arc<[Arc<str>]>,
    lifetime_s: Option<u64>,
    attempts_max: Option<u32>,
    keeps_containers: bool,
    am: AmSpec,
    tasks: Vec<Tasks>,
}

/// A group of tasks before its numbers are drawn.
#[derive(Debug)]
struct Tasks {
    name: Arc<str>,
    priority: i32,
    count: Distribution,
    duration: Distribution,
    resource: Resource,
    after: Arc<[Dependency]>,
    delay_ms: u64,
    /// Share of them that name a host.
    local: f64,
    relax_locality: bool,
    label: Option<Arc<str>>,
    execution_type: ExecutionType,
    retries: u32,
}

#[derive(Clone, Copy, Debug)]
struct Arrivals {
    process: Process,
    /// Between two, milliseconds; `None` = there are none but the first.
    gap_ms: Option<f64>,
    burst: u64,
    from_ms: u64,
    until_ms: u64,
    first: u64,
    ramp_ms: u64,
}

/// Weights 1 ⁄ (i + 1)^skew, summed up.
fn skewed(count: usize, skew: f64) -> Vec<f64> {
    // Never without one above 0: the first is 1.
    sums((0..count).map(|index| (index as f64 + 1.0).powf(-skew))).unwrap_or_default()
}

impl Template {
    pub(super) fn check<'a>(
        raw: &RawTemplate,
        place: &Place<'a>,
        tree: Option<&QueueTreeSpec>,
        duration_ms: u64,
        at: impl Fn(usize, String) -> Place<'a>,
    ) -> Result<Self, WorkloadError> {
        let queues = match &raw.queues {
            Some(names) => {
                let names: Result<Vec<_>, _> =
                    names.iter().map(|name| place.name("queues", name, QUEUE)).collect();
                names?
            }
            None => tree.map(|tree| tree.leaves.clone()).unwrap_or_default(),
        };
        if queues.is_empty() {
            return Err(place.wrong(
                "queues",
                "nothing",
                "names of queues; without them queue_levels has to say which there are",
            ));
        }
        let users: Vec<Arc<str>> = match &raw.users {
            RawUsers::Named(names) => {
                names.iter().map(|name| place.name("users", name, NAME_MAX)).collect::<Result<_, _>>()?
            }
            RawUsers::Numbered { prefix, count } => {
                let count = place.whole("users.count", *count, 1, USERS_MAX as u64)?;
                let prefix = place.name("users.prefix", prefix, NAME_MAX - 10)?;
                (0..count).map(|number| format!("{prefix}{number}").into()).collect()
            }
        };
        if users.is_empty() || users.len() > USERS_MAX {
            return Err(place.wrong("users", &users.len().to_string(), format!("1 to {USERS_MAX} users")));
        }
        let queue_sums = skewed(queues.len(), place.share("queue_skew", raw.queue_skew, 5.0)?);
        let user_sums = skewed(users.len(), place.share("user_skew", raw.user_skew, 5.0)?);
        if raw.tags.len() > TAGS_MAX {
            return Err(place.wrong("tags", &raw.tags.len().to_string(), format!("at most {TAGS_MAX}")));
        }
        let tags: Result<Vec<_>, _> = raw.tags.iter().map(|tag| place.name("tags", tag, NAME_MAX)).collect();
        let name = place.name("name", &raw.name, NAME_MAX - 20)?;
        let kind = raw.application_type.as_deref().unwrap_or("YARN");
        let am = &raw.am;
        if raw.tasks.len() > GROUPS {
            return Err(place.wrong("tasks", &raw.tasks.len().to_string(), format!("at most {GROUPS}")));
        }
        let mut tasks: Vec<Tasks> = Vec::new();
        for (index, group) in raw.tasks.iter().enumerate() {
            let place = at(group.span().start, format!("{}.tasks[{index}]", place.path));
            let group = Tasks::check(group.get_ref(), &place, &tasks)?;
            tasks.push(group);
        }
        Ok(Self {
            application_type: place.name("type", kind, NAME_MAX)?,
            queues,
            queue_sums,
            users,
            user_sums,
            arrivals: Arrivals::check(raw, place, duration_ms)?,
            priority: raw.priority.map(|priority| priority_of(priority, place)).transpose()?,
            label: raw.label.as_ref().map(|label| place.name("label", label, NAME_MAX)).transpose()?,
            tags: tags?.into(),
            lifetime_s: raw.lifetime.map(|lifetime| lifetime.0.div_ceil(1_000)),
            attempts_max: raw
                .attempts
                .map(|most| place.whole("attempts", u64::from(most), 1, 1_000))
                .transpose()?
                .map(|most| most as u32),
            keeps_containers: raw.keeps_containers,
            am: AmSpec {
                resource: place.resource(am.memory_mb, am.vcores, &am.resources)?,
                start_ms: am.start.0,
                least_duration_ms: am.least_duration.0,
                is_unmanaged: am.unmanaged,
            },
            tasks,
            name,
        })
    }

    /// How many applications it is expected to make.
    pub(super) fn expected(&self) -> f64 {
        let arrivals = &self.arrivals;
        let span = arrivals.until_ms.saturating_sub(arrivals.from_ms) as f64;
        arrivals.first as f64 + arrivals.gap_ms.map_or(0.0, |gap_ms| span / gap_ms * arrivals.burst as f64)
    }

    fn application(
        &self,
        submit_ms: u64,
        number: u64,
        hosts: &[(Arc<str>, Arc<str>)],
        seed: u64,
    ) -> ApplicationSpec {
        let mut chance = Chance(seed_of(seed, number));
        let queue = self.queues.get(pick(&self.queue_sums, &mut chance)).cloned().unwrap_or_default();
        let user = self.users.get(pick(&self.user_sums, &mut chance)).cloned().unwrap_or_default();
        let groups =
            self.tasks.iter().enumerate().map(|(index, tasks)| tasks.draw(index, hosts, &mut chance));
        ApplicationSpec {
            submit_ms,
            name: format!("{}-{number:06}", self.name).into(),
            user,
            queue,
            application_type: Arc::clone(&self.application_type),
            priority: self.priority,
            label: self.label.clone(),
            tags: Arc::clone(&self.tags),
            lifetime_s: self.lifetime_s,
            attempts_max: self.attempts_max,
            keeps_containers: self.keeps_containers,
            groups: groups.collect(),
            am: self.am.clone(),
        }
    }
}

fn priority_of(priority: i64, place: &Place<'_>) -> Result<i32, WorkloadError> {
    if PRIORITIES.contains(&priority) {
        return Ok(priority as i32);
    }
    Err(place.wrong(
        "priority",
        &priority.to_string(),
        format!("a whole number from {} to {}", PRIORITIES.start(), PRIORITIES.end()),
    ))
}

impl Arrivals {
    fn check(raw: &RawTemplate, place: &Place<'_>, duration_ms: u64) -> Result<Self, WorkloadError> {
        let arrivals = &raw.arrivals;
        let until_ms = arrivals.until.map_or(duration_ms, |until| until.0.min(duration_ms));
        let rate = place.share("arrivals.per_minute", arrivals.per_minute, RATE_MAX)?;
        let first = place.whole("arrivals.first", arrivals.first, 0, 1_000_000)?;
        if rate == 0.0 && first == 0 {
            return Err(place.wrong("arrivals", "neither per_minute nor first", "one of them, above 0"));
        }
        Ok(Self {
            process: arrivals.process,
            gap_ms: (rate > 0.0).then(|| 60e3 / rate),
            burst: place.whole("arrivals.burst", arrivals.burst, 1, BURST_MAX)?,
            from_ms: arrivals.from.0,
            until_ms,
            first,
            ramp_ms: arrivals.ramp.0,
        })
    }
}

impl Tasks {
    fn check(raw: &RawTasks, place: &Place<'_>, before: &[Self]) -> Result<Self, WorkloadError> {
        let mut after = Vec::new();
        for dependency in &raw.after {
            let (name, completed) = match dependency {
                RawDependency::All(name) => (name, 1.0),
                RawDependency::Part { tasks, completed } => {
                    (tasks, place.share("after.completed", *completed, 1.0)?)
                }
            };
            let Some(group) = before.iter().position(|group| *group.name == **name) else {
                let names: Vec<&str> = before.iter().map(|group| &*group.name).collect();
                return Err(place.wrong(
                    "after",
                    name,
                    format!("tasks listed before these: {}", names.join(", ")),
                ));
            };
            after.push(Dependency { group: group as u32, completed_ppm: (completed * 1e6).round() as u32 });
        }
        if before.iter().any(|group| *group.name == *raw.name) {
            return Err(place.wrong("name", &raw.name, "another name for each group of tasks"));
        }
        Ok(Self {
            name: place.name("name", &raw.name, NAME_MAX)?,
            priority: priority_of(raw.priority, place)?,
            count: raw.count.0,
            duration: raw.duration.0,
            resource: place.resource(raw.memory_mb, raw.vcores, &raw.resources)?,
            after: after.into(),
            delay_ms: raw.delay.0,
            local: place.share("local", raw.local, 1.0)?,
            relax_locality: raw.relax_locality,
            label: raw.label.as_ref().map(|label| place.name("label", label, NAME_MAX)).transpose()?,
            execution_type: if raw.opportunistic {
                ExecutionType::Opportunistic
            } else {
                ExecutionType::Guaranteed
            },
            retries: raw.retries,
        })
    }

    fn draw(&self, index: usize, hosts: &[(Arc<str>, Arc<str>)], chance: &mut Chance) -> TaskGroup {
        // At least one: later groups wait for it by its index.
        let count = self.count.draw(chance).round().clamp(1.0, TASKS) as u32;
        let durations = match self.duration.shape {
            Shape::Constant(ms) => Durations::Constant(ms.round() as u64),
            _ => Durations::Drawn { distribution: self.duration, seed: chance.next() },
        };
        let local = (f64::from(count) * self.local).round().min(LOCALITIES_MAX as f64) as u32;
        let mut places: BTreeMap<usize, u32> = BTreeMap::new();
        if !hosts.is_empty() {
            for _ in 0..local {
                *places.entry((chance.next() % hosts.len() as u64) as usize).or_default() += 1;
            }
        }
        let localities = places.into_iter().filter_map(|(at, count)| {
            let (rack, host) = hosts.get(at)?;
            Some(Locality { host: Some(Arc::clone(host)), rack: Arc::clone(rack), count })
        });
        TaskGroup {
            name: Arc::clone(&self.name),
            priority: self.priority,
            allocation_request_id: index as i64,
            count,
            resource: self.resource.clone(),
            durations,
            localities: localities.collect(),
            relax_locality: self.relax_locality,
            label: self.label.clone(),
            after: Arc::clone(&self.after),
            delay_ms: self.delay_ms,
            execution_type: self.execution_type,
            retries: self.retries,
        }
    }
}

/// Where one kind's arrivals are.
#[derive(Debug)]
struct Clock {
    chance: Chance,
    /// Next arrival, milliseconds; not rounded, so that a regular process keeps its rate.
    at_ms: f64,
    /// Applications of the present arrival that are still to come.
    left: u64,
    /// Of those that come first: how many were given.
    first: u64,
}

/// The applications of all kinds.
#[derive(Debug)]
pub(super) struct Generator {
    templates: Vec<Template>,
    clocks: Vec<Clock>,
    numbers: Vec<u64>,
    /// Next time of each kind: (time, kind).
    due: BinaryHeap<Reverse<(u64, usize)>>,
    hosts: Vec<(Arc<str>, Arc<str>)>,
    seed: u64,
}

impl Generator {
    pub(super) fn new(templates: Vec<Template>, hosts: Vec<(Arc<str>, Arc<str>)>, seed: u64) -> Self {
        let clocks = templates.iter().enumerate().map(|(index, template)| {
            let mut clock =
                Clock { chance: Chance(seed_of(!seed, index as u64)), at_ms: 0.0, left: 0, first: 0 };
            clock.at_ms = template.arrivals.from_ms as f64;
            clock
        });
        let mut generator = Self {
            clocks: clocks.collect(),
            numbers: vec![0; templates.len()],
            due: BinaryHeap::new(),
            templates,
            hosts,
            seed,
        };
        for kind in 0..generator.templates.len() {
            generator.arm(kind);
        }
        generator
    }

    /// Finds when the next application of a kind comes.
    fn arm(&mut self, kind: usize) {
        let (Some(template), Some(clock)) = (self.templates.get(kind), self.clocks.get_mut(kind)) else {
            return;
        };
        let arrivals = &template.arrivals;
        if clock.first < arrivals.first {
            // Evenly over the ramp, that is, by their number alone.
            let share = clock.first as f64 / arrivals.first as f64;
            clock.first += 1;
            let at = arrivals.from_ms as f64 + arrivals.ramp_ms as f64 * share;
            self.due.push(Reverse((at as u64, kind)));
            return;
        }
        let Some(gap_ms) = arrivals.gap_ms else { return };
        if clock.left == 0 {
            clock.at_ms += match arrivals.process {
                Process::Regular => gap_ms,
                Process::Poisson => {
                    let gap =
                        Distribution { shape: Shape::Exponential { mean: gap_ms }, min: 0.0, max: 1e15 };
                    gap.draw(&mut clock.chance)
                }
            };
            clock.left = arrivals.burst;
        }
        clock.left -= 1;
        if clock.at_ms < arrivals.until_ms as f64 {
            self.due.push(Reverse((clock.at_ms as u64, kind)));
        }
    }
}

impl Iterator for Generator {
    type Item = ApplicationSpec;

    fn next(&mut self) -> Option<ApplicationSpec> {
        let Reverse((submit_ms, kind)) = self.due.pop()?;
        self.arm(kind);
        let number = self.numbers.get_mut(kind)?;
        *number += 1;
        let number = *number - 1;
        let seed = seed_of(self.seed, kind as u64);
        self.templates.get(kind).map(|template| template.application(submit_ms, number, &self.hosts, seed))
    }
}
