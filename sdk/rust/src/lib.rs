// SPDX-License-Identifier: Apache-2.0

//! What a mode written in Rust imports: it asks the machine, and answers with
//! edits, by the ABI of `../../ABI.md`. It needs no other crate, and of the
//! standard library only `alloc`.
//!
//! A mode names its function with [`mode!`]. The function gets a [`Context`],
//! asks what it must know, and returns [`Edits`], or [`Error::NotApplicable`],
//! or an error that fails the create:
//!
//! ```
//! use tenon::{Context, Edits, Error};
//!
//! fn discover(c: &mut Context) -> Result<Edits, Error> {
//!     let asked = c.request("")?.ok_or(Error::NotApplicable)?;
//!     let mut edits = Edits::default();
//!     for id in asked.choose(&["0".to_string()])? {
//!         edits.add_device(&("/dev/acme".to_string() + &id));
//!     }
//!     Ok(edits)
//! }
//!
//! tenon::mode!(discover);
//! # fn main() {}
//! ```
//!
//! Built for `wasm32-unknown-unknown` or `wasm32-wasi`, as a `cdylib`, the
//! answers come from the host. Built natively they come from a [`Table`], so that
//! a mode is tested by plain `cargo test`. Names in quotes below are sections of
//! ABI.md.

#![no_std]
#![deny(missing_docs)]

extern crate alloc;

mod context;
mod edits;
mod error;
#[cfg(target_arch = "wasm32")]
mod guest;
mod json;
mod table;

pub use context::{Context, Devices, DirEntry, Host, Level, Mount, Root, Stat};
pub use edits::{BuiltinHook, DeviceNode, DeviceRule, Edits, Hook, IntelRdt, MountEdit, NetDevice};
pub use error::{Code, Error};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use guest::Imports;
pub use table::Table;

use alloc::format;

/// Results of `tenon_discover`. "Results".
const DONE: i32 = 0;
const FAILED: i32 = 1;
const NOT_APPLICABLE: i32 = 2;

/// Kinds of emit. "emit".
const EMIT_EDITS: u32 = 0;
const EMIT_REASON: u32 = 1;
const EMIT_EXPLAIN: u32 = 2;

/// Bytes of a reason. "Limits".
const MAX_REASON: usize = 4096;

/// Runs a mode's function once, tells the host what came out, and returns the
/// result of `tenon_discover`. [`mode!`] calls it; tests do with a [`Table`].
pub fn run(host: &mut dyn Host, discover: fn(&mut Context) -> Result<Edits, Error>) -> i32 {
    let result = discover(&mut Context::new(host));
    match result {
        Err(Error::NotApplicable) => NOT_APPLICABLE,
        Err(error) => {
            let mut reason = format!("{}", error);
            while reason.len() > MAX_REASON {
                reason.pop();
            }
            host.emit(EMIT_REASON, reason.as_bytes());
            FAILED
        }
        Ok(edits) if edits == Edits::default() => DONE,
        Ok(edits) => match host.emit(EMIT_EDITS, edits.json().as_bytes()) {
            0 => DONE,
            code => {
                host.emit(EMIT_REASON, format!("edits: {}", Code(code)).as_bytes());
                FAILED
            }
        },
    }
}

/// Makes the module's one entry point, `tenon_discover`, of a mode's function.
/// Natively it is nothing, so that the same file is tested. "Lifecycle".
#[macro_export]
macro_rules! mode {
    ($discover:path) => {
        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn tenon_discover() -> i32 {
            $crate::run(&mut $crate::Imports, $discover)
        }
    };
}
