//! Tables as CSV: cells with their lines and columns. What is not such a table is an error that says where,
//! and what is allowed; nothing is guessed, and nothing left out.

use std::collections::HashMap;

/// What separates cells, as an option names it.
pub const SEPARATORS: [(&str, u8); 5] =
    [(",", b','), (";", b';'), ("tab", b'\t'), ("|", b'|'), (":", b':')];

/// A table whose first line names its columns.
#[derive(Debug)]
pub struct Table {
    /// The names of the columns: none is empty, no two are equal.
    pub columns: Vec<String>,
    /// The line of the file that they are on.
    pub line: usize,
    /// As many cells in each as there are columns.
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug)]
pub struct Row {
    /// The line of the file that it is on.
    pub line: usize,
    /// Its cells, without the blanks around them.
    pub cells: Vec<String>,
}

/// Reads a table of cells that `separator` separates. Cells may be quoted, blank lines are left out.
///
/// # Errors
///
/// What is wrong, with the file's `name`, line and column: what is not text in UTF-8; a quote that does not end
/// on its line; columns that are unnamed or have the same name; a row of another length; no rows.
///
/// ```
/// let table = rootstep_demos::table::read(b"size,kind\n\n1.5,small\n", "sizes.csv", b',')?;
/// assert_eq!(table.columns, ["size", "kind"]);
/// assert_eq!((table.rows[0].line, &table.rows[0].cells[1]), (3, &"small".to_owned()));
/// # Ok::<(), String>(())
/// ```
pub fn read(bytes: &[u8], name: &str, separator: u8) -> Result<Table, String> {
    let text = decode(bytes, name)?;
    let mut rows = split(&text, name, separator)?.into_iter();
    let Some(header) = rows.next() else {
        return Err(format!(
            "{name} is empty; allowed: a line with the names of columns, and rows"
        ));
    };
    let line = header.line;
    let columns = names_of_columns(header, name, separator)?;
    let rows: Vec<Row> = rows.collect();
    if rows.is_empty() {
        return Err(format!("{name} has the names of columns alone; allowed: rows below them"));
    }
    match rows.iter().find(|row| row.cells.len() != columns.len()) {
        Some(row) => Err(wrong_length(row, columns.len(), name)),
        None => Ok(Table { columns, line, rows }),
    }
}

/// A text as messages show it: on one line, and not too long.
#[must_use]
pub fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut start: String = text.chars().take(MOST).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// The text of a file, its lines ended by `\n` alone.
fn decode(bytes: &[u8], name: &str) -> Result<String, String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(format!("{name} is text in UTF-16; allowed: UTF-8"));
    }
    let line_at = |place: usize| {
        1 + String::from_utf8_lossy(&bytes[..place])
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .matches('\n')
            .count()
    };
    let text = str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to();
        let (line, byte) = (line_at(place), bytes[place]);
        format!("{name}, line {line}: the byte 0x{byte:02x} is not UTF-8; allowed: text in UTF-8")
    })?;
    let is_control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    if let Some((place, found)) = text.char_indices().find(|&(_, c)| is_control(c)) {
        let (line, code) = (line_at(place), u32::from(found));
        return Err(format!(
            "{name}, line {line}: the character U+{code:04X} is not text; allowed: text in UTF-8"
        ));
    }
    Ok(text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n"))
}

/// The records of a text, the header being the first.
fn split(text: &str, name: &str, separator: u8) -> Result<Vec<Row>, String> {
    // Lines of blanks become empty: those are left out. And a quote that is open at the end has the end of a
    // line in its cell, too.
    let lines =
        text.split('\n').map(|line| if line.trim_matches(' ').is_empty() { "" } else { line });
    let text = lines.flat_map(|line| [line, "\n"]).collect::<String>();
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut rows: Vec<Row> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("{name}: {error}"))?;
        let line = line_of(&record, &text);
        if let Some(column) = record.iter().position(|cell| cell.contains('\n')) {
            let column = match rows.first().and_then(|header| header.cells.get(column)) {
                Some(name) => format!("column `{}`", shown(name)),
                None => format!("column {}", column + 1),
            };
            return Err(format!(
                "{name}, line {line}, {column}: the quote that begins here does not end on this line; \
                 allowed: cells of one line"
            ));
        }
        rows.push(Row { line, cells: record.iter().map(|cell| cell.trim().to_owned()).collect() });
    }
    Ok(rows)
}

