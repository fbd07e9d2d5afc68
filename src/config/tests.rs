//! Configuration as its users meet it: what wins, what is refused, and how it is said.

use core::time::Duration;
use std::fs;

use super::*;
use crate::engine::application::settings::ApplicationSettings;
use crate::engine::scheduler::resource::ResourceVector;
use crate::engine::scheduler::settings::{Calculator, SchedulerSettings, UnknownContainers};
use crate::engine::settings::{NodeLists, ShardSettings};
use crate::pki::Role;

fn from_file(text: &str) -> Result<RmConfig, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heddle.toml");
    fs::write(&path, text).unwrap();
    RmConfig::load(&ConfigSources { file: Some(path), ..Default::default() })
}

fn from_flags(flags: &[(&str, &str)]) -> Result<RmConfig, ConfigErrors> {
    let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), "--set"));
    RmConfig::load(&ConfigSources { flags: flags.collect(), ..Default::default() })
}

fn from_environment(variables: &[(&str, &str)]) -> Result<RmConfig, ConfigErrors> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    RmConfig::load(&ConfigSources { environment: environment.collect(), ..Default::default() })
}

fn entry(config: &RmConfig, key: &str) -> Entry {
    config.entries().iter().find(|entry| entry.key == key).unwrap().clone()
}

#[test]
fn the_defaults_are_accepted_and_are_the_engines() {
    let config = from_flags(&[("runtime.engine_threads", "1")]).unwrap();
    assert_eq!(config.shard_settings(0, 0, NodeLists::default()), ShardSettings::default());
    assert_eq!(config.entries().len(), key::ALL.len());
    assert_eq!(config.scheduler_settings(0), SchedulerSettings::default());
    assert_eq!(config.application_settings(0), ApplicationSettings::default());
    assert!(config.warnings().is_empty());
    assert_eq!(config.listen.to_string(), "127.0.0.1:8031");
    assert_eq!(config.transport.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.transport.streams_per_connection, 4);
    assert_eq!(config.transport.socket_buffer_size, 16 * 1024 * 1024);
    assert_eq!(config.transport.receive_window(Role::Node), 2 * 1024 * 1024);
    assert!(config.recorder.is_none());
}

/// Each number arrives in its field whole, also at the ends of its range: none is cut to a smaller type.
#[test]
fn every_number_is_accepted_at_both_ends_of_its_range_and_not_beyond() {
    for key in key::ALL {
        let (key::Kind::Integer(min, max) | key::Kind::IntegerOrAuto(min, max)) = key.kind else { continue };
        for number in [min - 1, max + 1] {
            let errors = from_flags(&[(key.name, &number.to_string())]).unwrap_err();
            let accepted = format!("{min} to {max}");
            assert!(
                matches!(&errors.0[..], [ConfigError::BadValue { key: found, accepted: told, .. }]
                    if found == key.name && told.contains(&accepted)),
                "{errors}"
            );
        }
        for number in [min, max] {
            // Rules between keys may object, ranges may not.
            match from_flags(&[(key.name, &number.to_string())]) {
                Ok(config) => assert_eq!(entry(&config, key.name).value, number.to_string()),
                Err(errors) => assert!(
                    errors.0.iter().all(|error| matches!(error, ConfigError::Impossible { .. })),
                    "{errors}"
                ),
            }
        }
    }
    let config = from_flags(&[
        ("minimum.memory_mb", &(1i64 << 40).to_string()),
        ("minimum.virtual_cores", "1_000_000"),
        ("recorder.dir", "r"),
        ("recorder.size_max_bytes", &(1i64 << 50).to_string()),
    ])
    .unwrap();
    let shard = config.shard_settings(0, 0, NodeLists::default());
    assert_eq!((shard.minimum.memory_mb, shard.minimum.virtual_cores), (1 << 40, 1_000_000));
    assert_eq!(config.recorder.unwrap().size_max, 1 << 50);
}

