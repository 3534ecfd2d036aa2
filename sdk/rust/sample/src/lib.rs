// SPDX-License-Identifier: Apache-2.0

//! Mode acme gives a container the devices of a vendor that does not exist: it
//! is the sample of a mode written in Rust. `../../../sample` and
//! `../../../c/sample` are the same mode in Go and C, and all three give the same
//! bytes.
//!
//! A container asks by ACME_VISIBLE_DEVICES, or by mounts below
//! /var/run/acme-devices: "all", or indexes such as "0,2-3". manifest.json names
//! these places, and the rules for lists are the host's. An index that the machine
//! does not have fails the create: a container that asks for a device does not
//! start without it.

use tenon::{Context, Edits, Error, Root};

tenon::mode!(discover);

const PREFIX: &str = "/dev/acme";

/// Finds out what one container gets.
pub fn discover(c: &mut Context) -> Result<Edits, Error> {
    let asked = c.request("")?.ok_or(Error::NotApplicable)?;
    // The driver, and so /dev, may be installed below a folder of its own.
    let driver_root = c.config("driver_root")?.filter(|root| root != "/").unwrap_or_default();
    let indexes = devices(c)?;
    let mut edits = Edits::default();
    for index in asked.choose(&indexes)? {
        let path = PREFIX.to_owned() + &index;
        let device = edits.add_device(&path);
        if !driver_root.is_empty() {
            device.host_path = driver_root.clone() + &path;
        }
        c.explain(&(path + ": asked for by " + &asked.place));
    }
    Ok(edits)
}

/// The indexes of the machine's devices, sorted as text. Their numbers are for
/// the host to find out.
fn devices(c: &mut Context) -> Result<Vec<String>, Error> {
    let mut indexes = Vec::new();
    for path in c.glob(Root::Driver, "/dev/acme[0-9]*")? {
        let index = path.strip_prefix(PREFIX).unwrap_or_default();
        if !digits(index) {
            continue; // such as /dev/acme0ctl
        }
        match c.stat(Root::Driver, &path)? {
            Some(st) if st.kind == b'c' => indexes.push(index.to_owned()),
            _ => c.explain(&(path.clone() + ": left out, it is not a character device")),
        }
    }
    if indexes.is_empty() {
        return Err(Error::Failed(PREFIX.to_owned() + "0: this machine has no such device; load its driver"));
    }
    Ok(indexes)
}

fn digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::discover;
    use tenon::{Code, Error, Root, Table};

    /// Three devices, the control node of one, and a file where a device should be.
    fn machine(asked: &[&str]) -> Table {
        let mut m = Table::default();
        m.request("", "ACME_VISIBLE_DEVICES", asked).config("driver_root", Some("/"));
        m.glob(
            Root::Driver,
            "/dev/acme[0-9]*",
            &["/dev/acme0", "/dev/acme0ctl", "/dev/acme1", "/dev/acme10", "/dev/acme2"],
        );
        for (minor, index) in [(0, "0"), (1, "1"), (10, "10")] {
            m.stat(Root::Driver, &format!("/dev/acme{}", index), b'c', 0o660, 240, minor);
        }
        m.stat(Root::Driver, "/dev/acme2", b'f', 0o644, 0, 0);
        m
    }

    fn document(devices: &str) -> Result<String, Error> {
        Ok(format!("{{\"abi\":1,\"containerEdits\":{{\"deviceNodes\":[{}]}}}}", devices))
    }

    fn refused(asked: &[&str], want: &str) {
        assert_eq!(machine(asked).run(discover), Err(Error::failed(want)), "{:?}", asked);
    }

    #[test]
    fn who_asks_for_nothing_gets_nothing() {
        assert_eq!(machine(&[]).run(discover), Err(Error::NotApplicable));
    }

    #[test]
    fn all_gives_every_character_device_and_says_why() {
        let mut m = machine(&["all"]);
        let want = document(r#"{"path":"/dev/acme0"},{"path":"/dev/acme1"},{"path":"/dev/acme10"}"#);
        assert_eq!(m.run(discover), want);
        assert_eq!(
            m.explained,
            [
                "/dev/acme2: left out, it is not a character device",
                "/dev/acme0: asked for by ACME_VISIBLE_DEVICES",
                "/dev/acme1: asked for by ACME_VISIBLE_DEVICES",
                "/dev/acme10: asked for by ACME_VISIBLE_DEVICES",
            ]
        );
    }

    #[test]
    fn indexes_give_those_devices_once_in_the_order_of_the_machine() {
        let want = document(r#"{"path":"/dev/acme0"},{"path":"/dev/acme10"}"#);
        assert_eq!(machine(&["10", "0"]).run(discover), want);
    }

    #[test]
    fn a_driver_root_of_its_own_is_where_the_host_finds_the_device() {
        let mut m = machine(&["1"]);
        m.config("driver_root", Some("/run/acme"));
        let want = document(r#"{"path":"/dev/acme1","hostPath":"/run/acme/dev/acme1"}"#);
        assert_eq!(m.run(discover), want);
    }

    #[test]
    fn what_the_machine_does_not_have_is_refused() {
        refused(&["0", "7"], "ACME_VISIBLE_DEVICES: \"7\" is not a device of this machine; ask for all, none or some of 0,1,10");
        refused(&["2"], "ACME_VISIBLE_DEVICES: \"2\" is not a device of this machine; ask for all, none or some of 0,1,10");
        let mut none = machine(&["all"]);
        none.glob(Root::Driver, "/dev/acme[0-9]*", &[]);
        let want = Error::failed("/dev/acme0: this machine has no such device; load its driver");
        assert_eq!(none.run(discover), Err(want));
    }

    #[test]
    fn none_gives_no_device() {
        assert_eq!(machine(&["none"]).run(discover), Ok(String::new()));
    }

    #[test]
    fn a_query_that_is_not_granted_is_named() {
        let mut m = machine(&["all"]);
        m.answer(10, Root::Driver, "/dev/acme[0-9]*", Err(Code::DENIED));
        let error = m.run(discover).unwrap_err();
        assert_eq!(error.to_string(), "/dev/acme[0-9]* in the driver root: not granted to this mode");
    }
}
