//! The queue file as its writers meet it: both forms, what is taken over, what is refused and how it is said.

use std::fs;

use super::*;
use crate::engine::scheduler::settings::{
    ApplicationOrder, Capacity, MaximumCapacity, NodePlacement, QueueOrder, QueueState,
};

const EXAMPLE: &str = include_str!("queues.toml.example");
const CAPACITY_SCHEDULER: &str = include_str!("../../../tests/queue_config/capacity-scheduler.xml");
const BROKEN: &str = include_str!("../../../tests/queue_config/broken.xml");

fn context() -> QueueContext {
    QueueContext {
        resource_types: ResourceTypes::default(),
        minimum_allocation: ResourceVector::new(1_024, 1),
        maximum_allocation: ResourceVector::new(8_192, 4),
        node_labels_enabled: true,
        node_labels: BTreeMap::from([("gpu".into(), true)]),
        tree: QueueTree::default(),
    }
}

fn read_as(name: &str, text: &str, context: QueueContext) -> QueueReading {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    QueueFiles { path: Some(path), context, ..QueueFiles::default() }.read_all()
}

fn toml(text: &str) -> QueueReading {
    read_as("queues.toml", text, context())
}

/// An XML file of these keys below `yarn.scheduler.capacity.`, a line each.
fn xml(properties: &[(&str, &str)]) -> QueueReading {
    let mut text = String::from("<configuration>\n");
    for (key, value) in properties {
        text.push_str(&format!(
            "<property><name>yarn.scheduler.capacity.{key}</name><value>{value}</value></property>\n"
        ));
    }
    text.push_str("</configuration>");
    read_as("capacity-scheduler.xml", &text, context())
}

/// Two halves, and these keys.
fn halves(properties: &[(&str, &str)]) -> QueueReading {
    let two = [("root.queues", "a,b"), ("root.a.capacity", "50"), ("root.b.capacity", "50")];
    xml(&[&two, properties].concat())
}

fn errors(reading: &QueueReading) -> String {
    ConfigErrors(reading.errors.clone()).to_string()
}

fn warnings(reading: &QueueReading) -> String {
    reading.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[track_caller]
fn queue(reading: &QueueReading, path: &str) -> crate::engine::scheduler::settings::QueueSettings {
    assert!(reading.errors.is_empty(), "{}", errors(reading));
    let index = reading.tree.find(path).unwrap();
    reading.tree.queues[index as usize].clone()
}

/// One fault, which names all of these.
#[track_caller]
fn refused(reading: &QueueReading, told: &[&str]) {
    let text = errors(reading);
    assert_eq!(reading.errors.len(), 1, "{text}");
    for part in told {
        assert!(text.contains(part), "{text:?} does not name {part:?}");
    }
}

#[test]
fn both_forms_mean_the_same() {
    let of_toml = toml(EXAMPLE);
    assert!(
        of_toml.errors.is_empty() && of_toml.warnings.is_empty(),
        "{}{}",
        errors(&of_toml),
        warnings(&of_toml)
    );
    let etl = queue(&of_toml, "etl");
    assert_eq!(etl.capacities[""].capacity, Capacity::Percent(40.0));
    assert_eq!(etl.capacities[""].maximum, MaximumCapacity::Percent(60.0));
    assert_eq!(etl.capacities[""].maximum_am_resource_percent, 0.2);
    assert_eq!((etl.priority, etl.maximum_application_lifetime_s), (10, Some(86_400)));
    assert!(etl.acl_submit_applications.admits("x", &["etl-team".into()]));
    let small = queue(&of_toml, "root.adhoc.small");
    assert_eq!(small.capacities[""].capacity, Capacity::Weight(3.0));
    assert_eq!(small.application_order, ApplicationOrder::Fair { size_based_weight: true });
    assert_eq!((small.user_limit_factor, small.queue_order), (None, QueueOrder::PriorityUtilization));
    let large = queue(&of_toml, "large");
    assert_eq!((large.user_weights["alice"], large.minimum_user_limit_percent), (2.5, 25.0));
    assert_eq!(large.placement, NodePlacement::BinPack);
    let ml = queue(&of_toml, "ml");
    assert_eq!(
        (ml.state, ml.capacities["gpu"].capacity.clone()),
        (QueueState::Stopped, Capacity::Percent(100.0))
    );
    assert_eq!(ml.maximum_allocation, Some(ResourceVector::new(8_192, 4)));
    assert_eq!(ml.default_node_label_expression.as_deref(), Some("gpu"));
    assert_eq!(queue(&of_toml, "root").accessible_node_labels, None);
    assert_eq!(of_toml.tree.max_parallel_apps_of["batch"], 50);

    let of_xml = read_as(
        "capacity-scheduler.xml",
        &CAPACITY_SCHEDULER
            .replace(",yarn.io/gpu=2", "")
            .replace("16384", "8192")
            .replace("vcores=8", "vcores=4"),
        context(),
    );
    assert!(of_xml.errors.is_empty(), "{}", errors(&of_xml));
    let paths =
        |reading: &QueueReading| reading.tree.queues.iter().map(|q| q.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&of_xml), paths(&of_toml), "in the order of the file");
    for path in ["root", "root.etl", "root.adhoc", "root.adhoc.small", "root.adhoc.large", "root.ml"] {
        let (one, other) = (queue(&of_xml, path), queue(&of_toml, path));
        assert_eq!(one.capacities[""], other.capacities[""], "{path}");
        assert_eq!(one.acl_submit_applications, other.acl_submit_applications, "{path}");
    }
    assert_eq!(queue(&of_xml, "large").user_weights["j.r"], 2.5);
}