/// A bound just above the largest frame was accepted: a piece of answers has up to a frame more than a mebibyte, so that a
/// peer with two listings under way was cut however fast it read.
#[test]
fn what_is_kept_for_a_slow_reader_holds_a_piece_of_answers() {
    use crate::engine::batch::{ANSWERS_SIZE_MAX, PIECE_SIZE_MAX};
    use heddle_wire::frame::FRAME_SIZE_MAX;
    const { assert!(PIECE_SIZE_MAX >= ANSWERS_SIZE_MAX + FRAME_SIZE_MAX) };
    let with = |bytes: usize| from_flags(&[("transport.slow_reader_bytes", &bytes.to_string())]);
    let text = with(FRAME_SIZE_MAX + 1).unwrap_err().to_string();
    for part in ["transport.slow_reader_bytes", "1048609", "2097184 to 1073741824"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(with(PIECE_SIZE_MAX).unwrap().transport.slow_reader_size, PIECE_SIZE_MAX);
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heddle.toml");
    fs::write(
        &path,
        "# a comment\n[heartbeat]\ninterval_ms = 1_500\ninterval_max_ms = 11000\n[http]\naddress = \"off\"\n",
    )
    .unwrap();
    let sources = ConfigSources {
        file: Some(path.clone()),
        environment: vec![
            ("PATH".into(), "/bin".into()),
            ("HEDDLE_RM_ADDRESS".into(), "far:1".into()),
            ("HEDDLE_HEARTBEAT__INTERVAL_MS".into(), "1600".into()),
            ("HEDDLE_HEARTBEAT__INTERVAL_MAX_MS".into(), "12000".into()),
        ],
        flags: vec![("heartbeat.interval_ms".into(), "1700".into(), "--set")],
    };
    let config = RmConfig::load(&sources).unwrap();
    let shard = config.shard_settings(0, 7, NodeLists::default());
    assert_eq!(shard.rm_identifier, 7);
    assert_eq!(shard.heartbeat.interval, Duration::from_millis(1_700));
    assert_eq!(shard.heartbeat.interval_max, Duration::from_millis(12_000));
    assert_eq!(config.http, None);
    assert_eq!(entry(&config, "heartbeat.interval_ms").origin, Origin::Flag("--set"));
    let origin = entry(&config, "heartbeat.interval_max_ms").origin.to_string();
    assert_eq!(origin, "environment HEDDLE_HEARTBEAT__INTERVAL_MAX_MS");
    assert_eq!(entry(&config, "http.address").origin, Origin::File(path, 6));
    assert_eq!(entry(&config, "log.level").origin, Origin::Default);
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand_with_the_nearest_one() {
    let errors = from_file("[heartbeat]\ninterval = 5\n[hartbeat]\ninterval_ms = 1000\n").unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("heartbeat.interval (") && text.contains("heddle.toml:2)"), "{text}");
    assert!(
        text.contains("hartbeat.interval_ms") && text.contains("did you mean heartbeat.interval_ms?"),
        "{text}"
    );
    for text in [
        "interval_ms = 5",
        "[[heartbeat]]\nx = 1",
        "[heartbeat.interval_ms]\nx = 1",
        "[[node_class]]\nnom = \"x\"",
    ] {
        assert!(from_file(text).is_err(), "{text}");
    }
    let text = from_environment(&[("HEDDLE_NODES__MAXX", "5")]).unwrap_err().to_string();
    assert!(text.contains("HEDDLE_NODES__MAXX") && text.contains("nodes.max?"), "{text}");
    let text = from_environment(&[("HEDDLE_NODES_MAX", "5")]).unwrap_err().to_string();
    assert!(text.contains("did you mean HEDDLE_NODES__MAX?"), "{text}");
    let text = from_flags(&[("nodes.ma", "5")]).unwrap_err().to_string();
    assert!(text.contains("flag --set") && text.contains("nodes.max?"), "{text}");
}

#[test]
fn values_of_another_kind_are_refused_with_what_is_accepted() {
    for (key, value, accepted) in [
        ("heartbeat.interval_ms", "fast", "10 to 600000"),
        ("heartbeat.interval_ms", "1.5", "10 to 600000"),
        ("heartbeat.interval_ms", "", "10 to 600000"),
        ("heartbeat.interval_ms", "99999999999999999999", "10 to 600000"),
        ("heartbeat.scaling", "yes", "true or false"),
        ("listen.address", "localhost:8031", "IP:port"),
        ("listen.address", "off", "IP:port"),
        ("http.address", "8088", "or off"),
        ("runtime.net_threads", "0", "or auto"),
        ("log.format", "xml", "text or json"),
        ("log.level", "heddle=loud", "a level"),
        ("minimum.nm_version", "three", "NONE, EqualToRM"),
        ("pki.dir", "a\0b", "a path"),
    ] {
        let errors = from_flags(&[(key, value)]).unwrap_err();
        let text = errors.to_string();
        assert_eq!(errors.0.len(), 1, "{text}");
        assert!(text.starts_with(key) && text.contains(accepted) && text.contains("--set"), "{text}");
    }
    for text in [
        "interval_ms = \"1000\"",
        "interval_ms = 1000.0",
        "interval_ms = [1]",
        "scaling = 1",
        "scaling = \"true\"",
    ] {
        assert!(from_file(&format!("[heartbeat]\n{text}\n")).is_err(), "{text}");
    }
}

#[test]
fn impossible_combinations_are_refused_with_both_values() {
    for flags in [
        &[("heartbeat.interval_min_ms", "2000")][..],
        &[("heartbeat.interval_ms", "20000")],
        &[("liveliness.suspect_after_ms", "600000")],
        &[("liveliness.suspect_after_ms", "9999")],
        &[("transport.idle_timeout_ms", "19999")],
        &[("transport.stream_receive_window_bytes", "2097153")],
        &[("nodes.include_path", "hosts"), ("nodes.exclude_path", "hosts")],
        &[("pki.certificate", "c.pem")],
        &[("pki.dir", "")],
    ] {
        let errors = from_flags(flags).unwrap_err();
        let ConfigError::Impossible { values, .. } = &errors.0[0] else { panic!("{errors}") };
        assert!(values.len() >= 2 && values.iter().any(|(key, ..)| key == flags[0].0), "{errors}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let errors =
        from_flags(&[("nodes.max", "0"), ("log.format", "xml"), ("brake.limit_s", "-3")]).unwrap_err();
    assert_eq!(errors.0.len(), 3, "{errors}");
}

#[test]
fn classes_are_read_in_order_and_end_with_the_default() {
    let config = from_file(
        "[[node_class]]\nname = \"gpu\"\nhosts = \"gpu-*\"\nlost_after_ms = 1800000\n\
         [[node_class]]\nname = \"edge\"\nhosts = \"*.edge\"\nsuspect_after_ms = 60000\n\
         [liveliness]\nlost_after_ms = 300000\n",
    )
    .unwrap();
    let classes = config.shard_settings(0, 0, NodeLists::default()).classes;
    let told: Vec<_> = classes
        .iter()
        .map(|c| (&*c.name, &*c.hosts, c.suspect_after.as_secs(), c.lost_after.as_secs()))
        .collect();
    assert_eq!(told, [("gpu", "gpu-*", 30, 1_800), ("edge", "*.edge", 60, 300), ("default", "*", 30, 300)]);
    assert_eq!(entry(&config, "node_class[1].hosts").value, "*.edge");
}

#[test]
fn bad_classes_are_refused() {
    let class = |text: &str| from_file(&format!("[[node_class]]\n{text}\n"));
    for (text, wanted) in [
        ("hosts = \"a\"", "node_class[0].name is a missing value"),
        ("name = \"a\"", "node_class[0].hosts is a missing value"),
        ("name = \"default\"\nhosts = \"a\"", "not \"default\""),
        ("name = \"a\"\nhosts = \"*\"", "node_class[0].hosts is \"*\""),
        ("name = \"a\"\nhosts = \"a*b*\"", "one *"),
        ("name = \"a\"\nhosts = \"a\"\nlost_after_ms = 1", "30 to"),
        ("name = \"a\"\nhosts = \"a\"\nlost_after_ms = 20000", "suspect before it is lost"),
        ("name = \"a\"\nhosts = \"a\"\nsuspect_after_ms = 5000", "longest interval"),
        ("name = \"a\"\nhosts = \"a\"\n[[node_class]]\nname = \"a\"\nhosts = \"b\"", "node_class[1].name"),
    ] {
        let told = class(text).unwrap_err().to_string();
        assert!(told.contains(wanted), "{text}: {told}");
    }
    let many = "[[node_class]]\nname = \"a\"\nhosts = \"a\"\n".repeat(65);
    assert!(from_file(&many).unwrap_err().to_string().contains("at most 64"));
}

#[test]
fn files_that_are_missing_or_not_toml_are_named_with_the_line() {
    let errors = from_file("[heartbeat]\ninterval_ms = \n").unwrap_err();
    assert!(matches!(&errors.0[..], [ConfigError::Syntax { line: 2, .. }]), "{errors:?}");
    let missing = ConfigSources { file: Some("/nowhere/heddle.toml".into()), ..Default::default() };
    assert!(matches!(&RmConfig::load(&missing).unwrap_err().0[..], [ConfigError::Unreadable { .. }]));
}

#[test]
fn shards_share_the_node_table_with_room_for_uneven_hashing() {
    let config = from_flags(&[("runtime.engine_threads", "4"), ("nodes.max", "1000000")]).unwrap();
    let shard = config.shard_settings(3, 0, NodeLists::default());
    assert_eq!((shard.shard, shard.shard_count), (3, 4));
    assert!(shard.nodes_max > 275_000 && shard.nodes_max < 300_000, "{}", shard.nodes_max);
    assert_eq!(config.runtime.engine_threads, 4);
}

#[test]
fn as_many_nodes_as_are_accepted_fit_their_shards() {
    for (nodes, shards) in [(10, 2), (1_000, 4), (10_000, 16), (100_000, 3)] {
        let flags = [("nodes.max", nodes.to_string()), ("runtime.engine_threads", shards.to_string())];
        let flags = flags.each_ref().map(|(key, value)| (*key, value.as_str()));
        let rows = from_flags(&flags).unwrap().shard_settings(0, 0, NodeLists::default()).nodes_max;
        let mut counts = vec![0u32; shards];
        for node in 0..nodes {
            let key = heddle_wire::record::NodeId::new(format!("node-{node}.rack{}", node % 40), 45_454)
                .routing_key();
            counts[(key % shards as u64) as usize] += 1;
        }
        let fullest = counts.into_iter().max().unwrap();
        assert!(fullest <= rows, "{nodes} nodes on {shards} shards: {fullest} of {rows}");
    }
}

#[test]
fn threads_follow_the_number_of_cores() {
    for (cores, threads) in
        [(0, (1, 1)), (1, (1, 1)), (2, (1, 1)), (4, (2, 1)), (8, (5, 2)), (32, (23, 8)), (128, (64, 16))]
    {
        assert_eq!(RuntimeSettings::threads_for(cores), threads, "{cores}");
        assert!(threads.0 + threads.1 <= cores.max(2));
    }
    assert_eq!(RuntimeSettings::threads_for(10_000), (64, 16));
}

#[test]
fn the_pki_directory_may_come_from_the_clients_variable() {
    let config = from_environment(&[("HEDDLE_PKI_DIR", "/a")]).unwrap();
    assert_eq!(config.pki.ca, std::path::Path::new("/a/ca.pem"));
    let config = from_environment(&[("HEDDLE_PKI_DIR", "/a"), ("HEDDLE_PKI__DIR", "/b")]).unwrap();
    assert_eq!(config.pki.key, std::path::Path::new("/b/resourcemanager.key"));
}

#[test]
fn the_example_file_is_the_tables_and_is_accepted_with_every_key_uncommented() {
    assert_eq!(include_str!("heddle.toml.example"), example(), "write it again from `heddle config example`");
    // A line of the form `# key = value`; prose with an equals sign has a space before it.
    let is_setting = |line: &str| {
        line.strip_prefix("# ")
            .and_then(|rest| rest.split_once(" = "))
            .is_some_and(|(key, _)| !key.contains(' '))
    };
    let text: String = example()
        .lines()
        .map(|line| if is_setting(line) || line.starts_with("# [[") { &line[2..] } else { line })
        .map(|line| format!("{line}\n"))
        .collect();
    let config = from_file(&text).unwrap();
    let set = config.entries().iter().filter(|entry| entry.origin != Origin::Default).count();
    // A class and a resource type have four keys each.
    assert_eq!(set, key::ALL.len() + 8, "{text}");
}

#[test]
fn host_lists_are_read_sorted_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (include, exclude) = (dir.path().join("include"), dir.path().join("exclude"));
    fs::write(&include, "# racks\n\n n2 # second\nn1\r\nn2\n").unwrap();
    fs::write(&exclude, "b 600\na\t-1\nc\nb 700 # later\n").unwrap();
    let files = NodeListFiles { include: Some(include.clone()), exclude: Some(exclude.clone()) };
    let lists = files.read().unwrap();
    assert_eq!(lists.include.iter().map(|host| &**host).collect::<Vec<_>>(), ["n1", "n2"]);
    let excluded: Vec<_> = lists.exclude.iter().map(|item| (&*item.host, item.timeout_s)).collect();
    assert_eq!(excluded, [("a", Some(-1)), ("b", Some(700)), ("c", None)]);
    assert!(lists.is_valid("n1") && !lists.is_valid("n3"));
    assert_eq!(NodeListFiles::default().read().unwrap(), NodeLists::default());

    for bad in ["a b", "a:80", &"x".repeat(254)] {
        fs::write(&include, format!("ok\n{bad}\n")).unwrap();
        let error = files.read().unwrap_err();
        assert!(matches!(error, ConfigError::BadListLine { line: 2, .. }), "{error}");
    }
    fs::write(&include, "n1\n").unwrap();
    fs::write(&exclude, "a soon\n").unwrap();
    assert!(files.read().unwrap_err().to_string().contains("timeout in seconds"));
    fs::remove_file(&exclude).unwrap();
    assert!(matches!(files.read(), Err(ConfigError::Unreadable { .. })));
}

const YARN_SITE: &str = include_str!("../../tests/queue_config/yarn-site.xml");
const CAPACITY_SCHEDULER: &str = include_str!("../../tests/queue_config/capacity-scheduler.xml");

/// A configuration of Hadoop's two files and these lines of `heddle.toml`.
fn from_hadoop(site: &str, queues: &str, own: &str) -> Result<RmConfig, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("yarn-site.xml"), site).unwrap();
    fs::write(at("capacity-scheduler.xml"), queues).unwrap();
    fs::write(at("heddle.toml"), own).unwrap();
    let flag = |key: &str, name: &str| (key.to_owned(), at(name).display().to_string(), "--set");
    RmConfig::load(&ConfigSources {
        file: Some(at("heddle.toml")),
        environment: Vec::new(),
        flags: vec![
            flag("scheduler.yarn_site", "yarn-site.xml"),
            flag("scheduler.queues_file", "capacity-scheduler.xml"),
        ],
    })
}

