//! From properties to a tree of queues: which queues there are, which property belongs to which, what each value says.
//! Owns: inheritance and defaults of every value. Called by: `queues`. Does not: judge queues against one another (`check`).
//! Invariants: the tree is made whatever is wrong (what cannot be read has its default), parents before children; every
//! property is used, or told in an error or a warning.

use std::collections::{BTreeMap, BTreeSet};

use super::value::{self, is_queue_name};
use super::{QueueContext, Report, keys};
use crate::config::hadoop::{Properties, Property};
use crate::config::key;
use crate::engine::scheduler::resource::ResourceVector;
use crate::engine::scheduler::settings::{
    Acl, ApplicationOrder, Capacity, MaximumCapacity, NodePlacement, PartitionCapacity, QueueOrder,
    QueueSettings, QueueState, QueueTree,
};

/// Most queues: the scheduler keeps a row for each per partition.
const QUEUES_MAX: usize = 100_000;

/// Longest way from root to a leaf.
const DEPTH_MAX: usize = 32;

const INTEGER: &str = "a whole number 0 to 2147483647";

/// A queue and its properties by suffix.
pub(super) struct Draft<'a> {
    pub(super) path: String,
    pub(super) parent: Option<usize>,
    pub(super) fields: BTreeMap<&'a str, &'a Property>,
    /// Where it is listed.
    pub(super) listed: Option<&'a Property>,
    children: usize,
}

impl<'a> Draft<'a> {
    /// A property of it.
    pub(super) fn field(&self, suffix: &str) -> Option<&'a Property> {
        self.fields.get(suffix).copied()
    }
}

/// Builds the tree.
pub(super) fn build<'a>(
    properties: &'a Properties,
    context: &QueueContext,
    report: &mut Report,
) -> (QueueTree, Vec<Draft<'a>>) {
    let mut drafts = outline(properties, report);
    let cluster = assign(properties, &mut drafts, report);
    let mut tree = QueueTree { queues: Vec::with_capacity(drafts.len()), ..context.tree.clone() };
    let mut defaults = cluster_values(&cluster, &mut tree, report);
    defaults.maximum_am_resource_percent = report
        .read(cluster.get("maximum-am-resource-percent").copied(), "a share 0 to 1", share)
        .unwrap_or(0.1);
    for draft in &drafts {
        let parent = draft.parent.and_then(|parent| tree.queues.get(parent));
        let queue = queue(draft, parent, &defaults, context, report);
        tree.queues.push(queue);
    }
    (tree, drafts)
}

/// Defaults of queues that the file gives for all of them.
struct Defaults {
    minimum_user_limit_percent: f32,
    user_limit_factor: Option<f32>,
    max_parallel_apps: u32,
    maximum_am_resource_percent: f32,
}

/// The queues, from the lists of children; parents first.
fn outline<'a>(properties: &'a Properties, report: &mut Report) -> Vec<Draft<'a>> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    let mut open: Vec<(String, Option<usize>, Option<&'a Property>)> = vec![("root".to_owned(), None, None)];
    while let Some((path, parent, listed)) = open.pop() {
        let index = drafts.len();
        let list = properties.get(&format!("{}{path}.queues", keys::PREFIX));
        let mut names = BTreeSet::new();
        let mut children = Vec::new();
        for name in list.into_iter().flat_map(|list| list.value.split(',')).map(str::trim) {
            let Some(list) = list.filter(|_| !name.is_empty()) else { continue };
            if !is_queue_name(name) {
                report.bad(list, "names of 1 to 255 characters without blanks and dots, separated by commas");
            } else if !names.insert(name) {
                report.bad(list, &format!("each name once; {name} is there twice"));
            } else {
                children.push((format!("{path}.{name}"), Some(index), Some(list)));
            }
        }
        let depth = path.matches('.').count();
        if let Some(list) = list {
            if depth + 1 > DEPTH_MAX && !children.is_empty() {
                report.bad(list, &format!("at most {DEPTH_MAX} queues one below the other"));
                children.clear();
            }
            if drafts.len() + open.len() + children.len() > QUEUES_MAX {
                report.bad(list, &format!("at most {QUEUES_MAX} queues"));
                children.clear();
            }
        }
        drafts.push(Draft { path, parent, fields: BTreeMap::new(), listed, children: children.len() });
        open.extend(children.into_iter().rev());
    }
    drafts
}