#[test]
fn every_fault_of_a_file_is_told_with_its_line() {
    let reading = read_as("broken.xml", BROKEN, context());
    let text = errors(&reading);
    for told in [
        "broken.xml:2), accepted is each name once; b is there twice",
        "broken.xml:2), accepted is names of 1 to 255",
        "add up to 90 %, accepted is 100 %",
        "root.a is guaranteed 50 % of the cluster and may have 40 % of it",
        "\"DRAINING\"",
        "fifo or fair, for a queue without children",
        "\"120\"",
        "\"alice, bob\"",
        "here are a percentage and a weight",
        "root.c.x cannot be RUNNING below root.c",
        "root.lost has children and is not itself listed in root.queues",
        "memory-mb is 999999, the cluster's containers have 1024 to 8192",
        "a label that the queue may use",
        "the default lifetime 20 s must not be above the maximum 10 s",
        "a number 0 to 1 (100 / minimum-user-limit-percent)",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(reading.errors.len(), 15, "{text}");
    assert!(warnings(&reading).contains("did you mean maximum-applications?"));
    assert_eq!(reading, read_as("broken.xml", BROKEN, context()).with_paths_of(&reading));
}

impl QueueReading {
    /// Each reading of a test has another directory, which is all that may differ.
    fn with_paths_of(mut self, other: &Self) -> Self {
        assert_eq!(self.errors.len(), other.errors.len());
        for (one, other) in self.errors.iter().zip(&other.errors) {
            let file =
                |error: &ConfigError| error.to_string().split("broken.xml").skip(1).collect::<String>();
            let without = |text: String| text.split('(').next().unwrap_or_default().to_owned();
            assert_eq!(without(file(one)), without(file(other)));
        }
        self.errors.clone_from(&other.errors);
        self.warnings.clone_from(&other.warnings);
        self
    }
}

#[test]
fn siblings_add_up_or_are_refused() {
    refused(&xml(&[("root.queues", "a"), ("root.a.capacity", "99")]), &["root.a.capacity", "99 %", "100 %"]);
    assert!(xml(&[("root.queues", "a"), ("root.a.capacity", "99.96")]).errors.is_empty());
    let zero = [("root.queues", "a"), ("root.a.capacity", "0"), ("root.allow-zero-capacity-sum", "true")];
    assert!(xml(&zero).errors.is_empty());
    refused(&xml(&zero[..2]), &["add up to 0 %"]);
    refused(&xml(&[("root.queues", "a"), ("root.a.capacity", "0w")]), &["add up to 0: one must be more"]);
    refused(&xml(&[("root.queues", "a,b")]), &["no queue below root has a capacity"]);
    refused(&xml(&[("maximum-applications", "5")]), &["yarn.scheduler.capacity.root.queues is missing"]);
    let one_without = xml(&[("root.queues", "a,b"), ("root.a.capacity", "60")]);
    refused(&one_without, &["60 %", "a queue without one has 0"]);
}

/// As in YARN: 0 goes with every form, and below a queue that is guaranteed nothing, or has a weight, nothing adds up to 0.
#[test]
fn nothing_goes_with_every_form_and_below_nothing() {
    let with_zero = |capacity: &str| {
        xml(&[("root.queues", "default,a"), ("root.default.capacity", "0"), ("root.a.capacity", capacity)])
    };
    assert_eq!(queue(&with_zero("3w"), "a").capacities[""].capacity, Capacity::Weight(3.0));
    let amount = Capacity::Absolute(ResourceVector::new(4_096, 4));
    assert_eq!(queue(&with_zero("[memory=4096,vcores=4]"), "a").capacities[""].capacity, amount);
    refused(&with_zero("50"), &["50 %"]);
    let below = |of_parent: &'static str, child: &'static [(&'static str, &'static str)]| {
        let parent = [("root.queues", "a,b"), ("root.a.capacity", of_parent), ("root.a.queues", "x,y")];
        let sibling = [("root.b.capacity", if of_parent.ends_with('w') { "1w" } else { "100" })];
        xml(&[&parent[..], &sibling, child].concat())
    };
    let zeros: &[_] = &[("root.a.x.capacity", "0"), ("root.a.y.capacity", "0")];
    for of_parent in ["0", "2w"] {
        for child in [zeros, &[]] {
            assert_eq!(errors(&below(of_parent, child)), "", "{of_parent} {child:?}");
        }
    }
    let text = errors(&below("0", &[("root.a.x.capacity", "50")]));
    assert!(text.contains("below root.a add up to 50 %"), "{text}");
}

/// A queue with children says weights for those below it: their least shares count, not its own of 100 %.
#[test]
fn weights_of_users_are_compared_with_the_least_share_of_the_queues_they_count_in() {
    let weights = |of_b: &'static str| {
        halves(&[
            ("root.user-settings.eve.weight", "4"),
            ("root.a.minimum-user-limit-percent", "25"),
            ("root.b.minimum-user-limit-percent", of_b),
        ])
    };
    let reading = weights("10");
    assert_eq!(
        (queue(&reading, "a").user_weights["eve"], queue(&reading, "b").user_weights["eve"]),
        (4.0, 4.0)
    );
    refused(
        &weights("50"),
        &[
            "root.user-settings.eve.weight",
            "root.b.minimum-user-limit-percent",
            "user eve weighs 4",
            "at most 2",
        ],
    );
    refused(&halves(&[("root.user-settings.eve.weight", "-1")]), &["a number of 0 or more"]);
}