#[test]
fn hadoops_files_count_where_nothing_of_heddles_own_does() {
    let config =
        from_hadoop(YARN_SITE, CAPACITY_SCHEDULER, "[scheduler]\nmaximum_allocation_mb = 32768\n").unwrap();
    let scheduler = config.scheduler_settings(7);
    assert_eq!((scheduler.rm_identifier, scheduler.calculator), (7, Calculator::Dominant));
    assert_eq!(scheduler.minimum_allocation, ResourceVector::new(512, 1));
    assert_eq!(scheduler.maximum_allocation, ResourceVector::from_amounts(&[32_768, 8, 4]));
    assert_eq!(scheduler.resource_types.index("yarn.io/gpu"), Some(2));
    assert_eq!(scheduler.node_locality_delay, Duration::from_secs(6));
    assert_eq!(scheduler.rack_locality_additional_delay, Duration::from_secs(3));
    assert_eq!(scheduler.am_expiry, Duration::from_secs(300));
    assert!(scheduler.node_labels_enabled && scheduler.queues.acl_enabled);
    assert!(scheduler.queues.admin_acl.admits("eve", &["hadoop-admins".into()]));
    assert_eq!(config.application_settings(7).resource_types, scheduler.resource_types);
    let ml = scheduler.queues.find("ml").unwrap() as usize;
    let largest = ResourceVector::from_amounts(&[16_384, 8, 2]);
    assert_eq!(scheduler.queues.queues[ml].maximum_allocation, Some(largest));

    let origin = |key: &str| entry(&config, key).origin.to_string();
    assert!(
        origin("scheduler.minimum_allocation_mb")
            .ends_with("yarn-site.xml:4, yarn.scheduler.minimum-allocation-mb")
    );
    assert!(
        origin("scheduler.resource_calculator")
            .contains("capacity-scheduler.xml:15, yarn.scheduler.capacity.")
    );
    assert!(origin("scheduler.maximum_allocation_mb").ends_with("heddle.toml:2"));
    assert_eq!(entry(&config, "resource_type[0].name").value, "yarn.io/gpu");

    let warned = |key: &str| config.warnings().iter().filter(|warning| warning.key == key).count();
    for key in [
        "yarn.resourcemanager.hostname",
        "yarn.node-labels.fs-store.root-dir",
        "yarn.resourcemanager.scheduler.client.thread-count",
        "yarn.resourcemanager.max-completed-aplications",
        "yarn.nodemanager.resource.memory-mb",
        "yarn.scheduler.capacity.node-locality-delay",
        "yarn.scheduler.capacity.queue-mappings",
    ] {
        assert_eq!(warned(key), 1, "{key}");
    }
}

