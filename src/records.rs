//! Files of attempt records: one JSON object per line, compressed or not.
//!
//! Reading streams and is bounded: a line, however well it compresses, never takes more than [`LINE_MAX`] bytes of
//! memory. Whether a file is compressed is told from its first bytes, never from its name. Errors name the file and the
//! line and never repeat what stands there. What a record means is not decided here.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::detection::record::{AttemptRecord, RecordError};

/// Longest line in bytes, without its end: an ordinary record takes about 400, one with every field full 25 000.
pub const LINE_MAX: usize = 64 * 1024;

/// How far an overlong line is skipped before reading gives up; 16 KiB of gzip may claim to be this long.
const SKIP_MAX: usize = 16 * 1024 * 1024;

/// The first two bytes of every gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file of records that could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", file.display())]
pub struct FileError {
    operation: &'static str,
    file: PathBuf,
    #[source]
    source: io::Error,
}

/// A line that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read line {line} of {}", file.display())]
pub struct LineError {
    /// The file as it was named.
    pub file: PathBuf,
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// More than [`LINE_MAX`] bytes; reading goes on with the next line.
    #[error("longer than {LINE_MAX} bytes")]
    TooLong,
    /// So long that its end was not looked for; reading ends.
    #[error("longer than {SKIP_MAX} bytes, the rest of the file is not read")]
    Endless,
    /// Not a JSON object, or a field has the wrong type; reading goes on with the next line.
    #[error("not an attempt record")]
    Malformed(#[source] RecordError),
    /// The file cannot be read on, for example because it is damaged or cut off; reading ends.
    #[error("the file cannot be read on")]
    Io(#[source] io::Error),
}

impl LineProblem {
    /// Whether later lines of the file cannot be read either.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Endless | Self::Io(_))
    }
}

/// Reads the records of a file, one by one, with their line numbers. Empty lines are passed over.
pub struct RecordReader {
    file: PathBuf,
    input: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
    ended: bool,
}

/// How one line was read.
enum Line {
    Complete,
    TooLong,
    End,
}

impl RecordReader {
    /// Opens a file, compressed or not.
    ///
    /// # Errors
    /// When it cannot be opened or its beginning cannot be read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError { operation: "open", file: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        Self::new(path, file).map_err(failed)
    }

    /// Reads from any source; `name` stands in the errors.
    ///
    /// # Errors
    /// When the first two bytes cannot be read.
    pub fn new(name: &Path, mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let mut magic = Vec::new();
        (&mut source).take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic)?;
        let compressed = magic == GZIP_MAGIC;
        let whole = BufReader::new(io::Cursor::new(magic).chain(source));
        let input: Box<dyn BufRead + Send> =
            if compressed { Box::new(BufReader::new(MultiGzDecoder::new(whole))) } else { Box::new(whole) };
        Ok(Self { file: name.to_path_buf(), input, line: Vec::new(), number: 0, ended: false })
    }

    /// Reads the next line into `self.line`, never more than [`LINE_MAX`] bytes of it.
    fn read_line(&mut self) -> Result<Line, LineProblem> {
        self.line.clear();
        let mut length = 0usize;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LineProblem::Io(error)),
            };
            if chunk.is_empty() {
                return Ok(if length == 0 { Line::End } else { self.complete(length) });
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if length + part.len() <= LINE_MAX {
                self.line.extend_from_slice(part);
            }
            length += part.len();
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(self.complete(length));
            }
            if length > SKIP_MAX {
                return Err(LineProblem::Endless);
            }
        }
    }

    fn complete(&self, length: usize) -> Line {
        if length > LINE_MAX { Line::TooLong } else { Line::Complete }
    }

    fn error(&mut self, problem: LineProblem) -> LineError {
        self.ended |= problem.is_final();
        LineError { file: self.file.clone(), line: self.number, problem }
    }
}

impl Iterator for RecordReader {
    type Item = Result<(u64, AttemptRecord), LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.number += 1;
            match self.read_line() {
                Ok(Line::End) => {
                    self.ended = true;
                    return None;
                }
                Ok(Line::TooLong) => return Some(Err(self.error(LineProblem::TooLong))),
                Ok(Line::Complete) if self.line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Line::Complete) => {
                    return Some(match AttemptRecord::parse(&self.line) {
                        Ok(record) => Ok((self.number, record)),
                        Err(error) => Err(self.error(LineProblem::Malformed(error))),
                    });
                }
                Err(problem) => return Some(Err(self.error(problem))),
            }
        }
        None
    }
}

/// Writes records to a file or to standard output, compressed when the name ends in `.gz`.
///
/// Dropping it without [`finish`](Self::finish) may leave a file cut off.
pub struct RecordWriter {
    file: PathBuf,
    output: Output,
}

enum Output {
    Plain(Box<dyn Write + Send>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl RecordWriter {
    /// Creates the file, or writes to standard output for `None` and `-`.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: Option<&Path>) -> Result<Self, FileError> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            let output = Output::Plain(Box::new(BufWriter::new(io::stdout())));
            return Ok(Self { file: PathBuf::from("standard output"), output });
        };
        let file =
            File::create(path).map_err(|source| FileError { operation: "create", file: path.to_path_buf(), source })?;
        let file = BufWriter::new(file);
        let gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        // The encoder writes no time and no name into the header: equal records give equal files.
        let output = if gzip {
            Output::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Output::Plain(Box::new(file))
        };
        Ok(Self { file: path.to_path_buf(), output })
    }

