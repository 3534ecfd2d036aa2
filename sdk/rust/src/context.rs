// SPDX-License-Identifier: Apache-2.0

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::json::quote;
use crate::{Code, Error, EMIT_EXPLAIN};

/// The tree that a path is looked up in. Every link is resolved inside its root,
/// and every path in an answer is relative to it. "Queries".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The machine's own `/`.
    Host = 0,
    /// The container's root file system: the image is hostile.
    Container = 1,
    /// Where the driver is installed: driver_root of the config, mostly `/`.
    Driver = 2,
}

/// The numbers of the queries. "Queries"; 14 is reserved.
pub(crate) mod op {
    pub const ENV: u32 = 1;
    pub const ANNOTATION: u32 = 2;
    pub const SPEC: u32 = 3;
    pub const MOUNTS: u32 = 4;
    pub const CONFIG: u32 = 5;
    pub const STAT: u32 = 6;
    pub const READDIR: u32 = 7;
    pub const READ: u32 = 8;
    pub const READLINK: u32 = 9;
    pub const GLOB: u32 = 10;
    pub const LDLOOKUP: u32 = 11;
    pub const REALPATH: u32 = 12;
    pub const FEATURE: u32 = 13;
    pub const WHICH: u32 = 15;
    pub const REQUEST: u32 = 16;
}

/// How much a log line matters. "log".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// The three functions of the host. A guest reaches the real one, and a test a
/// [`Table`](crate::Table).
pub trait Host {
    /// Asks. Returns the length of the whole answer, which is in `buf` if it
    /// fits and else nowhere, or a [`Code`].
    fn query(&mut self, op: u32, root: u32, key: &[u8], buf: &mut [u8]) -> i64;
    /// Hands out edits (kind 0), the reason of a failure (1) or a line of
    /// explanation (2). Returns 0 or a [`Code`].
    fn emit(&mut self, kind: u32, content: &[u8]) -> i32;
    /// Writes to the host's debug log.
    fn log(&mut self, level: u32, text: &[u8]);
}

/// What lstat says, without what differs from boot to boot. "stat".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `f` file, `d` folder, `l` link, `c` or `b` device, `p` FIFO, `s` socket.
    pub kind: u8,
    /// The bits 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a device, else 0.
    pub major: u32,
    /// Of a device, else 0.
    pub minor: u32,
    /// Bytes, of a file or link outside procfs and sysfs, else 0.
    pub size: u64,
}

/// One name of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// As in [`Stat`].
    pub kind: u8,
    /// Without a slash.
    pub name: String,
}

/// A mount of the container's config.json, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Mount {
    pub destination: String,
    pub source: String,
    pub kind: String,
    pub options: Vec<String>,
}

/// What a container asks a mode for. "Requests".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Where it asks, for messages: a variable, `annotation ` and a key, or the
    /// folder of mounts.
    pub place: String,
    /// `all` or `none`, or ids in the order in which they were asked for, each once.
    /// There is one at least.
    pub ids: Vec<String>,
}

impl Devices {
    /// Those of the machine's ids that are asked for, in the machine's order. The
    /// error is for the user, whose list names what the machine does not have.
    pub fn choose(&self, machine: &[String]) -> Result<Vec<String>, Error> {
        let word = |word| self.ids.len() == 1 && self.ids[0] == word;
        if word("all") || word("none") {
            return Ok(if word("all") { machine.to_vec() } else { Vec::new() });
        }
        match self.ids.iter().find(|id| !machine.contains(id)) {
            Some(id) => Err(Error::Failed(format!(
                "{}: {} is not a device of this machine; ask for all, none or some of {}",
                self.place,
                quote(id),
                machine.join(",")
            ))),
            None => Ok(machine.iter().filter(|id| self.ids.contains(id)).cloned().collect()),
        }
    }
}

/// Asks the host for one container. What is not there is `None`, never an error.
/// Within one run the same question has the same answer.
pub struct Context<'a> {
    host: &'a mut dyn Host,
    buf: Vec<u8>,
}

