// SPDX-License-Identifier: Apache-2.0

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::fmt::Display;

/// A JSON string: only what must be escaped is, RFC 8259 section 7.
pub fn quote(s: &str) -> String {
    let mut out = String::new();
    put_quoted(&mut out, s);
    out
}

fn put_quoted(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\0'..='\x1f' => {
                out.push_str("\\u00");
                for digit in [c as u32 >> 4, c as u32 & 15] {
                    out.extend(char::from_digit(digit, 16));
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Appends JSON. Members that say nothing are not written.
pub struct Writer(pub String);

impl Writer {
    pub fn open(&mut self, c: char) {
        self.0.push(c);
    }

    pub fn close(&mut self, c: char) {
        self.0.push(c);
    }

    /// Parts what comes from what stands before it.
    pub fn comma(&mut self) {
        if !self.0.ends_with(|c| c == '{' || c == '[') {
            self.0.push(',');
        }
    }

    pub fn name(&mut self, name: &str) {
        self.comma();
        put_quoted(&mut self.0, name);
        self.0.push(':');
    }

    pub fn member(&mut self, name: &str, value: &str) {
        self.name(name);
        put_quoted(&mut self.0, value);
    }

    pub fn optional(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.member(name, value);
        }
    }

    pub fn value<T: Display>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.name(name);
            self.0.push_str(&value.to_string());
        }
    }

    pub fn strings(&mut self, name: &str, list: &[String]) {
        self.list(name, list, |w, s| put_quoted(&mut w.0, s));
    }

    pub fn map(&mut self, name: &str, map: &BTreeMap<String, String>) {
        if map.is_empty() {
            return;
        }
        self.name(name);
        self.open('{');
        for (key, value) in map {
            self.member(key, value);
        }
        self.close('}');
    }

    pub fn list<T>(&mut self, name: &str, list: &[T], write: impl Fn(&mut Writer, &T)) {
        if list.is_empty() {
            return;
        }
        self.name(name);
        self.open('[');
        for element in list {
            self.comma();
            write(self, element);
        }
        self.close(']');
    }

    pub fn objects<T>(&mut self, name: &str, list: &[T], write: impl Fn(&mut Writer, &T)) {
        self.list(name, list, |w, element| {
            w.open('{');
            write(w, element);
            w.close('}');
        });
    }

    /// Writes an object, and takes it back if nothing is in it.
    pub fn group(&mut self, name: &str, write: impl Fn(&mut Writer)) {
        let before = self.0.len();
        self.name(name);
        self.open('{');
        let empty = self.0.len();
        write(self);
        if self.0.len() == empty {
            self.0.truncate(before);
        } else {
            self.close('}');
        }
    }
}
