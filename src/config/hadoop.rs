//! Hadoop's configuration files: `<property>` elements, `<final>`, `${…}`, XInclude.
//! Owns: [`Properties`] and how they are read and expanded. Called by: `source` and `queues`, before threads start and on
//! a refresh. Does not: know what a key means.
//! Invariants: a file's size, its elements' depth, its includes and its expansions are bounded; every property knows its
//! file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::error::{ConfigError, ConfigErrors, ConfigWarning};
use super::source::Origin;

/// Largest file, bytes: ten thousand queues with ten keys each.
const FILE_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Deepest element; Hadoop's files have 3.
const DEPTH_MAX: usize = 16;

/// Files included by one another.
const INCLUDES_MAX: usize = 8;

/// Rounds of `${…}`, as in Hadoop.
const EXPANSIONS_MAX: usize = 20;

/// Longest value after expansion, bytes.
const VALUE_SIZE_MAX: usize = 1024 * 1024;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    /// YARN's key.
    pub(super) key: String,
    /// The key as it stands in the file, where that is another.
    pub(super) shown: Option<String>,
    /// The value, with the spaces around it: in an access control list they mean something.
    pub(super) value: String,
    /// Where it stands.
    pub(super) origin: Origin,
    /// Later ones do not override it.
    pub(super) is_final: bool,
}

impl Property {
    /// The key as its writer knows it.
    pub(super) fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.key)
    }

    /// The value without the spaces around it.
    pub(super) fn trimmed(&self) -> &str {
        self.value.trim()
    }
}

/// Keys with their values, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    list: Vec<Property>,
    index: BTreeMap<String, usize>,
    /// What values name as `${…}`.
    named: BTreeSet<String>,
}

impl Properties {
    /// The property of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Property> {
        self.index.get(key).and_then(|index| self.list.get(*index))
    }

    /// Every property, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Property> {
        self.list.iter()
    }

    /// Whether a value of these properties named this one as `${…}` when they were expanded.
    pub(super) fn is_named(&self, key: &str) -> bool {
        self.named.contains(key)
    }

    /// Sets a property; a later one overrides an earlier one that is not final, at the earlier one's place.
    pub(super) fn set(&mut self, property: Property, warnings: &mut Vec<ConfigWarning>) {
        let Some(former) = self.index.get(&property.key).and_then(|index| self.list.get_mut(*index)) else {
            self.index.insert(property.key.clone(), self.list.len());
            self.list.push(property);
            return;
        };
        if former.value != property.value {
            let text = if former.is_final {
                format!("does not count: it is final at {}", former.origin)
            } else {
                format!("counts instead of {:?} at {}", former.trimmed(), former.origin)
            };
            warnings.push(ConfigWarning::new(&property, text));
        }
        if !former.is_final {
            *former = property;
        }
    }

    /// Replaces `${name}` by the property `name` of this or another file, and `${env.NAME}`, `${env.NAME:-default}`,
    /// `${env.NAME-default}` by environment variables. What is not known stays, as in Hadoop.
    pub(super) fn expand(
        &mut self,
        other: Option<&Self>,
        environment: &[(String, String)],
        warnings: &mut Vec<ConfigWarning>,
    ) {
        let raw = self.clone();
        let named = &mut self.named;
        for property in self.list.iter_mut().filter(|property| property.value.contains("${")) {
            let look_up = |name: &str| -> Option<String> {
                named.insert(name.to_owned());
                if let Some(variable) = name.strip_prefix("env.") {
                    return of_environment(variable, environment);
                }
                let found = raw.get(name).or_else(|| other.and_then(|other| other.get(name)));
                found.map(|property| property.value.clone())
            };
            let (value, unknown) = expanded(&property.value, look_up);
            property.value = value;
            if let Some(unknown) = unknown {
                let text = format!("{unknown} stays as it is: no property or variable of that name is known");
                warnings.push(ConfigWarning::new(property, text));
            }
        }
    }
}

