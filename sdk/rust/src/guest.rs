// SPDX-License-Identifier: Apache-2.0

use crate::Host;

// The three functions of the host. "Imports".
#[link(wasm_import_module = "tenon_v1")]
extern "C" {
    fn query(op: u32, root: u32, key: *const u8, key_len: usize, buf: *mut u8, buf_cap: usize) -> i64;
    fn emit(kind: u32, ptr: *const u8, len: usize) -> i32;
    fn log(level: u32, ptr: *const u8, len: usize);
}

/// The host, as a guest reaches it.
pub struct Imports;

// Every pointer below comes from a slice with its length, and the host neither
// keeps one nor writes more than it was told of: "Memory".
impl Host for Imports {
    fn query(&mut self, op: u32, root: u32, key: &[u8], buf: &mut [u8]) -> i64 {
        unsafe { query(op, root, key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len()) }
    }
    fn emit(&mut self, kind: u32, content: &[u8]) -> i32 {
        unsafe { emit(kind, content.as_ptr(), content.len()) }
    }
    fn log(&mut self, level: u32, text: &[u8]) {
        unsafe { log(level, text.as_ptr(), text.len()) }
    }
}
