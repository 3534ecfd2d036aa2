// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/tenon-runtime/tenon/discover"
	"golang.org/x/sys/unix"
	cdi "tags.cncf.io/container-device-interface/specs-go"
)

// A resolver finds what the paths of edits are on the machine: those in the
// driver root below it, with its links, and all others below /.
type resolver struct {
	config  Config
	rights  *Rights
	host    *root
	driver  *root // nil where it is /
	mounted mountTable
	trusted map[string]bool // folders that nobody but root can change
}

func newResolver(c Config, rights *Rights) (*resolver, error) {
	s := &resolver{config: c, rights: rights, trusted: map[string]bool{}}
	var err error
	if s.host, err = openRoot("/"); err != nil {
		return nil, err
	}
	s.host.hold()
	if c.DriverRoot != "/" && c.DriverRoot != "" {
		if s.driver, err = openRoot(c.DriverRoot); err != nil {
			s.host.close()
			return nil, err
		}
		s.driver.hold()
	}
	return s, nil
}

func (s *resolver) close() {
	s.host.close()
	if s.driver != nil {
		s.driver.close()
	}
}

// lookup finds a path of the host, and where it really is there.
func (s *resolver) lookup(p string, follow bool) (n node, real string, err error) {
	r, inside := s.host, p
	if s.driver != nil && isBelow(p, s.config.DriverRoot) {
		r, inside = s.driver, cmp.Or(strings.TrimPrefix(p, s.config.DriverRoot), "/")
	}
	if n, err = r.look(inside, follow); err != nil {
		return node{}, "", err
	}
	if n.real == inside && strings.HasPrefix(p, r.prefix) && p[len(r.prefix):] == inside {
		return n, p, nil // as most often, so that no text is made
	}
	return n, path.Join("/", r.prefix, n.real), nil
}

// source puts the real path of a mount's source into m, so that the low-level
// runtime follows no link, and refuses what no container may see, what anybody
// but root could exchange until it is mounted, and what is not granted. at names
// the mount in an error.
func (s *resolver) source(at func() string, m *cdi.Mount) error {
	n, real, err := s.lookup(m.HostPath, true)
	if absent(err) {
		return fmt.Errorf("%s: %s: does not exist on this machine", at(), Shown(m.HostPath))
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", at(), Shown(m.HostPath), err)
	}
	defer n.close()
	thing := func() string {
		if real == m.HostPath {
			return at() + ": " + Shown(real) + ":"
		}
		return at() + ": " + Shown(m.HostPath) + ": leads to " + Shown(real) + ", which"
	}
	switch n.kind() {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFSOCK:
	case unix.S_IFCHR, unix.S_IFBLK:
		return fmt.Errorf("%s is a device; name it in deviceNodes", thing())
	default:
		return fmt.Errorf("%s is neither a file, a folder nor a socket", thing())
	}
	if discover.ForbiddenSource(real) || discover.ForbiddenSource(n.real) || s.mounted.secret(&n, "", real) {
		return fmt.Errorf("%s is not for modes to mount", thing())
	}
	if real != m.HostPath {
		if err := s.rights.source(thing, m, s.asConfigured(real)); err != nil {
			return err
		}
	}
	folder := path.Dir(real)
	if err := s.trust(folder, real); err != nil {
		if !discover.ForbiddenSource(folder) && s.trust(path.Dir(folder), real) == nil {
			// What is in it is its owner's, who cannot exchange the folder itself.
			err = fmt.Errorf("%w, or mount the whole folder", err)
		}
		return fmt.Errorf("%s: %w", at(), err)
	}
	m.HostPath = real
	return nil
}

// asConfigured turns the real path of the driver root at the head of a path into
// the one of the config, which rights know it by.
func (s *resolver) asConfigured(real string) string {
	if s.driver != nil && s.driver.prefix != "" && isBelow(real, s.driver.prefix) {
		return path.Join(s.config.DriverRoot, strings.TrimPrefix(real, s.driver.prefix))
	}
	return real
}

// trust holds the folder dir, which has no link in it, and those above it
// against what [OpenTrusted] asks of them; p is what they lead to. What cannot
// be changed by others can be looked at by its name.
func (s *resolver) trust(dir, p string) error {
	if s.trusted[dir] {
		return nil
	}
	if dir != "/" {
		if err := s.trust(path.Dir(dir), p); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := trusted(dir, p, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errors.New(dir + ": changed while it was looked at")
	}
	s.trusted[dir] = true
	return nil
}