/// Were it taken, every ask without a label would be refused for the queue's.
#[test]
fn a_default_label_does_not_count_where_labels_are_off() {
    let text = "[queues.root.a]\ncapacity = 100\ndefault_node_label_expression = \"gpu\"\n[queues.root.a.x]\ncapacity = 100\n";
    let reading = read_as("q.toml", text, QueueContext { node_labels_enabled: false, ..context() });
    assert!(warnings(&reading).contains("node labels are off"), "{}", warnings(&reading));
    for path in ["root.a", "x"] {
        assert_eq!(queue(&reading, path).default_node_label_expression, None);
    }
    assert_eq!(queue(&toml(text), "x").default_node_label_expression.as_deref(), Some("gpu"));
}

#[test]
fn amounts_stay_within_their_parents() {
    let amounts = |x: &str, parent: &str| {
        xml(&[
            ("root.queues", "a"),
            ("root.a.capacity", parent),
            ("root.a.queues", "x,y"),
            ("root.a.x.capacity", x),
            ("root.a.y.capacity", "[memory=4096,vcores=4]"),
        ])
    };
    assert!(amounts("[memory=4096,vcores=4]", "[memory=8192,vcores=8]").errors.is_empty());
    refused(&amounts("[memory=4Gi,vcores=5]", "[memory=8192,vcores=8]"), &["vcores", "have 9, it has 8"]);
    refused(&amounts("[memory=1,vcores=1]", "100"), &["need an amount for it as well"]);
    let below = [
        ("root.queues", "a"),
        ("root.a.capacity", "[memory=9]"),
        ("root.a.queues", "x"),
        ("root.a.x.capacity", "100"),
    ];
    refused(&xml(&below), &["has an amount, so the queues below it need amounts"]);
    let bounded = |maximum: &str| {
        xml(&[("root.queues", "a"), ("root.a.capacity", "[memory=9]"), ("root.a.maximum-capacity", maximum)])
    };
    refused(&bounded("[memory=8]"), &["9 guaranteed is above the maximum 8"]);
    assert!(bounded("[memory=9]").errors.is_empty());
}

