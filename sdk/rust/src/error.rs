// SPDX-License-Identifier: Apache-2.0

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use crate::context::{op, Root};
use crate::json::quote;

/// An error that the host answered a query with. "Errors".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// It is not there. The methods of `Context` say `None` instead.
    pub const NOT_FOUND: Code = Code(-1);
    /// The mode's manifest or the administrator does not grant it.
    pub const DENIED: Code = Code(-2);
    /// A folder where a file was asked for, a device, a FIFO, not a link.
    pub const WRONG_TYPE: Code = Code(-3);
    /// The answer is over the host's limit.
    pub const TOO_LARGE: Code = Code(-4);
    /// The key is not absolute, not a pattern, too long: a bug of the mode.
    pub const INVALID_ARGUMENT: Code = Code(-5);
    /// This host does not know the query, the root or the kind.
    pub const UNSUPPORTED: Code = Code(-6);
    /// The machine would not say.
    pub const IO_ERROR: Code = Code(-7);
    /// Asked outside `tenon_discover`.
    pub const WRONG_STATE: Code = Code(-8);
    /// This run has asked too much; every later query fails likewise.
    pub const OVER_BUDGET: Code = Code(-9);
}

impl fmt::Display for Code {
    /// Says what the code means, without the thing that was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Code::NOT_FOUND => "does not exist",
            Code::DENIED => "not granted to this mode",
            Code::WRONG_TYPE => "has the wrong file type",
            Code::TOO_LARGE => "over the size limit",
            Code::INVALID_ARGUMENT => "not a valid argument; this is a bug of the mode",
            Code::UNSUPPORTED => "this version of tenon cannot answer that",
            Code::IO_ERROR => "not readable on this machine",
            Code::WRONG_STATE => "asked outside tenon_discover; this is a bug of the mode",
            Code::OVER_BUDGET => "the mode has asked more than its limits allow",
            _ => return write!(f, "unknown error {}", self.0),
        })
    }
}

/// What a mode's function returns in place of edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The mode has nothing to say about this container or this machine: with
    /// mode "auto" or a list of modes the others go on. "Results".
    NotApplicable,
    /// The create fails, and the user is shown this behind "tenon: mode NAME: ".
    /// So it is one line that begins with the thing that is wrong.
    Failed(String),
    /// A query that had no answer; a mode mostly passes it on with `?`.
    Query {
        /// What was asked, by its number in "Queries".
        op: u32,
        /// In which root.
        root: Root,
        /// For what.
        key: String,
        /// What the host said.
        code: Code,
    },
    /// An answer that is not framed as the ABI has it: a bug of the host.
    Malformed {
        /// What was asked for.
        key: String,
    },
}

impl Error {
    /// Makes the error that fails the create with one line.
    pub fn failed(reason: &str) -> Error {
        Error::Failed(reason.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotApplicable => f.write_str("this mode does not apply"),
            Error::Failed(reason) => f.write_str(reason),
            Error::Malformed { key } => {
                write!(f, "{}: the answer is malformed; this is a bug of tenon, please report", quote(key))
            }
            Error::Query { op, root, key, code } => {
                let what = match *op {
                    op::ENV => "variable ",
                    op::ANNOTATION => "annotation ",
                    op::SPEC => "config.json ",
                    op::CONFIG => "config key ",
                    op::REQUEST => "request ",
                    _ => "",
                };
                let path = matches!(*op, op::STAT | op::READDIR | op::READ | op::READLINK | op::GLOB | op::REALPATH);
                let place = match root {
                    Root::Container if path => " in the container",
                    Root::Driver if path => " in the driver root",
                    _ => "",
                };
                let quoted = quote(key);
                let plain = path && quoted.len() == key.len() + 2;
                write!(f, "{}{}{}: {}", what, if plain { key } else { &quoted }, place, code)
            }
        }
    }
}