/// The line on which a record begins. Its position is that of the end of the one before it: blank lines
/// may follow.
fn line_of(record: &csv::StringRecord, text: &str) -> usize {
    let (start, line) =
        record.position().map_or((0, 1), |position| (position.byte(), position.line()));
    let rest = usize::try_from(start).map_or("", |start| &text[start..]);
    let blank = rest.bytes().take_while(|&byte| byte == b'\n').count();
    usize::try_from(line).unwrap_or(usize::MAX).saturating_add(blank)
}

/// The names of the columns, each of them one.
fn names_of_columns(header: Row, name: &str, separator: u8) -> Result<Vec<String>, String> {
    let Row { line, cells } = header;
    if let [only] = &cells[..] {
        check_single(only, name, line, separator)?;
    }
    let mut numbers = HashMap::new();
    for (number, cell) in (1..).zip(&cells) {
        if cell.is_empty() {
            let guess = match number {
                1 => " (an index, as other programs write it?)",
                _ if number == cells.len() => " (does the line end in a separator?)",
                _ => "",
            };
            return Err(format!(
                "{name}, line {line}: column {number} has no name{guess}; allowed: a name for each \
                 column, and no column that is neither a feature nor the label"
            ));
        }
        if let Some(earlier) = numbers.insert(cell, number) {
            return Err(format!(
                "{name}, line {line}: the columns {earlier} and {number} are both named `{}`; allowed: \
                 different names",
                shown(cell)
            ));
        }
    }
    Ok(cells)
}

/// A line of one cell may be one of several that something else separates.
fn check_single(cell: &str, name: &str, line: usize, separator: u8) -> Result<(), String> {
    if cell.starts_with('#') {
        return Err(format!(
            "{name}, line {line} begins with `#`; allowed: the names of the columns, and no comments"
        ));
    }
    let others = SEPARATORS.iter().filter(|&&(_, other)| other != separator);
    let count = |other: u8| cell.bytes().filter(|&byte| byte == other).count();
    let likely = others.max_by_key(|&&(_, other)| count(other));
    match likely.filter(|&&(_, other)| count(other) > 0) {
        Some((likely, _)) => Err(format!(
            "{name}, line {line} is one cell, `{}`: another separator seems to be used; try --separator \
             '{likely}'",
            shown(cell)
        )),
        None => Ok(()),
    }
}

fn wrong_length(row: &Row, columns: usize, name: &str) -> String {
    let (line, cells) = (row.line, row.cells.len());
    let hint = if row.cells[0].starts_with('#') {
        ", and no comments"
    } else if cells == columns + 1 && row.cells[columns].is_empty() {
        ", and no separator at the end"
    } else {
        ""
    };
    let word = if cells == 1 { "cell" } else { "cells" };
    format!(
        "{name}, line {line} has {cells} {word}; allowed: {columns}, as in the first line{hint}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::seq::IndexedRandom;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    /// A row for each line that is not blank, at its place, or an error that names the file: whatever the text is.
    #[test]
    fn no_line_is_lost() {
        const PIECES: [&str; 14] =
            [",", ",", ",", "\"", "\"", "\n", "\n", "\r\n", "\r", " ", "a", "é", "\"\"", ";"];
        let mut random = Pcg64::seed_from_u64(0);
        let mut taken = 0;
        for _ in 0..4_000 {
            // Columns that a random line may fit.
            let mut text = (*["a,b\n", "x\n", ""].choose(&mut random).unwrap_or(&"")).to_owned();
            for _ in 0..random.random_range(1..14) {
                text += PIECES.choose(&mut random).unwrap_or(&"");
            }
            match read(text.as_bytes(), "t.csv", b',') {
                Err(error) => assert!(error.starts_with("t.csv"), "{text:?}: {error}"),
                Ok(table) => {
                    taken += 1;
                    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
                    let lines = (1..).zip(lines.split('\n'));
                    let numbers: Vec<usize> =
                        lines.filter(|line| !line.1.trim().is_empty()).map(|line| line.0).collect();
                    let found =
                        [table.line].into_iter().chain(table.rows.iter().map(|row| row.line));
                    assert_eq!(found.collect::<Vec<_>>(), numbers, "{text:?}");
                }
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