#[test]
fn labels_are_checked_against_access_and_add_up_by_themselves() {
    let gpu = |a: &str, b: &str| {
        halves(&[
            ("root.a.accessible-node-labels.gpu.capacity", a),
            ("root.b.accessible-node-labels.gpu.capacity", b),
        ])
    };
    assert!(gpu("30", "70").errors.is_empty() && gpu("0", "0").errors.is_empty());
    refused(&gpu("30", "60"), &["of label gpu", "90 %"]);
    refused(
        &halves(&[
            ("root.a.accessible-node-labels", " "),
            ("root.a.accessible-node-labels.gpu.capacity", "100"),
        ]),
        &["root.a may not use label gpu"],
    );
    refused(
        &halves(&[("root.accessible-node-labels", "gpu"), ("root.a.accessible-node-labels", "gpu,ssd")]),
        &["labels that root may use; ssd"],
    );
    let unknown = halves(&[("root.a.accessible-node-labels.ssd.capacity", "100")]);
    assert!(warnings(&unknown).contains("heddle label add"), "{}", warnings(&unknown));
    refused(&halves(&[("root.a.accessible-node-labels", "a b")]), &["\"a b\" is none"]);
    // Its own share of the label is 0, so there is nothing for the queues below.
    let nothing = halves(&[
        ("root.b.accessible-node-labels.gpu.capacity", "100"),
        ("root.a.queues", "x"),
        ("root.a.x.capacity", "100"),
        ("root.a.x.accessible-node-labels.gpu.capacity", "100"),
    ]);
    refused(&nothing, &["root.a has nothing of label gpu to share"]);
}

#[test]
fn states_lifetimes_and_orders_are_taken_over_from_the_parent() {
    let reading = halves(&[
        ("root.ordering-policy", "priority-utilization"),
        ("root.a.state", "stopped"),
        ("root.a.queues", "x"),
        ("root.a.x.capacity", "100"),
        ("root.a.maximum-application-lifetime", "60"),
        ("root.a.maximum-allocation-mb", "2048"),
        ("root.a.user-settings.eve.weight", "0.5"),
        ("root.b.maximum-application-lifetime", "0"),
    ]);
    let below = queue(&reading, "x");
    assert_eq!((below.state, below.maximum_application_lifetime_s), (QueueState::Stopped, Some(60)));
    assert_eq!(below.maximum_allocation, Some(ResourceVector::new(2_048, 4)));
    assert_eq!(below.user_weights["eve"], 0.5);
    assert_eq!(queue(&reading, "root.a").queue_order, QueueOrder::PriorityUtilization);
    assert!(!queue(&reading, "root.a").is_leaf);
    assert_eq!(queue(&reading, "b").maximum_application_lifetime_s, None);
    assert!(!below.acl_submit_applications.admits("eve", &[]), "nobody more than above");
    assert!(queue(&reading, "root").acl_submit_applications.is_all);
}

#[test]
fn what_is_not_supported_is_named_with_the_reason_unless_it_is_off() {
    for (key, value, told) in [
        ("queue-mappings", "u:a:b", "mapping rules"),
        ("schedule-asynchronously.enable", "true", "always asynchronous"),
        ("root.a.auto-create-child-queue.enabled", "true", "not created by themselves"),
        ("root.a.leaf-queue-template.capacity", "5", "not created by themselves"),
        ("root.a.reservable", "true", "time reservations"),
        ("root.a.acl_application_max_priority", "[user=x max_priority=3]", "priorities by user"),
        ("root.a.nonsense", "1", "is not a key"),
        ("root.a.capacty", "1", "did you mean capacity?"),
        ("root.zz.capacity", "5", "root.zz is not listed in root.queues"),
        ("nonsense", "1", "is not a key"),
        ("rootx.a.capacity", "1", "is not a key"),
        ("root.capacity", "90", "root always has everything"),
        ("root.a.ordering-policy", "fifo-with-partitions", "taken as fifo"),
        ("root.a.default-application-priority", "3", "taken as 0"),
    ] {
        let reading = halves(&[(key, value)]);
        assert!(reading.errors.is_empty(), "{key}: {}", errors(&reading));
        let text = warnings(&reading);
        assert!(
            text.contains(told) && text.contains(key) && text.contains("capacity-scheduler.xml:5"),
            "{text}"
        );
        assert_eq!(reading.warnings.len(), 1, "{text}");
    }
    for (key, value) in [
        ("queue-mappings", ""),
        ("root.a.auto-create-child-queue.enabled", "false"),
        ("root.a.disable_preemption", "true"),
        ("root.a.acl_application_max_priority", "*"),
        ("legacy-queue-mode.enabled", "true"),
    ] {
        assert_eq!(warnings(&halves(&[(key, value)])), "", "{key}");
    }
    let twice = xml(&[
        ("root.queues", "a"),
        ("root.a.capacity", "100"),
        ("root.a.queues", "a"),
        ("root.a.a.capacity", "100"),
    ]);
    assert!(warnings(&twice).contains("a alone names no queue: root.a and root.a.a end in it"));
}

