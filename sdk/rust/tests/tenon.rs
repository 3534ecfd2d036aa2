// SPDX-License-Identifier: Apache-2.0

//! The writer of edits against the document that all SDKs must write, answers
//! taken apart, and what a run tells the host.

use tenon::{
    run, BuiltinHook, Code, Context, DeviceRule, Devices, DirEntry, Edits, Error, Hook, Host, IntelRdt, Mount, NetDevice, Root, Stat,
    Table,
};

/// At least one edit of every kind.
fn all() -> Edits {
    let mut e = Edits::default();
    e.annotations.insert("acme.com/injected".into(), "2".into());
    e.annotations.insert("acme.com/text".into(), "\"\\\u{8}\t\n\u{c}\r\u{1f}\u{7f}/<&>é\u{2028}🚀".into());
    e.env_mode.insert("PATH".into(), "append:".into());
    e.add_device("/dev/acme0");
    let d = e.add_device("/dev/acme1");
    d.host_path = "/run/acme/dev/acme1".into();
    d.kind = "c".into();
    d.major = 240;
    d.minor = 1;
    d.file_mode = Some(0o660);
    d.permissions = "rw".into();
    d.uid = Some(0);
    d.gid = Some(44);
    e.set_env("ACME_DEVICES", "0,1");
    e.set_env("PATH", "/opt/acme/bin");
    e.add_mount("/usr/lib/libacme.so.1", "/usr/lib/libacme.so.1");
    let m = e.add_mount("/opt/acme", "/opt/acme");
    m.options = ["ro", "nosuid", "nodev", "rbind", "rprivate"].map(String::from).to_vec();
    m.kind = "bind".into();
    e.add_gid(44);
    e.add_gid(44);
    e.add_gid(0);
    e.remove_hook("prestart", "nvidia-container-runtime-hook");
    e.remove_env.push("ACME_OLD".into());
    e.remove_mounts.push("/opt/old".into());
    e.remove_devices.push("/dev/old".into());
    e.add_symlink("libacme.so.1", "/usr/lib/libacme.so");
    e.add_ldcache_dir("/usr/lib/acme");
    e.device_rules.push(DeviceRule { kind: "c".into(), major: 240, minor: -1, access: "rw".into() });
    let args = [("path", "/dev/dri"), ("mode", "755")].map(|(k, v)| (k.into(), v.into())).into();
    e.builtin_hooks.push(BuiltinHook { name: "chmod".into(), args });
    e.builtin_hooks.push(BuiltinHook { name: "disable-device-node-modification".into(), ..Default::default() });
    e.net_devices.push(NetDevice { host_interface_name: "acme0".into(), name: "eth1".into() });
    e.hooks.push(Hook {
        hook_name: "createContainer".into(),
        path: "/usr/bin/acme-hook".into(),
        args: vec!["acme-hook".into()],
        env: vec!["A=b".into()],
        timeout: Some(5),
    });
    e.intel_rdt = Some(IntelRdt { clos_id: "acme".into(), enable_monitoring: true, ..Default::default() });
    e
}