/// `NAME`, `NAME:-default` (unset or empty) or `NAME-default` (unset).
fn of_environment(variable: &str, environment: &[(String, String)]) -> Option<String> {
    let get =
        |name: &str| environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    if let Some((name, default)) = variable.split_once(":-") {
        return Some(get(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
    }
    if let Some((name, default)) = variable.split_once('-') {
        return Some(get(name).unwrap_or_else(|| default.to_owned()));
    }
    get(variable)
}

/// The value with its variables replaced, and the first one that could not be.
fn expanded(value: &str, mut look_up: impl FnMut(&str) -> Option<String>) -> (String, Option<String>) {
    let mut value = value.to_owned();
    for _ in 0..EXPANSIONS_MAX {
        let Some((at, end)) = variable(&value) else { return (value, None) };
        let name = value.get(at + 2..end - 1).unwrap_or_default().to_owned();
        match look_up(&name) {
            Some(replacement) if value.len() + replacement.len() <= VALUE_SIZE_MAX => {
                value.replace_range(at..end, &replacement);
            }
            _ => return (value, Some(format!("${{{name}}}"))),
        }
    }
    let rest = variable(&value).map(|(at, end)| value.get(at..end).unwrap_or_default().to_owned());
    (value, rest)
}

/// The first `${name}` without `$`, `}` or a blank in its name: where it begins, and the byte after it.
fn variable(value: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = value.get(from..)?.find("${").map(|at| from + at) {
        let name = value.get(at + 2..)?;
        let stop = name.find(|char: char| char == '}' || char == '$' || char.is_whitespace())?;
        if stop > 0 && name.as_bytes().get(stop) == Some(&b'}') {
            return Some((at, at + 2 + stop + 1));
        }
        from = at + 2;
    }
    None
}

/// Reads a file of properties and those it includes.
pub(super) fn read(path: &Path, warnings: &mut Vec<ConfigWarning>) -> Result<Properties, ConfigErrors> {
    let mut properties = Properties::default();
    read_into(path, &mut properties, warnings, 0)?;
    Ok(properties)
}

/// Reads a text file of bounded size.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_SIZE_MAX {
        return Err(unreadable(format!("it has {size} bytes, accepted are at most {FILE_SIZE_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// A property being read.
#[derive(Default)]
struct Draft {
    name: String,
    value: Option<String>,
    is_final: bool,
    line: usize,
}

fn read_into(
    path: &Path,
    properties: &mut Properties,
    warnings: &mut Vec<ConfigWarning>,
    includes: usize,
) -> Result<(), ConfigErrors> {
    let text = read_text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut lines = Lines { text, at: 0, line: 1 };
    let mut stack: Vec<String> = Vec::new();
    let mut has_root = false;
    let mut draft: Option<Draft> = None;
    // Text of the innermost element of interest.
    let mut content = String::new();
    loop {
        let line = lines.at(reader.buffer_position());
        let malformed = |line: usize, reason: String| {
            ConfigErrors::from(ConfigError::Syntax { path: path.to_owned(), line, format: "XML", reason })
        };
        let event = reader
            .read_event()
            .map_err(|error| malformed(lines.at(reader.error_position()), error.to_string()))?;
        match event {
            Event::Start(start) => {
                let name = local(start.name().as_ref()).to_owned();
                if stack.is_empty() && name != "configuration" {
                    return Err(malformed(
                        line,
                        format!("it begins with <{name}>, accepted is <configuration>"),
                    ));
                }
                if stack.len() >= DEPTH_MAX {
                    return Err(malformed(line, format!("more than {DEPTH_MAX} elements in one another")));
                }
                match name.as_str() {
                    "property" => {
                        let reasons = |reason| malformed(line, reason);
                        draft = Some(by_attributes(&start, line).map_err(reasons)?);
                    }
                    "include" => {
                        if includes >= INCLUDES_MAX {
                            return Err(malformed(
                                line,
                                format!("more than {INCLUDES_MAX} files included by one another"),
                            ));
                        }
                        let href = attribute(&start, "href").map_err(|reason| malformed(line, reason))?;
                        let href = href.ok_or_else(|| malformed(line, "include has no href".to_owned()))?;
                        let included: PathBuf = path.parent().unwrap_or(Path::new("")).join(href);
                        read_into(&included, properties, warnings, includes + 1)?;
                    }
                    "value" => {
                        if let Some(draft) = &mut draft {
                            draft.line = line;
                        }
                    }
                    _ => {}
                }
                content.clear();
                has_root = true;
                stack.push(name);
            }
            Event::End(_) => {
                let name = stack.pop().unwrap_or_default();
                if let Some(open) = &mut draft {
                    match name.as_str() {
                        "name" => open.name = content.trim().to_owned(),
                        "value" => open.value = Some(content.clone()),
                        "final" => open.is_final = content.trim() == "true",
                        "property" => {
                            let Draft { name, value, is_final, line } = draft.take().unwrap_or_default();
                            let origin = Origin::File(path.to_owned(), line);
                            match value {
                                _ if name.is_empty() => {
                                    return Err(malformed(line, "a property without a name".to_owned()));
                                }
                                // As in Hadoop: no value, no property.
                                None => {}
                                Some(value) => {
                                    let property =
                                        Property { key: name, shown: None, value, origin, is_final };
                                    properties.set(property, warnings);
                                }
                            }
                        }
                        _ => {}
                    }
                }
                content.clear();
            }
            Event::Text(text) if stack.is_empty() => {
                if !text.trim().is_empty() {
                    return Err(malformed(line, "there is text outside of <configuration>".to_owned()));
                }
            }
            Event::Text(text) => content.push_str(&text.xml10_content()),
            Event::CData(text) => content.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let char =
                    reference.resolve_char_ref().map_err(|error| malformed(line, error.to_string()))?;
                match (char, &*reference) {
                    (Some(char), _) => content.push(char),
                    (None, "amp") => content.push('&'),
                    (None, "lt") => content.push('<'),
                    (None, "gt") => content.push('>'),
                    (None, "quot") => content.push('"'),
                    (None, "apos") => content.push('\''),
                    (None, name) => return Err(malformed(line, format!("&{name}; is not known"))),
                }
            }
            Event::Eof if !has_root => return Err(malformed(line, "it has no <configuration>".to_owned())),
            Event::Eof if stack.is_empty() => return Ok(()),
            Event::Eof => {
                let open = stack.last().map_or("", String::as_str);
                return Err(malformed(line, format!("it ends within <{open}>")));
            }
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

/// The short form: `<property name="…" value="…" final="…"/>`.
fn by_attributes(start: &BytesStart<'_>, line: usize) -> Result<Draft, String> {
    Ok(Draft {
        name: attribute(start, "name")?.unwrap_or_default().trim().to_owned(),
        value: attribute(start, "value")?,
        is_final: attribute(start, "final")?.as_deref() == Some("true"),
        line,
    })
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if local(attribute.key.as_ref()) == name {
            let raw: &str = &attribute.value;
            return quick_xml::escape::unescape(raw)
                .map(|value| Some(value.into_owned()))
                .map_err(|error| error.to_string());
        }
    }
    Ok(None)
}

/// The name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// Counts lines up to positions that only grow, looking at every byte once.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn at(&mut self, position: u64) -> usize {
        let position = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        if let Some(passed) = self.text.as_bytes().get(self.at..position) {
            self.line += passed.iter().filter(|byte| **byte == b'\n').count();
            self.at = position;
        }
        self.line
    }
}