#[test]
fn properties_are_as_in_hadoop() {
    let read = |text: &str| read_as("c.xml", text, context());
    let property = |key: &str, value: &str, more: &str| {
        format!(
            "<property><name> yarn.scheduler.capacity.{key} </name><value>{value}</value>{more}</property>"
        )
    };
    let base = property("root.queues", "a", "") + &property("root.a.capacity", "100", "");
    let of = |text: &str| {
        read(&format!("\u{feff}<?xml version=\"1.0\"?><!-- x --><configuration>{base}{text}</configuration>"))
    };
    let later = of(&(property("root.a.priority", "1", "") + &property("root.a.priority", "2", "")));
    assert_eq!(queue(&later, "a").priority, 2);
    assert!(warnings(&later).contains("counts instead of \"1\""));
    let last =
        of(&(property("root.a.priority", "1", "<final>true</final>")
            + &property("root.a.priority", "2", "")));
    assert_eq!(queue(&last, "a").priority, 1);
    assert!(warnings(&last).contains("does not count: it is final"));
    let escaped = of(&property("root.a.acl_submit_applications", "&lt;x&#x3e;<![CDATA[&]]>", ""));
    assert_eq!(&*queue(&escaped, "a").acl_submit_applications.users, &[Box::<str>::from("<x>&")]);
    let short = of("<property name=\"yarn.scheduler.capacity.root.a.priority\" value=\"7\"/>");
    assert_eq!(queue(&short, "a").priority, 7);
    let unknown = of(&property("root.a.priority", "${nobody.knows}", ""));
    assert!(errors(&unknown).contains("${nobody.knows}") && warnings(&unknown).contains("stays as it is"));
    let circle = of("<property><name>x</name><value>${x}</value></property>");
    assert!(circle.errors.is_empty() && warnings(&circle).contains("stays as it is"));

    for (text, told) in [
        ("<configuration>", "c.xml:1 is not XML: it ends within <configuration>"),
        ("<x/>", "begins with <x>"),
        ("<configuration>\n\n<property><name>a</nam></property></configuration>", "c.xml:3 is not XML"),
        (
            "<configuration>\n<property><value>a</value></property></configuration>",
            "c.xml:2 is not XML: a property without a name",
        ),
        ("<configuration><a>&b;</a></configuration>", "&b; is not known"),
        ("", "c.xml:1 is not XML: it has no <configuration>"),
        ("# queues\n[queues.root]", "c.xml:1 is not XML: there is text outside"),
        ("<configuration/>", "root.queues is missing ("),
        ("<configuration>\n<xi:include href=\"none.xml\"/></configuration>", "none.xml"),
        ("<configuration><xi:include href=\"c.xml\"/></configuration>", "more than 8 files included"),
        ("<configuration a='1' ", "c.xml:1 is not XML"),
    ] {
        let found = errors(&read(text));
        assert!(found.contains(told), "{text}: {found}");
    }
    let deep = "<a>".repeat(20);
    assert!(errors(&read(&format!("<configuration>{deep}"))).contains("in one another"));
}

