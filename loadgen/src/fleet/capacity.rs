//! What the nodes of a simulated cluster offer: one made-up kind, or a list read from CSV.
//! Owner: [`FleetSpec`](super::FleetSpec). Called by: the command line (reads), the fleet (asks per node).
//! Does not: open files; it reads what it is handed.
//!
//! The CSV has the header `sn,cpu_milli,memory_mib,gpu,model`, as the published Alibaba GPU traces have.

use std::io::Read;
use std::sync::Arc;

use heddle_wire::limits::{HOST_MAX, NAME_MAX};
use heddle_wire::record::{Resource, ResourceInformation};
use thiserror::Error;

use crate::workload::NodeSpec;

/// YARN's name for GPUs.
pub const GPU: &str = "yarn.io/gpu";

/// The header that is accepted, in any order.
const COLUMNS: [&str; 5] = ["sn", "cpu_milli", "memory_mib", "gpu", "model"];

/// Most nodes one file may list.
const NODES_MAX: usize = 1 << 20;

/// What one node offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Host name; `None` = made up from the node's number.
    pub host: Option<Box<str>>,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Virtual cores.
    pub virtual_cores: u32,
    /// GPUs.
    pub gpus: u32,
    /// Model of the GPUs; empty for none.
    pub model: Box<str>,
    /// Its rack; `None` = made up from the node's number.
    pub rack: Option<Box<str>>,
    /// Its label; `None` = none.
    pub label: Option<Box<str>>,
    /// What else it offers.
    pub extended: Box<[ResourceInformation]>,
}

impl Capacity {
    /// As the wire carries it.
    #[must_use]
    pub fn to_resource(&self) -> Resource {
        let mut resource = Resource::new(self.memory_mb, self.virtual_cores);
        if self.gpus > 0 {
            resource.extended.push(ResourceInformation {
                name: GPU.to_owned(),
                value: u64::from(self.gpus),
                units: String::new(),
            });
        }
        resource.extended.extend_from_slice(&self.extended);
        resource
    }
}

/// The capacities of a fleet, repeated when there are more nodes than entries.
#[derive(Clone, Debug)]
pub struct Capacities(Arc<[Capacity]>);

/// A list of nodes that cannot be used, and where it is wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CapacityError {
    /// Not CSV, or not readable.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// A column is missing from the header.
    #[error("line 1: column {column:?} is missing, accepted header is sn,cpu_milli,memory_mib,gpu,model")]
    MissingColumn {
        /// Its name.
        column: &'static str,
    },
    /// A value is wrong.
    #[error("line {line}, column {column}: {found:?} is not accepted, accepted is {accepted}")]
    BadValue {
        /// Line of the file, from 1.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// No rows.
    #[error("the list has no nodes, accepted are 1 to {NODES_MAX}")]
    Empty,
    /// Too many rows.
    #[error("line {line}: the list has more than {NODES_MAX} nodes")]
    TooMany {
        /// The first line too many.
        line: u64,
    },
}

impl Default for Capacities {
    /// Machines of 128 GiB and 64 cores.
    fn default() -> Self {
        Self(Arc::new([Capacity {
            host: None,
            memory_mb: 131_072,
            virtual_cores: 64,
            gpus: 0,
            model: Box::default(),
            rack: None,
            label: None,
            extended: Box::default(),
        }]))
    }
}

