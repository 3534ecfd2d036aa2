// SPDX-License-Identifier: Apache-2.0

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::json::Writer;

/// What a mode wants changed: containerEdits of CDI 1.1.0, and what CDI lacks.
/// The default changes nothing. "Edits" says what each member does.
///
/// <https://github.com/cncf-tags/container-device-interface/blob/v1.1.0/SPEC.md>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Devices that the container gets.
    pub device_nodes: Vec<DeviceNode>,
    /// Network interfaces that move into the container.
    pub net_devices: Vec<NetDevice>,
    /// Programs of the host that the low-level runtime starts. They need a grant
    /// of their own: a hook is a program run as root.
    pub hooks: Vec<Hook>,
    /// Mounts that the container gets.
    pub mounts: Vec<MountEdit>,
    /// linux.intelRdt of the runtime-spec.
    pub intel_rdt: Option<IntelRdt>,
    /// Supplementary groups of the container's process.
    pub additional_gids: Vec<u32>,
    /// Names of variables that the container must no longer have.
    pub remove_env: Vec<String>,
    /// Destinations of mounts likewise.
    pub remove_mounts: Vec<String>,
    /// Paths in the container of devices likewise.
    pub remove_devices: Vec<String>,
    /// Hooks likewise: the stage, and the base name of the program.
    pub remove_hooks: Vec<(String, String)>,
    /// By NAME: `unset-only`, or `append` or `prepend` and a separator, such as
    /// `append:`.
    pub env_mode: BTreeMap<String, String>,
    /// Links to create in the container: the link's text, and where it is.
    pub symlinks: Vec<(String, String)>,
    /// Folders to add to the container's ld.so.cache. Those of mounted libraries
    /// need not be named.
    pub ldcache_dirs: Vec<String>,
    /// Devices that are allowed without a node.
    pub device_rules: Vec<DeviceRule>,
    /// Hooks that the host knows how to build.
    pub builtin_hooks: Vec<BuiltinHook>,
    /// Annotations of the container.
    pub annotations: BTreeMap<String, String>,
}

/// A device that the container gets. Only the path must be given: type, numbers
/// and mode are the host's to fill in, which looks at the device itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNode {
    /// In the container; absolute.
    pub path: String,
    /// On the host, if it differs.
    pub host_path: String,
    /// `c`, `b`, `p`.
    pub kind: String,
    /// 0 is the host's own look.
    pub major: i64,
    /// 0 is the host's own look.
    pub minor: i64,
    /// Permission bits.
    pub file_mode: Option<u32>,
    /// cgroup access, of r, w, m; empty is the host's default.
    pub permissions: String,
    /// Owner in the container.
    pub uid: Option<u32>,
    /// Group in the container.
    pub gid: Option<u32>,
}

/// A network interface that moves into the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host_interface_name: String,
    /// Its name in the container.
    pub name: String,
}

/// A program of the host that the low-level runtime starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// A stage of the runtime-spec, such as `createContainer`.
    pub hook_name: String,
    /// On the host; absolute.
    pub path: String,
    /// With the program's name as the first.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Seconds, more than 0.
    pub timeout: Option<u32>,
}

/// A mount that the container gets. Without options it is the host's default, a
/// read-only bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountEdit {
    /// On the host; absolute.
    pub host_path: String,
    /// In the container; absolute.
    pub container_path: String,
    /// Of mount(8).
    pub options: Vec<String>,
    /// Empty is a bind mount.
    pub kind: String,
}

/// linux.intelRdt of the runtime-spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IntelRdt {
    pub clos_id: String,
    pub l3_cache_schema: String,
    pub mem_bw_schema: String,
    pub schemata: Vec<String>,
    pub enable_monitoring: bool,
}

/// Allows devices without creating a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRule {
    /// `c` or `b`.
    pub kind: String,
    /// -1 is any.
    pub major: i64,
    /// -1 is any.
    pub minor: i64,
    /// Of r, w, m, each once.
    pub access: String,
}

/// Names one of the hooks that the host knows how to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltinHook {
    /// Such as `chmod`.
    pub name: String,
    /// As "Edits" has them for each.
    pub args: BTreeMap<String, String>,
}

impl Edits {
    /// Gives the container the device at `path`, under the same path. Fill in
    /// what is returned only where the host's own look must not decide.
    pub fn add_device(&mut self, path: &str) -> &mut DeviceNode {
        push(&mut self.device_nodes, DeviceNode { path: path.to_owned(), ..Default::default() })
    }