impl<'a> Context<'a> {
    /// Makes a context that asks a host; [`run`](crate::run) does.
    pub fn new(host: &'a mut dyn Host) -> Context<'a> {
        Context { host, buf: vec![0; 16 << 10] }
    }

    fn bytes(&mut self, op: u32, root: Root, key: &str) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let n = self.host.query(op, root as u32, key.as_bytes(), &mut self.buf);
            match usize::try_from(n) {
                Ok(n) if n <= self.buf.len() => return Ok(Some(self.buf[..n].to_vec())),
                // The host remembers its first answer, so this happens once.
                Ok(n) => self.buf = vec![0; n],
                Err(_) => match Code(n as i32) {
                    Code::NOT_FOUND => return Ok(None),
                    code => return Err(Error::Query { op, root, key: key.to_owned(), code }),
                },
            }
        }
    }

    fn text(&mut self, op: u32, root: Root, key: &str) -> Result<Option<String>, Error> {
        match self.bytes(op, root, key)? {
            None => Ok(None),
            Some(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| malformed(key)),
        }
    }

    fn list(&mut self, op: u32, root: Root, key: &str) -> Result<Vec<String>, Error> {
        let text = self.text(op, root, key)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let inner = text.strip_suffix('\0').ok_or_else(|| malformed(key))?;
        Ok(inner.split('\0').map(str::to_owned).collect())
    }

    /// What the container asks for by one of the requests that the mode's manifest
    /// has; `""` is the name of the one that has none. `None` if it asks for nothing,
    /// by `void` too. A container with a malformed list was refused before.
    pub fn request(&mut self, name: &str) -> Result<Option<Devices>, Error> {
        match self.bytes(op::REQUEST, Root::Host, name)? {
            None => Ok(None),
            Some(answer) => {
                let text = String::from_utf8(answer).map_err(|_| malformed(name))?;
                let mut list = text.strip_suffix('\0').ok_or_else(|| malformed(name))?.split('\0').map(str::to_owned);
                let place = list.next().unwrap_or_default();
                let ids: Vec<String> = list.collect();
                if ids.is_empty() {
                    return Err(malformed(name));
                }
                Ok(Some(Devices { place, ids }))
            }
        }
    }

    /// The value of the container's last `NAME=`.
    pub fn env(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.text(op::ENV, Root::Host, name)
    }

    /// The value of one annotation of the container.
    pub fn annotation(&mut self, key: &str) -> Result<Option<String>, Error> {
        self.text(op::ANNOTATION, Root::Host, key)
    }

    /// The part of config.json that an RFC 6901 pointer names, as compact JSON.
    /// Ask for little: an answer that differs from container to container makes
    /// the host run the mode again for each.
    pub fn spec(&mut self, pointer: &str) -> Result<Option<String>, Error> {
        self.text(op::SPEC, Root::Host, pointer)
    }

    /// The container's mounts at or below an absolute folder.
    pub fn mounts(&mut self, prefix: &str) -> Result<Vec<Mount>, Error> {
        let fields = self.list(op::MOUNTS, Root::Host, prefix)?;
        if fields.len() % 4 != 0 {
            return Err(malformed(prefix));
        }
        let mount = |f: &[String]| Mount {
            destination: f[0].clone(),
            source: f[1].clone(),
            kind: f[2].clone(),
            options: f[3].split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect(),
        };
        Ok(fields.chunks(4).map(mount).collect())
    }

    /// A value of the mode's own table in the administrator's config: a string
    /// as it is, anything else as JSON.
    pub fn config(&mut self, key: &str) -> Result<Option<String>, Error> {
        self.text(op::CONFIG, Root::Host, key)
    }

    /// What `path` is; a link at its end is not followed. A record of more than
    /// 32 bytes is that of a newer host, and good.
    pub fn stat(&mut self, root: Root, path: &str) -> Result<Option<Stat>, Error> {
        let b = match self.bytes(op::STAT, root, path)? {
            None => return Ok(None),
            Some(b) if b.len() < 32 => return Err(malformed(path)),
            Some(b) => b,
        };
        let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Ok(Some(Stat {
            kind: b[0],
            mode: word(4),
            uid: word(8),
            gid: word(12),
            major: word(16),
            minor: word(20),
            size: u64::from(word(24)) | u64::from(word(28)) << 32,
        }))
    }

    /// The names of a folder, sorted.
    pub fn read_dir(&mut self, root: Root, path: &str) -> Result<Option<Vec<DirEntry>>, Error> {
        let text = match self.text(op::READDIR, root, path)? {
            None => return Ok(None),
            Some(text) => text,
        };
        let mut list = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (record, after) = rest.split_once('\0').ok_or_else(|| malformed(path))?;
            if record.len() < 2 || !record.is_char_boundary(1) {
                return Err(malformed(path));
            }
            list.push(DirEntry { kind: record.as_bytes()[0], name: record[1..].to_owned() });
            rest = after;
        }
        Ok(Some(list))
    }

    /// The content of a regular file, links followed; at most 1 MiB.
    pub fn read_file(&mut self, root: Root, path: &str) -> Result<Option<Vec<u8>>, Error> {
        self.bytes(op::READ, root, path)
    }

    /// The text of a link, which need not be UTF-8. What is not a link is
    /// [`Code::WRONG_TYPE`].
    pub fn read_link(&mut self, root: Root, path: &str) -> Result<Option<Vec<u8>>, Error> {
        self.bytes(op::READLINK, root, path)
    }

    /// The sorted paths that match a pattern, segment by segment.
    pub fn glob(&mut self, root: Root, pattern: &str) -> Result<Vec<String>, Error> {
        self.list(op::GLOB, root, pattern)
    }

    /// The sorted real paths of a library by its soname, which may hold a `*`
    /// behind `.so`. The root is host or driver.
    pub fn ld_lookup(&mut self, root: Root, soname: &str) -> Result<Vec<String>, Error> {
        self.list(op::LDLOOKUP, root, soname)
    }

    /// Resolves every link of `path` inside the root.
    pub fn real_path(&mut self, root: Root, path: &str) -> Result<Option<String>, Error> {
        self.text(op::REALPATH, root, path)
    }

    /// Finds a program by its name in the standard folders of the root, which is
    /// host or driver, or by an absolute path.
    pub fn which(&mut self, root: Root, name: &str) -> Result<Option<String>, Error> {
        self.text(op::WHICH, root, name)
    }

    /// Whether the host has something newer than version 1.0 of the ABI, such as
    /// `op.17`. Any doubt is no.
    pub fn feature(&mut self, name: &str) -> bool {
        matches!(self.bytes(op::FEATURE, Root::Host, name), Ok(Some(_)))
    }

    /// Writes a line to the host's debug log. It changes nothing else.
    pub fn log(&mut self, level: Level, text: &str) {
        self.host.log(level as u32, text.as_bytes());
    }

    /// Keeps a line for who asks why the edits are as they are. It must follow
    /// from the answers alone.
    pub fn explain(&mut self, text: &str) {
        self.host.emit(EMIT_EXPLAIN, text.as_bytes());
    }
}

fn malformed(key: &str) -> Error {
    Error::Malformed { key: key.to_owned() }
}