#[test]
fn files_may_include_others_and_name_variables() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("shares.xml"), "<configuration><property><name>yarn.scheduler.capacity.root.a.capacity</name><value>${env.SHARE:-100}</value></property></configuration>").unwrap();
    fs::write(at("q.xml"), "<configuration xmlns:xi=\"http://www.w3.org/2001/XInclude\"><xi:include href=\"shares.xml\"/><property><name>yarn.scheduler.capacity.root.queues</name><value>a,${more}</value></property><property><name>more</name><value>b</value></property></configuration>").unwrap();
    let mut files = QueueFiles { path: Some(at("q.xml")), context: context(), ..QueueFiles::default() };
    assert_eq!(files.read().unwrap().queues.len(), 3);
    files.environment = vec![("SHARE".into(), "70".into())];
    let told = files.read().unwrap_err().to_string();
    assert!(told.contains("shares.xml:1") && told.contains("70 %"), "{told}");
    fs::remove_file(at("q.xml")).unwrap();
    assert!(matches!(&files.read().unwrap_err().0[..], [ConfigError::Unreadable { .. }]));
    let none = QueueFiles { context: context(), ..QueueFiles::default() };
    assert_eq!(none.read().unwrap(), QueueTree::default());
}

#[test]
fn toml_refuses_what_it_does_not_know_with_the_nearest() {
    let base = "[queues.root.a]\ncapacity = 100\n";
    for (text, told) in [
        ("maximum_capcity = 5", "did you mean maximum_capacity?"),
        ("queues = \"x\"", "queues.root.a.queues"),
        ("labels.gpu.capcity = 5", "queues.root.a.labels.gpu.capcity"),
        ("users.x = 5", "queues.root.a.users.x"),
        ("users.x.weigth = 5", "queues.root.a.users.x.weight?"),
        ("capacity_ = 5", "queues.root.a.capacity_"),
        ("state = 1979-05-27", "queues.root.a.state is a datetime"),
        ("state = \"GONE\"", "queues.root.a.state is \"GONE\""),
        ("maximum_allocation = { memory_mb = [1] }", "queues.root.a.maximum_allocation"),
        ("[queue.root]", "queue "),
        ("[queues.top]", "queues.top"),
        ("[scheduler]\nmaximum_aplications = 1", "did you mean scheduler.maximum_applications?"),
        ("[queues.root.a.\"b c\"]\ncapacity = 100", "names of 1 to 255"),
        ("state = ", "queues.toml:3 is not TOML"),
    ] {
        refused(&toml(&format!("{base}{text}\n")), &[told, "queues.toml:"]);
    }
    let dotted = toml("queues.root.a.capacity = \"[memory=9Gi,vcores=3]\"\n");
    let amount = Capacity::Absolute(ResourceVector::new(9_216, 3));
    assert_eq!(queue(&dotted, "a").capacities[""].capacity, amount);
    let table =
        toml("[queues.root.a]\ncapacity = { memory_mb = 9216, vcores = 3 }\nmaximum_capacity = \"-1\"\n");
    assert_eq!(queue(&table, "a").capacities[""].capacity, amount);
    let deep = format!("[queues.root{}]\ncapacity = 100\n", ".a".repeat(70));
    assert!(!toml(&deep).errors.is_empty());
}

#[test]
fn access_control_lists_that_would_mean_something_else_are_refused() {
    for text in ["*", " ", "", "alice", "alice,bob ops,dev", " ops", "alice ", " * ", "alice  ops"] {
        assert!(is_acl(text), "{text:?}");
    }
    for text in ["alice, bob", "a b c", "alice,,bob", "al\tice", "alice ,bob"] {
        assert!(!is_acl(text), "{text:?}");
    }
}

#[test]
fn a_tree_that_is_too_deep_or_too_wide_is_refused() {
    let mut properties: Vec<(String, String)> = Vec::new();
    let mut path = "root".to_owned();
    for _ in 0..40 {
        properties.push((format!("{path}.queues"), "a".into()));
        path.push_str(".a");
        properties.push((format!("{path}.capacity"), "100".into()));
    }
    let borrowed: Vec<(&str, &str)> = properties.iter().map(|(key, value)| (&**key, &**value)).collect();
    let reading = xml(&borrowed);
    assert!(errors(&reading).contains("at most 32 queues one below the other"), "{}", errors(&reading));
    let names = (0..100_001).map(|index| format!("q{index}")).collect::<Vec<_>>().join(",");
    let reading = xml(&[("root.queues", &names)]);
    assert!(errors(&reading).contains("at most 100000 queues"));
}
