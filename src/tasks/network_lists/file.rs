//! Reads one file of networks, line by line and bounded.
//!
//! Single bad lines are counted and skipped; a file of mostly bad lines is none of networks and is refused. Errors name the
//! file and the line and never repeat what stands there.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::detection::networks::{Line, NETWORKS_MAX, NetworkSet, NetworkSetBuilder, parse_line};

/// Longest file: a million lines with a remark each.
const FILE_MAX: u64 = 64 << 20;
/// So much of a line is looked at.
const LINE_MAX: u64 = 1024;

/// Why a file cannot be used. The texts follow the configuration's: key, problem, remedy.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read.
    #[error("lists.suspicious_files: {} cannot be read; check path and permissions, or remove it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has more bytes than a node looks at.
    #[error("lists.suspicious_files: {} has more than 64 MiB; leave out its remarks, or split it", .0.display())]
    TooLarge(PathBuf),
    /// With it there would be more networks than a node holds.
    #[error("lists.suspicious_files: with {} there are more than {NETWORKS_MAX} networks; keep fewer lists", .0.display())]
    TooMany(PathBuf),
    /// More lines are bad than good.
    #[error(
        "lists.suspicious_files: {bad} lines of {} are no networks, the first is line {line}, and {good} are; write one \
         network or address a line",
        path.display()
    )]
    Rubbish {
        /// The file.
        path: PathBuf,
        /// Lines that are no network.
        bad: u64,
        /// Lines that are one.
        good: usize,
        /// Number of the first bad line, from 1.
        line: u64,
    },
}

impl ListError {
    /// In one word, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "unreadable",
            Self::TooLarge(_) => "too_large",
            Self::TooMany(_) => "too_many",
            Self::Rubbish { .. } => "rubbish",
        }
    }
}

/// What a file holds.
#[derive(Debug)]
pub struct NetworkFile {
    /// The set of its networks.
    pub networks: Arc<NetworkSet>,
    /// Lines that are a network, also where they say the same.
    pub entries: usize,
    /// Lines that were skipped because they are none.
    pub bad_lines: u64,
    /// The number of the first of them, from 1; 0 without any.
    pub first_bad: u64,
}

/// Reads a file that may have up to `room` networks.
///
/// # Errors
/// When it cannot be read, is too large, or is mostly something else.
pub fn read(path: &Path, room: usize) -> Result<NetworkFile, ListError> {
    let fail = |source| ListError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for somebody to write.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(fail(io::Error::other("it is no regular file")));
    }
    let mut input = BufReader::with_capacity(64 << 10, File::open(path).map_err(fail)?).take(FILE_MAX + 1);
    let mut builder = NetworkSetBuilder::default();
    let (mut number, mut bad_lines, mut first_bad) = (0, 0, 0);
    let mut line = Vec::new();
    while next_line(&mut input, &mut line).map_err(fail)? {
        number += 1;
        match parse_line(&line) {
            Line::Nothing => {}
            Line::Network(_) if builder.len() >= room => return Err(ListError::TooMany(path.to_owned())),
            Line::Network(network) => builder.add(network),
            Line::Bad => {
                bad_lines += 1;
                first_bad = if first_bad == 0 { number } else { first_bad };
            }
        }
    }
    if input.limit() == 0 {
        return Err(ListError::TooLarge(path.to_owned()));
    }
    let entries = builder.len();
    if bad_lines > entries as u64 {
        return Err(ListError::Rubbish { path: path.to_owned(), bad: bad_lines, good: entries, line: first_bad });
    }
    Ok(NetworkFile { networks: Arc::new(builder.build()), entries, bad_lines, first_bad })
}

/// Puts the beginning of the next line into `line`, without the rest of a very long one; `false` at the end.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.by_ref().take(LINE_MAX).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.len() as u64 == LINE_MAX && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8], room: usize) -> Result<NetworkFile, ListError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        fs::write(&path, content).unwrap();
        read(&path, room)
    }

    fn has(file: &NetworkFile, ip: &str) -> bool {
        file.networks.contains(ip.parse().unwrap())
    }

    #[test]
    fn a_list_with_remarks_is_read_and_a_few_bad_lines_are_counted() {
        let long = format!("198.51.100.7 # {}\n", "x".repeat(5000));
        let list = format!("; DROP\n192.0.2.0/24 ; SBL1\r\n\nnonsense\n{long}2001:db8::/32\n::ffff:203.0.113.9");
        let file = written(list.as_bytes(), 4).unwrap();

        assert_eq!((file.entries, file.bad_lines, file.first_bad), (4, 1, 4));
        for ip in ["192.0.2.200", "198.51.100.7", "2001:db8::9", "203.0.113.9"] {
            assert!(has(&file, ip), "{ip}");
        }
        assert!(!has(&file, "192.0.3.1"));
        assert_eq!(written(b"", 9).unwrap().entries, 0, "a list may be empty");
    }

    #[test]
    fn rubbish_is_refused_with_the_number_of_its_first_line() {
        let error = written(b"# 404\n<html>\n<body>\n192.0.2.7\n", 9).unwrap_err();
        assert_eq!(error.reason(), "rubbish");
        assert!(error.to_string().contains("the first is line 2, and 1 are"), "{error}");
        assert!(!error.to_string().contains("html"), "{error}");
        assert_eq!(written(&vec![b'x'; 3 << 20], 9).unwrap_err().reason(), "rubbish", "one endless line");
    }

    #[test]
    fn a_file_is_bounded_in_networks_and_bytes_and_must_be_a_file() {
        assert_eq!(written(b"192.0.2.7\n192.0.2.8\n", 1).unwrap_err().reason(), "too_many");
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path(), 9).unwrap_err().reason(), "unreadable");
        let path = directory.path().join("list");
        assert_eq!(read(&path, 9).unwrap_err().reason(), "unreadable");
        // Without blocks on the disk.
        File::create(&path).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert_eq!(read(&path, 9).unwrap_err().reason(), "too_large");
    }
}
