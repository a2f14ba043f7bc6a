//! The report as one HTML page: no scripts, nothing loaded from anywhere, readable in light and dark.

use std::fmt::Write;

use super::escape;
use super::sections::{Block, Section};

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#24292f;--back:#f6f8fa;--card:#fff;--edge:#d0d7de;--soft:#57606a}
@media (prefers-color-scheme:dark){:root{--text:#e6edf3;--back:#0d1117;--card:#161b22;--edge:#30363d;--soft:#9198a1}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:1360px;margin:0 auto;padding:24px}
h1{font-size:24px;margin:0 0 8px}h2{font-size:18px;margin:0 0 12px}p{color:var(--soft);margin:0 0 12px}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(600px,100%),1fr));gap:20px;align-items:start}
section{background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:18px;min-width:0;overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums;margin-bottom:12px}
th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--edge);text-align:left;vertical-align:top}
td{unicode-bidi:isolate;overflow-wrap:break-word}svg{display:block;max-width:100%;height:auto;margin-bottom:12px}";

/// The whole page.
pub fn render(title: &str, sections: &[Section]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <main>\n"
    );
    for section in sections {
        let _ = writeln!(page, "<section>\n<h2>{}</h2>", escape(section.title));
        section.blocks.iter().for_each(|block| write_block(&mut page, block));
        page.push_str("</section>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn write_block(page: &mut String, block: &Block) {
    match block {
        Block::Text(text) => {
            let _ = writeln!(page, "<p>{}</p>", escape(text));
        }
        Block::Plot { svg, .. } => page.push_str(svg),
        Block::Table { heading, rows } => {
            page.push_str("<table>\n<thead><tr>");
            heading.iter().for_each(|cell| cell_of(page, "th", cell));
            page.push_str("</tr></thead>\n<tbody>\n");
            for row in rows {
                page.push_str("<tr>");
                row.iter().for_each(|cell| cell_of(page, "td", cell));
                page.push_str("</tr>\n");
            }
            page.push_str("</tbody>\n</table>\n");
        }
    }
}

fn cell_of(page: &mut String, tag: &str, text: &str) {
    let _ = write!(page, "<{tag}>{}</{tag}>", escape(text));
}