/// Gives each property to its queue; those without one are returned by key.
fn assign<'a>(
    properties: &'a Properties,
    drafts: &mut [Draft<'a>],
    report: &mut Report,
) -> BTreeMap<&'a str, &'a Property> {
    let by_path: BTreeMap<String, usize> =
        drafts.iter().enumerate().map(|(index, draft)| (draft.path.clone(), index)).collect();
    let mut cluster = BTreeMap::new();
    for property in properties.iter() {
        let Some(rest) = property.key.strip_prefix(keys::PREFIX) else {
            // Anything else is a variable of the file's own, if something names it.
            if property.key.starts_with("yarn.") {
                report.warn(property, "is no key of the queue file: it belongs into yarn-site.xml");
            } else if !properties.is_named(&property.key) {
                report.warn(property, key::NOT_YARNS);
            }
            continue;
        };
        if rest != "root" && !rest.starts_with("root.") {
            match keys::of_cluster(rest) {
                Some(keys::Use::Read | keys::Use::Setting) => {
                    cluster.insert(rest, property);
                }
                used => not_read(property, used, rest, keys::read_by_cluster(), report),
            }
            continue;
        }
        // The longest path of a queue that the key begins with.
        let owner = rest.match_indices('.').rev().find_map(|(dot, _)| {
            let (path, suffix) = (rest.get(..dot)?, rest.get(dot + 1..)?);
            by_path.get(path).map(|index| (*index, suffix))
        });
        let Some((draft, suffix)) = owner.and_then(|(index, suffix)| Some((drafts.get_mut(index)?, suffix)))
        else {
            not_read(property, None, rest, keys::read_by_queues(), report);
            continue;
        };
        match keys::of_queue(suffix) {
            Some(keys::Use::Read) => {
                draft.fields.insert(suffix, property);
            }
            None => match unlisted(suffix) {
                Some((name, "queues")) => report.impossible(
                    vec![property],
                    &format!(
                        "{}.{name} has children and is not itself listed in {}.queues",
                        draft.path, draft.path
                    ),
                ),
                Some((name, _)) => report.warn(
                    property,
                    format!("does not count: {}.{name} is not listed in {}.queues", draft.path, draft.path),
                ),
                None => not_read(property, None, suffix, keys::read_by_queues(), report),
            },
            used => not_read(property, used, suffix, keys::read_by_queues(), report),
        }
    }
    cluster
}

/// Queue and key, where a suffix is that of a queue that is not listed.
fn unlisted(suffix: &str) -> Option<(&str, &str)> {
    suffix.match_indices('.').find_map(|(dot, _)| {
        let (name, key) = (suffix.get(..dot)?, suffix.get(dot + 1..)?);
        keys::of_queue(key).map(|_| (name, key))
    })
}

fn not_read(
    property: &Property,
    used: Option<keys::Use>,
    name: &str,
    known: impl Iterator<Item = &'static str>,
    report: &mut Report,
) {
    match used {
        Some(keys::Use::Unsupported(_, harmless))
            if harmless.iter().any(|value| value.eq_ignore_ascii_case(property.trimmed())) => {}
        Some(keys::Use::Unsupported(reason, _) | keys::Use::NoEffect(reason)) => {
            report.warn(property, reason)
        }
        Some(keys::Use::Read | keys::Use::Setting) => {}
        None => {
            let hint = key::closest(name, known).map(|near| format!("; did you mean {near}?"));
            report.warn(property, format!("is not a key{}", hint.unwrap_or_default()));
        }
    }
}

/// Values for the whole cluster.
fn cluster_values(
    cluster: &BTreeMap<&str, &Property>,
    tree: &mut QueueTree,
    report: &mut Report,
) -> Defaults {
    let get = |key: &str| cluster.get(key).copied();
    if let Some(most) = report.read(get("maximum-applications"), "a whole number 1 to 2147483647", positive) {
        tree.maximum_applications = most;
    }
    let per_queue = report.read(
        get("global-queue-max-application"),
        "a whole number, -1 = by each queue's share",
        optional,
    );
    tree.global_queue_maximum_applications = per_queue.flatten().filter(|most| *most > 0);
    let switch = "true or false";
    if let Some(on) = report.read(get("reservations-continue-look-all-nodes"), switch, switched) {
        tree.reservations_continue_look_all_nodes = on;
    }
    if let Some(on) = report.read(get("rack-locality-full-reset"), switch, switched) {
        tree.rack_locality_full_reset = on;
    }
    if let Some(most) = report.read(get("user.max-parallel-apps"), INTEGER, integer) {
        tree.user_max_parallel_apps = most;
    }
    for (key, property) in cluster {
        if let Some(user) = keys::between(key, "user.", ".max-parallel-apps")
            && let Some(most) = report.read(Some(property), INTEGER, integer)
        {
            tree.max_parallel_apps_of.insert(user.into(), most);
        }
    }
    Defaults {
        minimum_user_limit_percent: report
            .read(get("minimum-user-limit-percent"), USER_LIMIT, user_limit)
            .unwrap_or(100.0),
        user_limit_factor: report.read(get("user-limit-factor"), FACTOR, factor).unwrap_or(Some(1.0)),
        max_parallel_apps: report.read(get("max-parallel-apps"), INTEGER, integer).unwrap_or(u32::MAX),
        maximum_am_resource_percent: 0.1,
    }
}

