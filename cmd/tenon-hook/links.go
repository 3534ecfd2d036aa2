// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// link is one that create-symlinks makes: path leads to target, whatever that
// is.
type link struct{ target, path string }

func createSymlinks(arguments []string, stdin io.Reader) error {
	var links []link
	flags := newFlags("create-symlinks")
	flags.Func("link", "", func(value string) error {
		target, p, ok := strings.Cut(value, "::")
		if !ok || target == "" || len(target) > maxArgument || hasControl(target) {
			return fmt.Errorf("not TARGET::LINK")
		}
		if len(links) == maxArguments {
			return fmt.Errorf("more than %d", maxArguments)
		}
		links = append(links, link{target, p})
		if p == "/" {
			return fmt.Errorf("/ cannot be a link")
		}
		return absolute(p)
	})
	if err := parseFlags(flags, arguments); err != nil {
		return err
	}
	return within(patience, func() error {
		c, err := openContainer(stdin)
		if err != nil {
			return err
		}
		defer c.root.Close()
		for _, l := range links {
			if err := c.link(l); err != nil {
				return fmt.Errorf("%s of the container: %w", l.path, err)
			}
		}
		return nil
	})
}

var errForeignMount = errors.New("is on a mount that is not the container's own; nothing is written there")

// link makes one link. One that is there already with another target is
// replaced; anything else of its name is an error.
func (c *container) link(l link) error {
	folder, err := c.makeFolders(path.Dir(l.path))
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	name := path.Base(l.path)
	present, err := linkTarget(folder, name)
	fresh := freshName(name)
	if err == nil && present == l.target {
		c.clear(folder, fresh)
		return nil
	}
	if err != nil && err != unix.ENOENT {
		if err == unix.EINVAL {
			err = errors.New("is there and is not a link")
		}
		return err
	}
	there := err == nil
	if own, err := c.own(folder); err != nil || !own {
		return errors.Join(errForeignMount, err)
	}
	if !there {
		return unix.Symlinkat(l.target, folder, name)
	}
	locked, err := alone(folder)
	if err != nil {
		return err
	}
	defer unix.Close(locked)
	removeLink(folder, fresh)
	if err := unix.Symlinkat(l.target, folder, fresh); err != nil {
		return err
	}
	// Exchanged, so that what is then taken away is seen to be a link.
	err = unix.Renameat2(folder, fresh, folder, name, unix.RENAME_EXCHANGE)
	if err == nil {
		if _, other := linkTarget(folder, fresh); other != nil {
			err = errors.Join(errors.New("is not a link any more"), unix.Renameat2(folder, fresh, folder, name, unix.RENAME_EXCHANGE))
		}
	}
	return errors.Join(err, unix.Unlinkat(folder, fresh, 0))
}

// clear takes away what a hook has left that was killed when its link was made.
func (c *container) clear(folder int, fresh string) {
	if _, err := linkTarget(folder, fresh); err != nil {
		return
	}
	if own, err := c.own(folder); err != nil || !own {
		return
	}
	if locked, err := alone(folder); err == nil {
		removeLink(folder, fresh)
		unix.Close(locked)
	}
}

// removeLink removes a link, and nothing else of its name.
func removeLink(folder int, name string) {
	if _, err := linkTarget(folder, name); err == nil {
		_ = unix.Unlinkat(folder, name, 0) // whoever needs the name sees that it is taken
	}
}

// linkTarget returns what a link says; EINVAL where name is no link.
func linkTarget(folder int, name string) (string, error) {
	var buffer [unix.PathMax]byte
	n, err := unix.Readlinkat(folder, name, buffer[:])
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// makeFolders opens the folder at an absolute path of the container, and makes
// those on the way that do not exist, each in the folder that its parent
// resolves to. A dangling link on the way is an error.
func (c *container) makeFolders(dir string) (fd int, err error) {
	fd, err = c.root.Open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != unix.ENOENT || dir == "/" {
		return fd, err
	}
	parent, err := c.makeFolders(path.Dir(dir))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if own, err := c.own(parent); err != nil || !own {
		return -1, errors.Join(errForeignMount, err)
	}
	name := path.Base(dir)
	if err := unix.Mkdirat(parent, name, 0o755); err != nil && err != unix.EEXIST {
		return -1, err
	}
	fd, err = unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return -1, fmt.Errorf("%s is a link that leads nowhere", dir)
	}
	return fd, err
}
