//! Mode __NAME__ gives a container the devices /dev/__NAME__* that it asks for.
//!
//! A container asks by __VARIABLE__: "all", or indexes such as "0,2-3". manifest.json
//! names the variable, and the rules for lists are those of tenon. An index that the
//! machine does not have fails the create: a container that asks for a device does
//! not start without it.

use tenon::{Context, Edits, Error, Root};

tenon::mode!(discover);

const PREFIX: &str = "/dev/__NAME__";

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
    for path in c.glob(Root::Driver, &(PREFIX.to_owned() + "[0-9]*"))? {
        let index = path.strip_prefix(PREFIX).unwrap_or_default();
        if !index.bytes().all(|b| b.is_ascii_digit()) {
            continue; // such as a control node
        }
        if matches!(c.stat(Root::Driver, &path)?, Some(st) if st.kind == b'c') {
            indexes.push(index.to_owned());
        }
    }
    if indexes.is_empty() {
        return Err(Error::Failed(PREFIX.to_owned() + "0: this machine has no such device; load its driver"));
    }
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use super::{discover, PREFIX};
    use tenon::{Error, Root, Table};

    fn machine(asked: &[&str]) -> Table {
        let path = |rest: &str| PREFIX.to_owned() + rest;
        let mut m = Table::default();
        m.request("", "__VARIABLE__", asked).config("driver_root", Some("/"));
        m.glob(Root::Driver, &path("[0-9]*"), &[&path("0"), &path("0ctl"), &path("1")]);
        m.stat(Root::Driver, &path("0"), b'c', 0o666, 240, 0);
        m.stat(Root::Driver, &path("1"), b'c', 0o660, 240, 1);
        m
    }

    fn document(devices: &str) -> Result<String, Error> {
        Ok(format!("{{\"abi\":1,\"containerEdits\":{{\"deviceNodes\":[{}]}}}}", devices))
    }

    #[test]
    fn who_asks_for_no_device_gets_none() {
        assert_eq!(machine(&[]).run(discover), Err(Error::NotApplicable));
        assert_eq!(machine(&["none"]).run(discover), Ok(String::new()));
    }

    #[test]
    fn all_or_indexes_give_those_devices_once() {
        let all = document(r#"{"path":"/dev/__NAME__0"},{"path":"/dev/__NAME__1"}"#);
        assert_eq!(machine(&["all"]).run(discover), all);
        assert_eq!(machine(&["1"]).run(discover), document(r#"{"path":"/dev/__NAME__1"}"#));
    }

    #[test]
    fn what_the_machine_does_not_have_is_refused() {
        let want = "__VARIABLE__: \"7\" is not a device of this machine; ask for all, none or some of 0,1";
        assert_eq!(machine(&["0", "7"]).run(discover), Err(Error::failed(want)));
    }
}