    /// Mounts a path of the host: without options, a read-only bind mount.
    pub fn add_mount(&mut self, host_path: &str, container_path: &str) -> &mut MountEdit {
        let (host_path, container_path) = (host_path.to_owned(), container_path.to_owned());
        push(&mut self.mounts, MountEdit { host_path, container_path, ..Default::default() })
    }

    /// Creates `link` in the container; `target` is the link's text.
    pub fn add_symlink(&mut self, target: &str, link: &str) {
        self.symlinks.push((target.to_owned(), link.to_owned()));
    }

    /// Sets a variable of the container, in the place of one that is there.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push(format!("{}={}", name, value));
    }

    /// Adds a supplementary group; 0 and what is there already is left out.
    pub fn add_gid(&mut self, gid: u32) {
        if gid != 0 && !self.additional_gids.contains(&gid) {
            self.additional_gids.push(gid);
        }
    }

    /// Adds a folder to the container's ld.so.cache.
    pub fn add_ldcache_dir(&mut self, dir: &str) {
        self.ldcache_dirs.push(dir.to_owned());
    }

    /// Removes the container's hooks of one stage, such as `prestart`, whose
    /// program has this base name.
    pub fn remove_hook(&mut self, stage: &str, base: &str) {
        self.remove_hooks.push((stage.to_owned(), base.to_owned()));
    }

    /// Writes the edits document. Members that say nothing are left out and maps
    /// are sorted, so the same edits are the same bytes.
    pub fn json(&self) -> String {
        let mut w = Writer(String::with_capacity(4096));
        w.open('{');
        w.value("abi", Some(1));
        w.group("containerEdits", |w| self.container_edits(w));
        w.group("remove", |w| {
            w.strings("env", &self.remove_env);
            w.strings("mounts", &self.remove_mounts);
            w.strings("devices", &self.remove_devices);
            w.objects("hooks", &self.remove_hooks, |w, (stage, base)| {
                w.member("hookName", stage);
                w.member("base", base);
            });
        });
        w.map("envMode", &self.env_mode);
        w.objects("symlinks", &self.symlinks, |w, (target, link)| {
            w.member("target", target);
            w.member("link", link);
        });
        w.group("ldcache", |w| w.strings("dirs", &self.ldcache_dirs));
        w.objects("deviceRules", &self.device_rules, |w, r| {
            w.member("type", &r.kind);
            w.value("major", Some(r.major));
            w.value("minor", Some(r.minor));
            w.member("access", &r.access);
        });
        w.objects("builtinHooks", &self.builtin_hooks, |w, h| {
            w.member("name", &h.name);
            w.map("args", &h.args);
        });
        w.map("annotations", &self.annotations);
        w.close('}');
        w.0
    }

    fn container_edits(&self, w: &mut Writer) {
        w.strings("env", &self.env);
        w.objects("deviceNodes", &self.device_nodes, |w, d| {
            w.member("path", &d.path);
            w.optional("hostPath", &d.host_path);
            w.optional("type", &d.kind);
            w.value("major", Some(d.major).filter(|n| *n != 0));
            w.value("minor", Some(d.minor).filter(|n| *n != 0));
            w.value("fileMode", d.file_mode);
            w.optional("permissions", &d.permissions);
            w.value("uid", d.uid);
            w.value("gid", d.gid);
        });
        w.objects("netDevices", &self.net_devices, |w, d| {
            w.member("hostInterfaceName", &d.host_interface_name);
            w.member("name", &d.name);
        });
        w.objects("hooks", &self.hooks, |w, h| {
            w.member("hookName", &h.hook_name);
            w.member("path", &h.path);
            w.strings("args", &h.args);
            w.strings("env", &h.env);
            w.value("timeout", h.timeout);
        });
        w.objects("mounts", &self.mounts, |w, m| {
            w.member("hostPath", &m.host_path);
            w.member("containerPath", &m.container_path);
            w.strings("options", &m.options);
            w.optional("type", &m.kind);
        });
        if let Some(r) = &self.intel_rdt {
            w.name("intelRdt");
            w.open('{');
            w.optional("closID", &r.clos_id);
            w.optional("l3CacheSchema", &r.l3_cache_schema);
            w.optional("memBwSchema", &r.mem_bw_schema);
            w.strings("schemata", &r.schemata);
            w.value("enableMonitoring", Some(true).filter(|_| r.enable_monitoring));
            w.close('}');
        }
        w.list("additionalGids", &self.additional_gids, |w, gid| w.0.push_str(&gid.to_string()));
    }
}

fn push<T>(list: &mut Vec<T>, element: T) -> &mut T {
    list.push(element);
    let last = list.len() - 1;
    &mut list[last]
}