    /// Writes one record as one line.
    ///
    /// # Errors
    /// When the disk is full, the pipe closed and the like.
    pub fn write(&mut self, record: &AttemptRecord) -> Result<(), FileError> {
        let sink: &mut dyn Write = match &mut self.output {
            Output::Plain(plain) => plain,
            Output::Gzip(gzip) => gzip,
        };
        serde_json::to_writer(&mut *sink, record)
            .map_err(io::Error::from)
            .and_then(|()| sink.write_all(b"\n"))
            .map_err(|source| FileError { operation: "write to", file: self.file.clone(), source })
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn finish(self) -> Result<(), FileError> {
        let finished = match self.output {
            Output::Plain(mut plain) => plain.flush(),
            Output::Gzip(gzip) => gzip.finish().and_then(|mut file| file.flush()),
        };
        finished.map_err(|source| FileError { operation: "write to", file: self.file, source })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs;

    use super::*;

    fn record(name: &str) -> AttemptRecord {
        AttemptRecord { username: Some(name.to_string()), success: Some(true), ..AttemptRecord::default() }
    }

    fn write_to(path: &Path, names: &[&str]) {
        let mut writer = RecordWriter::create(Some(path)).expect("creates");
        for name in names {
            writer.write(&record(name)).expect("writes");
        }
        writer.finish().expect("finishes");
    }

    fn names(path: &Path) -> Vec<(u64, String)> {
        RecordReader::open(path)
            .expect("opens")
            .map(|line| line.expect("a record"))
            .map(|(number, record)| (number, record.username.unwrap_or_default()))
            .collect()
    }

    fn problems(contents: impl Into<Vec<u8>>) -> Vec<Result<u64, LineError>> {
        RecordReader::new(Path::new("attempts.jsonl"), io::Cursor::new(contents.into()))
            .expect("begins")
            .map(|line| line.map(|(number, _)| number))
            .collect()
    }

    fn gzip(contents: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(contents).expect("compresses");
        encoder.finish().expect("compresses")
    }

    #[test]
    fn compressed_and_plain_files_read_alike_whatever_their_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (plain, compressed) = (folder.path().join("a.jsonl"), folder.path().join("a.jsonl.gz"));
        write_to(&plain, &["anna", "ben"]);
        write_to(&compressed, &["anna", "ben"]);
        let misnamed = folder.path().join("b.jsonl");
        fs::copy(&compressed, &misnamed).expect("copies");

        let expected = vec![(1, "anna".to_string()), (2, "ben".to_string())];
        assert_eq!(names(&plain), expected);
        assert_eq!(names(&compressed), expected);
        assert_eq!(names(&misnamed), expected);
        assert_eq!(fs::read(&compressed).expect("reads")[..2], GZIP_MAGIC);
    }

    #[test]
    fn equal_records_give_equal_compressed_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("1.gz"), folder.path().join("2.gz"));
        write_to(&one, &["anna"]);
        write_to(&two, &["anna"]);

        assert_eq!(fs::read(one).expect("reads"), fs::read(two).expect("reads"));
    }

    #[test]
    fn concatenated_compressed_files_are_read_to_the_end() {
        let mut both = gzip(b"{}\n");
        both.extend(gzip(b"{}\n{}"));

        assert_eq!(problems(both).into_iter().map(|line| line.expect("a record")).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn empty_files_have_no_records_and_empty_lines_count_only_as_lines() {
        assert!(problems("").is_empty());
        assert!(problems("\n").is_empty());
        let lines = problems("\n{}\r\n  \n{}");
        assert_eq!(lines.into_iter().map(|line| line.expect("a record")).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn an_error_names_file_and_line_and_repeats_nothing() {
        for bad in [r#"{"success":"hunter2"}"#, r#"{"username":"hunter2""#, "hunter2", r#""hunter2""#] {
            let lines = problems(format!("{{}}\n{bad}\n{{}}"));

            assert_eq!(lines.len(), 3, "{bad}");
            let error = lines[1].as_ref().expect_err("must be refused");
            assert_eq!(error.to_string(), "cannot read line 2 of attempts.jsonl");
            let mut told = format!("{error:?}");
            let mut cause = error.source();
            while let Some(error) = cause {
                told += &format!(" {error}");
                cause = error.source();
            }
            assert!(told.contains("not an attempt record"), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_byte_more_is_skipped() {
        let padded = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
        let lines = problems(format!("{}\n{}\n{{}}", padded(LINE_MAX), padded(LINE_MAX + 1)));

        assert!(lines[0].is_ok());
        let error = lines[1].as_ref().expect_err("too long");
        assert!(matches!(error.problem, LineProblem::TooLong));
        assert!(!error.problem.is_final());
        assert_eq!(*lines[2].as_ref().expect("read on"), 3);
    }

    #[test]
    fn a_line_that_decompresses_without_end_ends_the_reading() {
        let bomb = gzip(&vec![b' '; SKIP_MAX + 2 * LINE_MAX]);
        assert!(bomb.len() < SKIP_MAX / 50);

        let lines = problems(bomb);

        assert_eq!(lines.len(), 1);
        let error = lines[0].as_ref().expect_err("refused");
        assert!(matches!(error.problem, LineProblem::Endless));
    }

    #[test]
    fn a_compressed_file_that_is_cut_off_ends_with_an_error_not_with_silence() {
        let whole = gzip(&b"{\"username\":\"anna\"}\n".repeat(1000));

        let lines = problems(&whole[..whole.len() - 6]);

        let last = lines.last().expect("something").as_ref().expect_err("cut off");
        assert!(matches!(last.problem, LineProblem::Io(_)));
        assert!(lines[..lines.len() - 1].iter().all(Result::is_ok));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = RecordReader::open(Path::new("/nonexistent/attempts.jsonl")).err().expect("is missing");

        assert_eq!(error.to_string(), "cannot open /nonexistent/attempts.jsonl");
    }
}
