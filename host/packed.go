// SPDX-License-Identifier: Apache-2.0

package host

import "encoding/binary"

// A manifest and what is accepted of it are read from JSON once, and kept with the
// settings as they were read: every create needs them, if only to see that the
// container is not for the module, and reading them takes longer than all else that
// is done for such a container.

// pack writes what Read returns, but for the texts that it was read from; "" where
// it fails.
func (i *Installed) pack() string {
	if i.Problem != "" {
		return ""
	}
	m, accepted, err := i.Read()
	if err != nil {
		return ""
	}
	return packed(m, accepted)
}

func packed(m Manifest, accepted Grants) string {
	b := appendList(m.fields().append(nil), m.Applies, (*Condition).fields)
	return string(accepted.append(m.Grants.append(b)))
}

// unpack is the reverse. ok is false where Packed is not what pack writes.
func (i *Installed) unpack() (m Manifest, accepted Grants, ok bool) {
	d := fieldReader{left: i.Packed}
	d.fields(m.fields())
	m.Applies = readList(&d, (*Condition).fields)
	m.Grants, accepted = d.grants(), d.grants()
	return m, accepted, !d.short && d.left == ""
}

func (g *Grants) append(b []byte) []byte {
	b = appendList(g.fields().append(b), g.Requests, (*RequestGrant).fields)
	return appendList(b, g.Queries.FS, (*FSGrant).fields)
}

func (d *fieldReader) grants() (g Grants) {
	d.fields(g.fields())
	g.Requests = readList(d, (*RequestGrant).fields)
	g.Queries.FS = readList(d, (*FSGrant).fields)
	return g
}

func appendList[T any](b []byte, list []T, of func(*T) fields) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for i := range list {
		b = of(&list[i]).append(b)
	}
	return b
}

// readList reads what appendList writes; nil where it has no items.
func readList[T any](d *fieldReader, of func(*T) fields) []T {
	n := d.count(12) // three texts or lists, at least
	if n == 0 {
		return nil
	}
	list := make([]T, n)
	for i := range list {
		d.fields(of(&list[i]))
	}
	return list
}

func (m *Manifest) fields() fields {
	return fields{
		texts:   []*string{&m.Name, &m.Version, &m.License, &m.Source},
		numbers: []*int{&m.ABIMinor, &m.Limits.MemoryPages, &m.Limits.WallMS, &m.Limits.Queries},
	}
}

func (c *Condition) fields() fields {
	return fields{texts: []*string{&c.Env, &c.Annotation, &c.MountUnder}}
}

func (g *Grants) fields() fields {
	q, e := &g.Queries, &g.Edits
	return fields{
		lists: []*[]string{&q.Env, &q.Annotations, &q.Spec, &q.Mounts, &q.Ld,
			&e.Env, &e.Annotations, &e.Devices, &e.DeviceRules, &e.MountsFrom, &e.MountsTo, &e.MountsWritable, &e.NetDevices,
			&e.BuiltinHooks, &e.Remove, &e.RemoveHooks},
		flags: []*bool{&q.Config, &e.Symlinks, &e.LdCache, &e.AdditionalGIDs, &e.IntelRdt},
	}
}

func (r *RequestGrant) fields() fields {
	return fields{lists: []*[]string{&r.Env, &r.Annotations, &r.MountsUnder}, texts: []*string{&r.Name}}
}

func (f *FSGrant) fields() fields {
	return fields{lists: []*[]string{&f.Ops, &f.Paths}, texts: []*string{&f.Root}}
}
