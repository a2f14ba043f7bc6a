//! The report as Markdown, for tickets and repositories; its plots are files beside it.

use std::fmt::Write;

use super::sections::{Block, Section};

/// The whole page.
pub fn render(title: &str, sections: &[Section]) -> String {
    let mut page = format!("# {}\n", escape(title));
    for section in sections {
        let _ = writeln!(page, "\n## {}", escape(section.title));
        for block in &section.blocks {
            page.push('\n');
            match block {
                Block::Text(text) => {
                    let _ = writeln!(page, "{}", escape(text));
                }
                Block::Plot { name, title, .. } => {
                    let _ = writeln!(page, "![{}]({name}.svg)", escape(title));
                }
                Block::Table { heading, rows } => {
                    line(&mut page, heading.iter().copied());
                    line(&mut page, heading.iter().map(|_| "---"));
                    rows.iter().for_each(|row| line(&mut page, row.iter().map(String::as_str)));
                }
            }
        }
    }
    page
}

fn line<'a>(page: &mut String, cells: impl Iterator<Item = &'a str>) {
    for cell in cells {
        let text = if cell == "---" { cell.to_owned() } else { escape(cell) };
        let _ = write!(page, "| {text} ");
    }
    page.push_str("|\n");
}

/// Text that is shown as it stands: no markup, no links, one line.
pub fn escape(text: &str) -> String {
    let is_link = text.to_ascii_lowercase().contains("www.");
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            _ if character.is_control() => out.push(' '),
            '.' if is_link => out.push_str("\\."),
            '-' | ',' | '.' | '(' | ')' | '%' | '/' | ';' => out.push(character),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            _ if character.is_ascii_punctuation() => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_becomes_markup() {
        assert_eq!(escape("a|b\n<img>"), "a\\|b &lt;img&gt;");
        assert_eq!(escape("[x](http://y)"), "\\[x\\](http\\://y)");
        assert_eq!(escape("www.example.org"), "www\\.example\\.org");
        assert_eq!(escape("93.50 % (nat_insider)"), "93.50 % (nat\\_insider)");
    }
}