/// A slip in the first word must not go unnoticed; what other values name is no slip.
#[test]
fn keys_that_are_not_yarns_are_named_unless_a_value_names_them() {
    let file = |properties: &[(&str, &str)]| {
        let property = |(name, value): &(&str, &str)| {
            format!("<property><name>{name}</name><value>{value}</value></property>")
        };
        format!("<configuration>{}</configuration>", properties.iter().map(property).collect::<String>())
    };
    let site = file(&[
        ("yran.scheduler.minimum-allocation-mb", "2048"),
        ("net.topology.script.file.name", "/etc/racks"),
        ("our.memory", "4096"),
        ("our.share", "100"),
        ("yarn.scheduler.maximum-allocation-mb", "${our.memory}"),
    ]);
    let queues = file(&[
        ("yarn.scheduler.capacity.root.queues", "${all.queues}"),
        ("yarn.scheduler.capacity.root.a.capacity", "${our.share}"),
        ("all.queues", "a"),
        ("capacity.root.a.state", "STOPPED"),
    ]);
    let config = from_hadoop(&site, &queues, "").unwrap();
    assert_eq!(config.scheduler_settings(0).maximum_allocation.memory_mb(), 4_096);
    let named: Vec<&str> = config.warnings().iter().map(|warning| warning.key.as_str()).collect();
    let expected =
        ["capacity.root.a.state", "yran.scheduler.minimum-allocation-mb", "net.topology.script.file.name"];
    assert_eq!(named, expected);
    assert!(config.warnings().iter().all(|warning| warning.to_string().contains("not one of YARN's keys")));
}