const USER_LIMIT: &str = "a percentage 0 to 100";
const FACTOR: &str = "a number of 0 or more, or -1 for no limit";
const SHARE: &str = "a share 0 to 1";
const LIFETIME: &str = "seconds, 0 or -1 for no limit";

/// One queue, with what it takes over from its parent.
fn queue(
    draft: &Draft<'_>,
    parent: Option<&QueueSettings>,
    defaults: &Defaults,
    context: &QueueContext,
    report: &mut Report,
) -> QueueSettings {
    let get = |suffix: &str| draft.field(suffix);
    let parent_index = draft.parent.and_then(|parent| u32::try_from(parent).ok());
    let mut queue = QueueSettings::leaf(&draft.path, parent_index, Capacity::Percent(0.0));
    queue.is_leaf = draft.children == 0 && parent.is_some();
    queue.state = state(get("state"), parent, report);
    queue.minimum_user_limit_percent = report
        .read(get("minimum-user-limit-percent"), USER_LIMIT, user_limit)
        .unwrap_or(defaults.minimum_user_limit_percent);
    queue.user_limit_factor =
        report.read(get("user-limit-factor"), FACTOR, factor).unwrap_or(defaults.user_limit_factor);
    queue.user_weights = user_weights(draft, parent, &queue, report);
    queue.maximum_allocation = maximum_allocation(draft, parent, context, report);
    let most =
        report.read(get("maximum-applications"), "a whole number, -1 = by the queue's share", optional);
    queue.maximum_applications = most.flatten();
    queue.max_parallel_apps =
        report.read(get("max-parallel-apps"), INTEGER, integer).unwrap_or(defaults.max_parallel_apps);
    queue.priority = report.read(get("priority"), "a whole number", |text| text.parse().ok()).unwrap_or(0);
    queue.default_application_priority = report
        .read(get("default-application-priority"), INTEGER, |text| {
            text.parse().ok().filter(|priority| *priority >= 0)
        })
        .unwrap_or(0);
    let lifetime = |report: &mut Report, suffix: &str, inherited: Option<u64>| {
        // Unset and −1 both take over the parent's; 0 is none.
        match report.read(get(suffix), LIFETIME, |text| text.parse::<i64>().ok().filter(|time| *time >= -1)) {
            None | Some(-1) => inherited,
            Some(time) => u64::try_from(time).ok().filter(|time| *time > 0),
        }
    };
    queue.maximum_application_lifetime_s = lifetime(
        report,
        "maximum-application-lifetime",
        parent.and_then(|parent| parent.maximum_application_lifetime_s),
    );
    queue.default_application_lifetime_s = lifetime(
        report,
        "default-application-lifetime",
        parent.and_then(|parent| parent.default_application_lifetime_s),
    );
    let acl = |report: &mut Report, suffix: &str| match get(suffix) {
        None if parent.is_none() => Acl::all(),
        None => Acl::default(),
        Some(property) => {
            super::check_acl(property, report);
            Acl::parse(&property.value)
        }
    };
    queue.acl_submit_applications = acl(report, "acl_submit_applications");
    queue.acl_administer_queue = acl(report, "acl_administer_queue");
    order(draft, parent, &mut queue, report);
    queue.placement = report
        .read(get("node-placement"), "spread or bin-pack", |text| match text {
            "spread" => Some(NodePlacement::Spread),
            "bin-pack" => Some(NodePlacement::BinPack),
            _ => None,
        })
        .unwrap_or(parent.map_or(NodePlacement::Spread, |parent| parent.placement));
    labels(draft, parent, &mut queue, context, report);
    capacities(draft, parent.is_none(), &mut queue, defaults, context, report);
    queue
}

fn state(property: Option<&Property>, parent: Option<&QueueSettings>, report: &mut Report) -> QueueState {
    let inherited = parent.map_or(QueueState::Running, |parent| parent.state);
    report
        .read(property, "RUNNING or STOPPED", |text| {
            [("RUNNING", QueueState::Running), ("STOPPED", QueueState::Stopped)]
                .into_iter()
                .find(|(word, _)| text.eq_ignore_ascii_case(word))
                .map(|(_, state)| state)
        })
        .unwrap_or(inherited)
}

