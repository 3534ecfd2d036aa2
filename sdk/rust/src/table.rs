// SPDX-License-Identifier: Apache-2.0

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::context::op;
use crate::{Code, Context, Edits, Error, Host, Root, EMIT_EDITS, EMIT_EXPLAIN};

/// A host that answers from a table, so that a mode is tested natively, with
/// neither wasm tools nor the hardware. A query that the table does not hold
/// panics with its name: a mode must not ask what its tests do not know.
///
/// ```
/// use tenon::{Root, Table};
///
/// let mut machine = Table::default();
/// machine.request("", "ACME_VISIBLE_DEVICES", &["all"]);
/// machine.glob(Root::Driver, "/dev/acme[0-9]*", &["/dev/acme0"]);
/// machine.stat(Root::Driver, "/dev/acme0", b'c', 0o666, 240, 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Table {
    answers: BTreeMap<(u32, u32, String), Result<Vec<u8>, Code>>,
    /// The lines that the mode has given to [`Context::explain`] in its last run.
    pub explained: Vec<String>,
    /// Likewise the edits documents.
    pub emitted: Vec<String>,
    /// Likewise the reason, if the run failed.
    pub reason: String,
}

impl Table {
    /// Says how any query is answered, by the number of its op in "Queries".
    pub fn answer(&mut self, op: u32, root: Root, key: &str, answer: Result<&[u8], Code>) -> &mut Table {
        let answer = answer.map(|bytes| bytes.to_vec());
        self.answers.insert((op, root as u32, key.to_owned()), answer);
        self
    }

    fn text(&mut self, op: u32, root: Root, key: &str, value: Option<&str>) -> &mut Table {
        self.answer(op, root, key, value.map(str::as_bytes).ok_or(Code::NOT_FOUND))
    }

    /// What the container asks for by a request of the mode's manifest, and where;
    /// no ids if it asks for nothing.
    pub fn request(&mut self, name: &str, place: &str, ids: &[&str]) -> &mut Table {
        let mut answer = Vec::new();
        for item in core::iter::once(&place).chain(ids) {
            answer.extend_from_slice(item.as_bytes());
            answer.push(0);
        }
        let answer = if ids.is_empty() { Err(Code::NOT_FOUND) } else { Ok(answer.as_slice()) };
        self.answer(op::REQUEST, Root::Host, name, answer)
    }

    /// A variable of the container; `None` if it has none of that name.
    pub fn env(&mut self, name: &str, value: Option<&str>) -> &mut Table {
        self.text(op::ENV, Root::Host, name, value)
    }

    /// A value of the mode's own table in the config.
    pub fn config(&mut self, key: &str, value: Option<&str>) -> &mut Table {
        self.text(op::CONFIG, Root::Host, key, value)
    }

    /// The content of a file.
    pub fn file(&mut self, root: Root, path: &str, content: Option<&str>) -> &mut Table {
        self.text(op::READ, root, path, content)
    }

    /// What a pattern matches; sorted, as the host has it.
    pub fn glob(&mut self, root: Root, pattern: &str, paths: &[&str]) -> &mut Table {
        let mut list: Vec<&str> = paths.to_vec();
        list.sort_unstable();
        let mut answer = Vec::new();
        for path in list {
            answer.extend_from_slice(path.as_bytes());
            answer.push(0);
        }
        self.answer(op::GLOB, root, pattern, Ok(&answer))
    }

    /// What lstat says of a path: type letter, permission bits, device numbers.
    /// Owner and size are 0.
    pub fn stat(&mut self, root: Root, path: &str, kind: u8, mode: u32, major: u32, minor: u32) -> &mut Table {
        let mut record = [0; 32];
        record[0] = kind;
        record[4..8].copy_from_slice(&mode.to_le_bytes());
        record[16..20].copy_from_slice(&major.to_le_bytes());
        record[20..24].copy_from_slice(&minor.to_le_bytes());
        self.answer(op::STAT, root, path, Ok(&record))
    }

    /// Runs a mode's function, and returns the edits document, "" for no edits,
    /// or what it returned in place of edits.
    pub fn run(&mut self, discover: fn(&mut Context) -> Result<Edits, Error>) -> Result<String, Error> {
        self.explained.clear();
        self.emitted.clear();
        self.reason.clear();
        let edits = discover(&mut Context::new(self))?;
        Ok(if edits == Edits::default() { String::new() } else { edits.json() })
    }
}

impl Host for Table {
    fn query(&mut self, op: u32, root: u32, key: &[u8], buf: &mut [u8]) -> i64 {
        let key = core::str::from_utf8(key).expect("the key of a query is UTF-8");
        match self.answers.get(&(op, root, key.to_owned())) {
            None => panic!("the test's table has no answer for op {} of root {}: {:?}", op, root, key),
            Some(Err(code)) => code.0.into(),
            Some(Ok(answer)) => {
                if let Some(to) = buf.get_mut(..answer.len()) {
                    to.copy_from_slice(answer);
                }
                answer.len() as i64
            }
        }
    }

    fn emit(&mut self, kind: u32, content: &[u8]) -> i32 {
        let text = match core::str::from_utf8(content) {
            Ok(text) => text.to_owned(),
            Err(_) => return Code::INVALID_ARGUMENT.0,
        };
        match kind {
            EMIT_EDITS => self.emitted.push(text),
            EMIT_EXPLAIN => self.explained.push(text),
            _ => self.reason = text,
        }
        0
    }

    fn log(&mut self, _level: u32, _text: &[u8]) {}
}