#[test]
fn values_of_hadoops_files_are_checked_and_named_as_they_stand_there() {
    let site = |key: &str, value: &str| {
        format!(
            "<configuration>\n<property><name>{key}</name><value>{value}</value></property></configuration>"
        )
    };
    for (key, value, told) in [
        ("yarn.scheduler.minimum-allocation-mb", "lots", "1 to "),
        ("yarn.acl.enable", "perhaps", "true or false"),
        ("yarn.am.liveness-monitor.expiry-interval-ms", "soon", "100 to"),
        ("yarn.node-labels.configuration-type", "delegated-centralized", "administrator or nodes"),
        ("yarn.admin.acl", "a, b", "user1,user2 group1,group2"),
        ("yarn.resource-types", "1x", "beginning with a letter"),
        ("yarn.scheduler.minimum-allocation-mb", "9000", "must not be above the largest"),
    ] {
        let told_all = from_hadoop(&site(key, value), CAPACITY_SCHEDULER, "").unwrap_err().to_string();
        // The sample's queue of GPUs is wrong without that type, and without a larger container.
        let line =
            told_all.lines().find(|line| line.contains(told)).unwrap_or_else(|| panic!("{told}: {told_all}"));
        assert!(line.contains("yarn-site.xml:2") && line.contains(key), "{line}");
    }
}