impl Capacities {
    /// Reads a list of nodes.
    ///
    /// # Errors
    /// The first line and column that are wrong.
    pub fn read_csv(input: impl Read) -> Result<Self, CapacityError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let headers = reader.headers()?.clone();
        let mut at = [0; COLUMNS.len()];
        for (index, column) in at.iter_mut().zip(COLUMNS) {
            *index = headers
                .iter()
                .position(|header| header == column)
                .ok_or(CapacityError::MissingColumn { column })?;
        }
        let mut list = Vec::new();
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |index: usize| record.get(at[index]).unwrap_or_default();
            let bad = |index: usize, accepted: &'static str| CapacityError::BadValue {
                line,
                column: COLUMNS[index],
                found: field(index).chars().take(64).collect(),
                accepted,
            };
            let host = field(0);
            // Room for "-" and a number, for when the list is repeated.
            let is_host = !host.is_empty()
                && host.len() <= HOST_MAX - 11
                && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            if !is_host {
                return Err(bad(0, "1 to 242 visible ASCII characters without ':'"));
            }
            let number = |index: usize, min: u64, max: u64, accepted: &'static str| {
                let value = field(index).parse::<u64>().ok().filter(|value| (min..=max).contains(value));
                value.ok_or_else(|| bad(index, accepted))
            };
            let cpu_milli = number(1, 1_000, 1 << 32, "a whole number of 1000 (one core) to 4294967296")?;
            let memory_mb = number(2, 1, 1 << 40, "a whole number of MiB from 1 to 1099511627776")?;
            let gpus = number(3, 0, 1_024, "a whole number from 0 to 1024")?;
            let model = field(4);
            if model.len() > NAME_MAX {
                return Err(bad(4, "at most 255 bytes"));
            }
            if list.len() == NODES_MAX {
                return Err(CapacityError::TooMany { line });
            }
            list.push(Capacity {
                host: Some(host.into()),
                memory_mb,
                virtual_cores: u32::try_from(cpu_milli / 1_000).unwrap_or(u32::MAX),
                gpus: u32::try_from(gpus).unwrap_or(u32::MAX),
                model: model.into(),
                rack: None,
                label: None,
                extended: Box::default(),
            });
        }
        if list.is_empty() { Err(CapacityError::Empty) } else { Ok(Self(list.into())) }
    }

    /// Nodes as a workload lists them; `None` without any.
    #[must_use]
    pub fn of_nodes(nodes: &[NodeSpec]) -> Option<Self> {
        let list = nodes.iter().map(|node| Capacity {
            host: Some((*node.host).into()),
            memory_mb: node.resource.memory_mb,
            virtual_cores: node.resource.virtual_cores,
            gpus: 0,
            model: Box::default(),
            rack: Some((*node.rack).into()),
            label: node.label.as_deref().map(Into::into),
            extended: node.resource.extended.clone().into(),
        });
        (!nodes.is_empty()).then(|| Self(list.collect()))
    }

    /// How many nodes the list names; 1 for the made-up kind.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a list has at least one entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What node `index` offers.
    #[must_use]
    pub fn of(&self, index: u32) -> &Capacity {
        &self.0[index as usize % self.0.len()]
    }

    /// The host name of node `index`: from the list, with a number behind it when the list is repeated.
    #[must_use]
    pub fn host_of(&self, index: u32) -> String {
        let round = index as usize / self.0.len();
        match (&self.of(index).host, round) {
            (Some(host), 0) => host.to_string(),
            (Some(host), round) => format!("{host}-{round}"),
            (None, _) => format!("node-{index:06}.loadgen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../samples/nodes.csv");

    #[test]
    fn the_sample_is_read() {
        let list = Capacities::read_csv(SAMPLE.as_bytes()).unwrap();
        assert_eq!(list.len(), 8);
        let resource = list.of(2).to_resource();
        assert_eq!((resource.memory_mb, resource.virtual_cores), (393_216, 96));
        assert_eq!((resource.extended[0].name.as_str(), resource.extended[0].value), (GPU, 8));
        assert!(list.of(0).to_resource().extended.is_empty());
        assert_eq!(list.host_of(1), "sample-node-0001");
        assert_eq!(list.host_of(9), "sample-node-0001-1");
    }

    #[test]
    fn errors_name_line_and_column() {
        let check = |text: &str, expected: &str| {
            let error = Capacities::read_csv(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
        };
        let head = "sn,cpu_milli,memory_mib,gpu,model\n";
        check("", "column \"sn\" is missing");
        check("sn,cpu_milli,gpu,model\na,1000,1,\n", "column \"memory_mib\" is missing");
        check(head, "no nodes");
        check(&format!("{head}a,1000,1024,0,\nb,x,1024,0,\n"), "line 3, column cpu_milli: \"x\"");
        check(&format!("{head}a,999,1024,0,\n"), "line 2, column cpu_milli");
        check(&format!("{head}a,1000,-1,0,\n"), "line 2, column memory_mib");
        check(&format!("{head}a,1000,1,1025,\n"), "line 2, column gpu");
        check(&format!("{head}a:1,1000,1,0,\n"), "line 2, column sn");
        check(&format!("{head}a,1000,1,0\n"), "line: 2");
    }
}