fn user_weights(
    draft: &Draft<'_>,
    parent: Option<&QueueSettings>,
    queue: &QueueSettings,
    report: &mut Report,
) -> BTreeMap<Box<str>, f32> {
    let mut weights = parent.map(|parent| parent.user_weights.clone()).unwrap_or_default();
    // What a queue with children says is for those below it, whose least shares are their own: `check` compares there.
    let most = if queue.is_leaf { heaviest(queue.minimum_user_limit_percent) } else { f32::MAX };
    let accepted = if most == f32::MAX {
        "a number of 0 or more".to_owned()
    } else {
        format!("a number 0 to {most} (100 / minimum-user-limit-percent)")
    };
    for (suffix, property) in &draft.fields {
        let Some(user) = keys::user_weight(suffix) else { continue };
        if let Some(weight) = report.read(Some(property), &accepted, |text| value::number(text, 0.0, most)) {
            weights.insert(user.into(), weight);
        }
    }
    weights
}

/// Largest weight of a user: one that weighs more would be promised more than the queue.
pub(super) fn heaviest(minimum_user_limit_percent: f32) -> f32 {
    if minimum_user_limit_percent > 0.0 { 100.0 / minimum_user_limit_percent } else { f32::MAX }
}

fn maximum_allocation(
    draft: &Draft<'_>,
    parent: Option<&QueueSettings>,
    context: &QueueContext,
    report: &mut Report,
) -> Option<ResourceVector> {
    let inherited = parent.and_then(|parent| parent.maximum_allocation.clone());
    let mut largest = inherited.clone().unwrap_or_else(|| context.maximum_allocation.clone());
    let mut is_set = false;
    if let Some(property) = draft.field("maximum-allocation") {
        match value::amounts_of(property.trimmed(), &context.resource_types, u64::MAX) {
            Ok(amounts) => {
                for index in (0..context.resource_types.len()).filter(|index| amounts.get(*index) != u64::MAX)
                {
                    largest.set(index, amounts.get(index));
                }
                is_set = true;
            }
            Err(accepted) => report.bad(property, &accepted),
        }
    }
    for (index, suffix) in [(0, "maximum-allocation-mb"), (1, "maximum-allocation-vcores")] {
        if let Some(amount) = report.read(draft.field(suffix), "a whole number of 1 or more", |text| {
            text.parse::<u64>().ok().filter(|amount| *amount > 0)
        }) {
            largest.set(index, amount);
            is_set = true;
        }
    }
    if !is_set {
        return inherited;
    }
    let suffixes = ["maximum-allocation", "maximum-allocation-mb", "maximum-allocation-vcores"];
    let given: Vec<&Property> = suffixes.iter().filter_map(|suffix| draft.field(suffix)).collect();
    for (index, kind) in context.resource_types.types().iter().enumerate() {
        let (amount, most) = (largest.get(index), context.maximum_allocation.get(index));
        let least = context.minimum_allocation.get(index);
        if amount > most || amount < least {
            report.impossible(
                given.clone(),
                &format!("{} is {amount}, the cluster's containers have {least} to {most}", kind.name),
            );
        }
    }
    Some(largest)
}

fn order(draft: &Draft<'_>, parent: Option<&QueueSettings>, queue: &mut QueueSettings, report: &mut Report) {
    let policy = draft.field("ordering-policy");
    let weighed = report
        .read(draft.field("ordering-policy.fair.enable-size-based-weight"), "true or false", switched)
        .unwrap_or(false);
    queue.queue_order = parent.map_or(QueueOrder::Utilization, |parent| parent.queue_order);
    if !queue.is_leaf {
        let accepted = "utilization or priority-utilization, for a queue with children";
        let order = report.read(policy, accepted, |text| match text {
            "utilization" => Some(QueueOrder::Utilization),
            "priority-utilization" => Some(QueueOrder::PriorityUtilization),
            _ => None,
        });
        queue.queue_order = order.unwrap_or(queue.queue_order);
        return;
    }
    let fair = ApplicationOrder::Fair { size_based_weight: weighed };
    let order = report.read(policy, "fifo or fair, for a queue without children", |text| match text {
        "fifo" | "fifo-with-partitions" => Some(ApplicationOrder::Fifo),
        "fair" => Some(fair),
        _ => None,
    });
    if let Some(policy) = policy.filter(|policy| policy.trimmed() == "fifo-with-partitions") {
        report.warn(policy, "is taken as fifo, whose order is kept in each partition by itself here");
    }
    queue.application_order = order.unwrap_or_default();
}