#[test]
fn resource_types_are_read_from_either_file_and_checked() {
    let config = from_file(
        "[[resource_type]]\nname = \"disk\"\nunits = \"Gi\"\nminimum_allocation = 1\nmaximum_allocation = \"2Ti\"\n",
    )
    .unwrap();
    let scheduler = config.scheduler_settings(0);
    assert_eq!((scheduler.minimum_allocation.get(2), scheduler.maximum_allocation.get(2)), (1, 2_048));
    for (text, told) in [
        ("units = \"Gi\"", "resource_type[0].name is a missing value"),
        ("name = \"vcores\"", "not memory"),
        ("name = \"a/b/c\"", "one / at most"),
        ("name = \"a\"\nunits = \"GB\"", "resource_type[0].units"),
        ("name = \"a\"\nminimum_allocation = -1", "0 or more"),
        ("name = \"a\"\nminimum_allocation = 5\nmaximum_allocation = 4", "must not be above the largest"),
        ("name = \"a\"\n[[resource_type]]\nname = \"a\"", "resource_type[1].name"),
        ("name = \"a\"\ncolour = 1", "resource_type.colour"),
    ] {
        let error = from_file(&format!("[[resource_type]]\n{text}\n")).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn labels_lists_and_groups_are_checked() {
    let config = from_flags(&[
        ("scheduler.node_labels_enabled", "true"),
        ("scheduler.node_labels", "gpu, big:shared"),
        ("scheduler.node_labels_from", "nodes"),
        ("applications.am_default_node_label", "gpu"),
        ("applications.am_blacklist_hosts_max", "3"),
        ("applications.am_max_attempts", "4"),
        ("applications.completed_max", "5"),
        ("scheduler.unknown_containers", "accept"),
    ])
    .unwrap();
    let (scheduler, applications) = (config.scheduler_settings(0), config.application_settings(0));
    let labels: Vec<_> =
        scheduler.node_labels.iter().map(|(name, exclusive)| (&**name, *exclusive)).collect();
    assert_eq!(labels, [("big", false), ("gpu", true)]);
    assert!(scheduler.distributed_labels && scheduler.unknown_containers == UnknownContainers::Accept);
    assert_eq!(applications.am_default_node_label.as_deref(), Some("gpu"));
    assert_eq!(applications.am_blacklisting.map(|setting| setting.hosts_max), Some(3));
    assert_eq!((applications.am_max_attempts, applications.global_am_max_attempts), (4, 4));
    assert_eq!(applications.store_max_completed_applications, 5);
    for (key, value) in [
        ("scheduler.node_labels", "a b"),
        ("applications.am_default_node_label", "-"),
        // Labels are off.
        ("applications.am_default_node_label", "gpu"),
        ("applications.admin_acl", "a, b"),
        ("applications.groups_file", "none/groups"),
    ] {
        assert_eq!(from_flags(&[(key, value)]).unwrap_err().0.len(), 1, "{key}");
    }
}

#[test]
fn a_reload_sees_what_has_changed_and_a_refresh_only_the_queues() {
    let dir = tempfile::tempdir().unwrap();
    let (site, queues) = (dir.path().join("yarn-site.xml"), dir.path().join("queues.toml"));
    let admins = |who: &str| {
        format!(
            "<configuration><property><name>yarn.admin.acl</name><value>{who}</value></property></configuration>"
        )
    };
    fs::write(&site, admins("alice")).unwrap();
    fs::write(&queues, "queues.root.a.capacity = 100\n").unwrap();
    let config = from_flags(&[
        ("scheduler.yarn_site", site.to_str().unwrap()),
        ("scheduler.queues_file", queues.to_str().unwrap()),
    ])
    .unwrap();
    fs::write(&site, admins("bob")).unwrap();
    fs::write(&queues, "queues.root.a.capacity = 50\nqueues.root.b.capacity = 50\n").unwrap();
    let tree = config.queue_files.read().unwrap();
    assert_eq!((tree.queues.len(), tree.admin_acl.admits("alice", &[])), (3, true));
    let again = config.reload().unwrap();
    assert!(again.queues().admin_acl.admits("bob", &[]));
    assert_eq!(again.left_for_restart(&config), Ok(Vec::new()), "access comes with the queues");
    // What the queue file says of the whole scheduler is not the queues'.
    let delayed = "scheduler.node_locality_delay = 8\nqueues.root.a.capacity = 100\n";
    fs::write(&queues, delayed).unwrap();
    let left = config.reload().unwrap().left_for_restart(&config).unwrap();
    let [line] = &left[..] else { panic!("{left:?}") };
    assert!(
        line.starts_with("scheduler.node_locality_delay_ms is 600 (") && line.contains("stays 3000"),
        "{line}"
    );
    fs::write(&site, "<configuration><property><name>yarn.resource-types</name><value>gpu</value></property></configuration>").unwrap();
    let reason = config.reload().unwrap().left_for_restart(&config).unwrap_err();
    assert!(reason.contains("gpu[] now, and memory-mb[Mi], vcores[] since the start"), "{reason}");
    fs::write(&queues, "queues.root.a.capacity = 50\n").unwrap();
    assert!(config.queue_files.read().unwrap_err().to_string().contains("50 %"));
}
