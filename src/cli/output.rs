//! Tables and numbers as people read them.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};

/// Tables never get wider than this.
pub const WIDTH_MAX: u16 = 100;

/// An empty table with a head.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH_MAX);
    table.set_header(head.iter().copied());
    table
}
