//! The doc comments of this crate's source, by type and member, as one line of Markdown each.
//! Owns: [`Docs`]. Called by: `protocol_page.rs`. Thread: any.
//! Does not: parse Rust; it knows the shapes in which this crate declares records, enums, opcodes and limits.
//! Invariant: what is asked for and not documented fails the test, so a new field cannot appear without a meaning.

use std::collections::BTreeMap;

/// Doc comments by owner (a type's name, `type`, `opcode`, `const`) and member.
pub(crate) struct Docs {
    texts: BTreeMap<(String, String), String>,
    limits: Vec<String>,
}

impl Docs {
    /// Those of this crate.
    pub(crate) fn of_the_crate() -> Self {
        let mut docs = Self { texts: BTreeMap::new(), limits: Vec::new() };
        for source in [
            include_str!("../../src/administration.rs"),
            include_str!("../../src/administration/scheduler.rs"),
            include_str!("../../src/application_client.rs"),
            include_str!("../../src/application_client/application.rs"),
            include_str!("../../src/application_client/container.rs"),
            include_str!("../../src/application_client/label.rs"),
            include_str!("../../src/application_client/queue.rs"),
            include_str!("../../src/application_master.rs"),
            include_str!("../../src/error.rs"),
            include_str!("../../src/opcode.rs"),
            include_str!("../../src/record/application.rs"),
            include_str!("../../src/record/application_report.rs"),
            include_str!("../../src/record/ask.rs"),
            include_str!("../../src/record/container.rs"),
            include_str!("../../src/record/explain.rs"),
            include_str!("../../src/record/grant.rs"),
            include_str!("../../src/record/id.rs"),
            include_str!("../../src/record/label.rs"),
            include_str!("../../src/record/launch.rs"),
            include_str!("../../src/record/node.rs"),
            include_str!("../../src/record/queue.rs"),
            include_str!("../../src/record/resource.rs"),
            include_str!("../../src/record/token.rs"),
            include_str!("../../src/resource_tracker.rs"),
        ] {
            docs.read(source);
        }
        let limits = include_str!("../../src/limits.rs");
        docs.read(limits);
        docs.limits = limits
            .lines()
            .filter_map(|line| line.strip_prefix("pub const "))
            .filter_map(|rest| rest.split(':').next())
            .map(str::to_owned)
            .collect();
        docs
    }

    /// The meaning of a member.
    pub(crate) fn of(&self, owner: &str, member: &str) -> &str {
        self.texts
            .get(&(owner.to_owned(), member.to_owned()))
            .unwrap_or_else(|| panic!("no doc comment was found for {owner} {member}"))
    }

    /// The names of all constants in `limits.rs`.
    pub(crate) fn constants_of_limits(&self) -> &[String] {
        &self.limits
    }

    fn read(&mut self, source: &str) {
        let mut owner = String::new();
        let mut pending: Vec<&str> = Vec::new();
        let mut is_in_attribute = false;
        for line in source.lines() {
            let trimmed = line.trim();
            if let Some(text) = trimmed.strip_prefix("///") {
                pending.push(text.trim());
                continue;
            }
            // Attributes, also over several lines, stand between a comment and what it is about.
            is_in_attribute |= trimmed.starts_with("#[") || trimmed.starts_with("#![");
            if is_in_attribute {
                is_in_attribute = !trimmed.ends_with(']');
                continue;
            }
            if line == "}" {
                owner.clear();
            }
            if let Some((its_owner, member)) = member(trimmed, &owner) {
                if its_owner == "type" {
                    owner.clone_from(&member);
                }
                if !pending.is_empty() {
                    self.texts.insert((its_owner, member), plain(&pending));
                }
            }
            pending.clear();
        }
    }
}

/// What a line of source declares: its owner and its name.
fn member(line: &str, owner: &str) -> Option<(String, String)> {
    let name = |text: &str| {
        let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    for keyword in ["pub struct ", "pub enum "] {
        if let Some(rest) = line.strip_prefix(keyword) {
            return Some(("type".to_owned(), name(rest)));
        }
    }
    if let Some(rest) = line.strip_prefix("pub const ") {
        return Some(("const".to_owned(), name(rest)));
    }
    if let Some(rest) = line.strip_prefix("pub ") {
        return Some((owner.to_owned(), name(rest)));
    }
    let found = name(line);
    let rest = line.strip_prefix(&found)?;
    // What a variant holds is not its meaning.
    let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, after)| after);
    let rest = rest.trim_start();
    let number = rest.strip_prefix("= ")?;
    let its_owner = if number.starts_with("0x") { "opcode" } else { owner };
    (!found.is_empty()).then(|| (its_owner.to_owned(), found))
}

/// One line, with links of rustdoc turned into their text.
fn plain(lines: &[&str]) -> String {
    let joined = lines.join(" ");
    let mut text = String::new();
    let mut rest = joined.trim();
    while let Some(open) = rest.find('[') {
        let Some(length) = rest[open..].find(']') else { break };
        text.push_str(&rest[..open]);
        text.push_str(&rest[open + 1..open + length]);
        rest = &rest[open + length + 1..];
        if let Some(target) = rest.strip_prefix('(') {
            rest = target.split_once(')').map_or("", |(_, after)| after);
        }
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