fn labels(
    draft: &Draft<'_>,
    parent: Option<&QueueSettings>,
    queue: &mut QueueSettings,
    context: &QueueContext,
    report: &mut Report,
) {
    let of_parent = parent.and_then(|parent| parent.accessible_node_labels.clone());
    queue.accessible_node_labels = match draft.field("accessible-node-labels") {
        None => of_parent.clone(),
        Some(property) => {
            let names: BTreeSet<&str> =
                property.value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            for name in names.iter().filter(|name| **name != "*" && !value::is_label(name)) {
                let accepted = format!("* or names of letters, digits, - and _; {name:?} is none");
                report.bad(property, &accepted);
            }
            // Of labels that the parent may not use, `check` tells.
            (!names.contains("*")).then(|| names.into_iter().map(Into::into).collect())
        }
    };
    let default =
        draft.field("default-node-label-expression").filter(|default| !default.trimmed().is_empty());
    let is_off = |default: &&Property| !context.node_labels_enabled && can_access(queue, default.trimmed());
    if let Some(default) = default.filter(is_off) {
        // Every ask without a label would be for it, and be refused. One that the queue may not use `check` refuses.
        report.warn(default, LABELS_OFF);
        return;
    }
    queue.default_node_label_expression = match draft.field("default-node-label-expression") {
        Some(_) => default.map(|default| default.trimmed().into()),
        None => parent
            .and_then(|parent| parent.default_node_label_expression.clone())
            .filter(|label| can_access(queue, label)),
    };
}

/// Said of what is about labels where there are none.
pub(super) const LABELS_OFF: &str = "does not count: node labels are off (yarn.node-labels.enabled)";

/// Whether a queue may use a label.
pub(super) fn can_access(queue: &QueueSettings, label: &str) -> bool {
    let labels = queue.accessible_node_labels.as_ref();
    label.is_empty() || labels.is_none_or(|labels| labels.iter().any(|found| **found == *label))
}

fn capacities(
    draft: &Draft<'_>,
    is_root: bool,
    queue: &mut QueueSettings,
    defaults: &Defaults,
    context: &QueueContext,
    report: &mut Report,
) {
    let types = &context.resource_types;
    let share_of = |prefix: &str, default: f32, report: &mut Report| {
        let field = |key: &str| draft.field(&format!("{prefix}{key}"));
        let capacity = report.parse(field("capacity"), |text| value::capacity(text, types));
        let maximum = report.parse(field("maximum-capacity"), |text| value::maximum_capacity(text, types));
        if is_root {
            for property in [field("capacity"), field("maximum-capacity")].into_iter().flatten() {
                if !["100", "100.0", "-1", "100%", "1w"].contains(&property.trimmed()) {
                    report.warn(property, "does not count: root always has everything");
                }
            }
        }
        let capacity = if is_root { None } else { capacity };
        PartitionCapacity {
            capacity: capacity.unwrap_or(Capacity::Percent(if is_root { 100.0 } else { 0.0 })),
            maximum: maximum.filter(|_| !is_root).unwrap_or(MaximumCapacity::Percent(100.0)),
            maximum_am_resource_percent: report
                .read(field("maximum-am-resource-percent"), SHARE, share)
                .unwrap_or(default),
        }
    };
    let own = share_of("", defaults.maximum_am_resource_percent, report);
    let am_percent = own.maximum_am_resource_percent;
    let mut capacities = BTreeMap::from([(Box::from(""), own)]);
    let named: BTreeSet<&str> =
        draft.fields.keys().filter_map(|suffix| keys::label_key(suffix)).map(|(label, _)| label).collect();
    for label in named {
        let share = share_of(&format!("accessible-node-labels.{label}."), am_percent, report);
        capacities.insert(label.into(), share);
    }
    queue.capacities = capacities;
}

fn integer(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number <= i32::MAX.unsigned_abs())
}

fn positive(text: &str) -> Option<u32> {
    integer(text).filter(|number| *number > 0)
}

/// −1 is none.
fn optional(text: &str) -> Option<Option<u32>> {
    if text == "-1" { Some(None) } else { integer(text).map(Some) }
}

fn switched(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn user_limit(text: &str) -> Option<f32> {
    value::percent(text)
}

fn factor(text: &str) -> Option<Option<f32>> {
    let number: f32 = text.parse().ok()?;
    if number == -1.0 {
        return Some(None);
    }
    value::number(text, 0.0, f32::MAX).map(Some)
}

fn share(text: &str) -> Option<f32> {
    value::number(text, 0.0, 1.0)
}
