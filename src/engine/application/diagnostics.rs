//! What is said of an application or attempt over its life: bounded, and the end is what is kept.
//! Owns: [`Diagnostics`]. Called by: `lifecycle`, `attempt_lifecycle`, the application manager, on its thread.
//! Does not: know the setting; who appends says how long it may get.
//! Invariants: never longer than was said when it was appended to; cut between characters; where something was cut, the
//! text begins with a mark that counts all that was ever said.

use core::fmt::Write as _;

/// Longest mark, bytes: its words are 60, the counts at most 5 and 20.
const MARK_MAX: usize = 96;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Diagnostics {
    text: String,
    /// Bytes of the mark at the beginning of the text.
    mark: usize,
    /// Bytes that were said and are not there any more.
    cut: usize,
}

impl Diagnostics {
    pub(super) const fn as_str(&self) -> &str {
        self.text.as_str()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Appends on a line of its own.
    pub(super) fn append(&mut self, text: &str, size_max: usize) {
        self.append_end(text, 0, size_max);
    }

    /// Appends a text of which whoever told it has cut `cut` bytes at the beginning; then it is told so much of it that it
    /// fills everything that is kept.
    pub(super) fn append_end(&mut self, end: &str, cut: usize, size_max: usize) {
        if end.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(end);
        // A mark that is there says how much follows it: it is written again.
        if self.text.len() <= size_max && self.cut == 0 && cut == 0 {
            return;
        }
        let size_kept = size_max.saturating_sub(MARK_MAX);
        let start = self.text.ceil_char_boundary(self.text.len().saturating_sub(size_kept)).max(self.mark);
        self.cut = self.cut.saturating_add(start - self.mark).saturating_add(cut);
        let kept = self.text.len() - start;
        // YARN's words, with bytes instead of characters.
        let mut mark = String::with_capacity(MARK_MAX);
        let all = self.cut.saturating_add(kept);
        let _ = writeln!(mark, "Diagnostic messages truncated, showing last {kept} bytes out of {all}:");
        self.mark = mark.len();
        self.text.replace_range(..start, &mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.append("", 256);
        assert!(diagnostics.is_empty());
        diagnostics.append("first", 256);
        diagnostics.append("", 256);
        diagnostics.append("second", 256);
        assert_eq!(diagnostics.as_str(), "first\nsecond");
        let mut full = Diagnostics::default();
        full.append(&"x".repeat(256), 256);
        assert_eq!(full.as_str(), "x".repeat(256));
    }

    #[test]
    fn the_end_is_kept_behind_a_mark_that_counts_all_that_was_said() {
        let mut diagnostics = Diagnostics::default();
        let mut said = String::new();
        for round in 0..50 {
            let text = format!("{}{round}", "äx€".repeat(round * 3));
            diagnostics.append(&text, 256);
            said = if round == 0 { text } else { format!("{said}\n{text}") };
            assert!(diagnostics.as_str().len() <= 256);
            if said.len() <= 256 {
                assert_eq!(diagnostics.as_str(), said);
                continue;
            }
            let (mark, kept) = diagnostics.as_str().split_once('\n').expect("a mark");
            assert!(said.ends_with(kept) && kept.len() > 150, "{kept}");
            let expected = format!(
                "Diagnostic messages truncated, showing last {} bytes out of {}:",
                kept.len(),
                said.len()
            );
            assert_eq!(mark, expected);
        }
    }

    #[test]
    fn what_was_cut_before_it_came_counts_as_well() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.append("before", 256);
        diagnostics.append_end(&"e".repeat(300), 1_000, 256);
        // "before", its end of line, 1,000 and 300.
        let mark = "Diagnostic messages truncated, showing last 160 bytes out of 1307:\n";
        assert_eq!(diagnostics.as_str(), format!("{mark}{}", "e".repeat(160)));
        diagnostics.append("x", 256);
        assert!(diagnostics.as_str().starts_with(&mark.replace("1307", "1309")), "{}", diagnostics.as_str());
    }
}