#[test]
fn edits_are_the_document_that_every_sdk_writes() {
    assert_eq!(all().json() + "\n", include_str!("../../kit/edits.json"));
    assert_eq!(Edits::default().json(), r#"{"abi":1}"#);
}

fn with<T>(op: u32, root: Root, key: &str, answer: Result<&[u8], Code>, ask: impl Fn(&mut Context) -> T) -> T {
    let mut table = Table::default();
    table.answer(op, root, key, answer);
    let mut context = Context::new(&mut table);
    ask(&mut context)
}

#[test]
fn lists_are_taken_apart() {
    let list = with(10, Root::Host, "/x*", Ok(b"/x1\0/x2\0"), |c| c.glob(Root::Host, "/x*"));
    assert_eq!(list, Ok(vec!["/x1".into(), "/x2".into()]));
    assert_eq!(with(10, Root::Host, "/x*", Ok(b""), |c| c.glob(Root::Host, "/x*")), Ok(vec![]));
    let open = with(10, Root::Host, "/x*", Ok(b"/x1"), |c| c.glob(Root::Host, "/x*"));
    assert_eq!(open, Err(Error::Malformed { key: "/x*".into() }));

    let folder = with(7, Root::Container, "/d", Ok(b"fname\0dsub\0"), |c| c.read_dir(Root::Container, "/d"));
    let entry = |kind, name: &str| DirEntry { kind, name: name.into() };
    assert_eq!(folder, Ok(Some(vec![entry(b'f', "name"), entry(b'd', "sub")])));
    for bad in ["f\0", "fname", "\0", "éa\0"] {
        let folder = with(7, Root::Host, "/d", Ok(bad.as_bytes()), |c| c.read_dir(Root::Host, "/d"));
        assert_eq!(folder, Err(Error::Malformed { key: "/d".into() }), "{:?}", bad);
    }

    let mounts = with(4, Root::Host, "/", Ok(b"/a\0src\0bind\0ro,nodev\0/b\0\0\0\0"), |c| c.mounts("/"));
    let mount = |destination: &str, source: &str, kind: &str, options: &[&str]| Mount {
        destination: destination.into(),
        source: source.into(),
        kind: kind.into(),
        options: options.iter().map(|o| o.to_string()).collect(),
    };
    assert_eq!(mounts, Ok(vec![mount("/a", "src", "bind", &["ro", "nodev"]), mount("/b", "", "", &[])]));
}

#[test]
fn a_request_is_a_place_and_ids() {
    let request = |answer: Result<&[u8], Code>| with(16, Root::Host, "x", answer, |c| c.request("x"));
    let devices = |ids: &[&str]| Devices { place: "ACME".into(), ids: ids.iter().map(|id| id.to_string()).collect() };
    assert_eq!(request(Ok(b"ACME\x001\0all\0")), Ok(Some(devices(&["1", "all"]))));
    assert_eq!(request(Err(Code::NOT_FOUND)), Ok(None));
    for bad in [&b""[..], b"ACME", b"ACME\0", b"ACME\x001", b"ACME\0\xff\0"] {
        assert_eq!(request(Ok(bad)), Err(Error::Malformed { key: "x".into() }), "{:?}", bad);
    }
    let denied = request(Err(Code::DENIED)).unwrap_err();
    assert_eq!(denied.to_string(), "request \"x\": not granted to this mode");

    let machine: Vec<String> = ["0", "1", "10"].map(String::from).to_vec();
    assert_eq!(devices(&["all"]).choose(&machine), Ok(machine.clone()));
    assert_eq!(devices(&["none"]).choose(&machine), Ok(vec![]));
    assert_eq!(devices(&["10", "0"]).choose(&machine), Ok(vec!["0".into(), "10".into()]));
    let want = "ACME: \"a\\\"b\" is not a device of this machine; ask for all, none or some of 0,1,10";
    assert_eq!(devices(&["0", "a\"b"]).choose(&machine), Err(Error::failed(want)));
}

#[test]
fn a_stat_record_may_be_longer_and_not_shorter() {
    let mut record = [0; 40];
    record[0] = b'f';
    record[4..6].copy_from_slice(&[0xa4, 1]);
    record[8] = 1;
    record[12] = 2;
    record[28] = 1;
    let want = Stat { kind: b'f', mode: 0o644, uid: 1, gid: 2, major: 0, minor: 0, size: 1 << 32 };
    assert_eq!(with(6, Root::Host, "/f", Ok(&record), |c| c.stat(Root::Host, "/f")), Ok(Some(want)));
    let short = with(6, Root::Host, "/f", Ok(&record[..31]), |c| c.stat(Root::Host, "/f"));
    assert_eq!(short, Err(Error::Malformed { key: "/f".into() }));
}

#[test]
fn an_answer_larger_than_the_buffer_is_asked_for_again() {
    let large = vec![b'x'; 100_000];
    let content = with(8, Root::Host, "/f", Ok(&large), |c| c.read_file(Root::Host, "/f"));
    assert_eq!(content, Ok(Some(large.clone())));
}

#[test]
fn codes_are_errors_that_name_what_was_asked_for() {
    let absent = with(1, Root::Host, "A", Err(Code::NOT_FOUND), |c| c.env("A"));
    assert_eq!(absent, Ok(None));
    let text = |op, root, key: &str, code| Error::Query { op, root, key: key.into(), code }.to_string();
    for (got, want) in [
        (text(1, Root::Host, "A", Code::DENIED), "variable \"A\": not granted to this mode"),
        (text(2, Root::Host, "a\"b", Code::OVER_BUDGET), "annotation \"a\\\"b\": the mode has asked more than its limits allow"),
        (text(3, Root::Host, "/x", Code::TOO_LARGE), "config.json \"/x\": over the size limit"),
        (text(8, Root::Container, "/f", Code::WRONG_TYPE), "/f in the container: has the wrong file type"),
        (text(8, Root::Host, "/f\n", Code::IO_ERROR), "\"/f\\u000a\": not readable on this machine"),
        (text(15, Root::Driver, "smi", Code::UNSUPPORTED), "\"smi\": this version of tenon cannot answer that"),
        (text(6, Root::Host, "/f", Code(-77)), "/f: unknown error -77"),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn a_run_tells_the_host_its_edits_or_why_there_are_none() {
    fn one(c: &mut Context) -> Result<Edits, Error> {
        c.explain("because");
        let mut e = Edits::default();
        e.add_device("/dev/acme0");
        Ok(e)
    }
    let mut host = Table::default();
    assert_eq!(run(&mut host, one), 0);
    assert_eq!(host.emitted, [r#"{"abi":1,"containerEdits":{"deviceNodes":[{"path":"/dev/acme0"}]}}"#]);
    assert_eq!((host.explained, host.reason), (vec!["because".to_string()], String::new()));

    let mut host = Table::default();
    assert_eq!(run(&mut host, |_| Ok(Edits::default())), 0);
    assert_eq!(run(&mut host, |_| Err(Error::NotApplicable)), 2);
    assert_eq!((host.emitted.len(), host.reason.as_str()), (0, ""));
    assert_eq!(run(&mut host, |_| Err(Error::failed("/dev/x: is gone"))), 1);
    assert_eq!(host.reason, "/dev/x: is gone");
    assert_eq!(run(&mut host, |_| Err(Error::Failed("x".repeat(4095) + "é and more"))), 1);
    assert_eq!(host.reason, "x".repeat(4095));

    // A host that refuses edits fails the run: they must not be lost in silence.
    struct Refusing(String);
    impl Host for Refusing {
        fn query(&mut self, _: u32, _: u32, _: &[u8], _: &mut [u8]) -> i64 {
            -1
        }
        fn emit(&mut self, kind: u32, content: &[u8]) -> i32 {
            if kind == 1 {
                self.0 = String::from_utf8(content.to_vec()).unwrap();
            }
            -4
        }
        fn log(&mut self, _: u32, _: &[u8]) {}
    }
    let mut host = Refusing(String::new());
    assert_eq!(run(&mut host, one), 1);
    assert_eq!(host.0, "edits: over the size limit");
}
