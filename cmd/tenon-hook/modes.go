// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// chmod sets the modes of files and folders: some low-level runtimes make the
// folders of device nodes, such as /dev/dri, without search permission. What
// does not exist, and what is on a mount that is not the container's own, stays
// as it is.
func chmod(arguments []string, stdin io.Reader) error {
	var paths []string
	mode := uint64(0)
	flags := newFlags("chmod")
	flags.Func("mode", "", func(value string) (err error) {
		if mode, err = strconv.ParseUint(value, 8, 32); err != nil || mode == 0 || mode > 0o777 {
			return fmt.Errorf("not an octal mode of 1 to 777")
		}
		return nil
	})
	flags.Func("path", "", func(p string) error {
		if len(paths) == maxArguments {
			return fmt.Errorf("more than %d", maxArguments)
		}
		paths = append(paths, p)
		return absolute(p)
	})
	if err := parseFlags(flags, arguments); err != nil {
		return err
	}
	if mode == 0 {
		return misuse("chmod: no --mode")
	}
	return within(patience, func() error {
		c, err := openContainer(stdin)
		if err != nil {
			return err
		}
		defer c.root.Close()
		for _, p := range paths {
			if err := c.chmod(p, uint32(mode)); err != nil {
				return fmt.Errorf("%s of the container: %w", p, err)
			}
		}
		return nil
	})
}

func (c *container) chmod(p string, mode uint32) error {
	fd, err := c.root.Open(p, unix.O_PATH)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if own, err := c.own(fd); err != nil || !own {
		return err
	}
	// An O_PATH descriptor takes no fchmod(2); its link in /proc leads to the
	// very file (open(2), O_PATH).
	err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
	if err == unix.EPERM || err == unix.EROFS {
		return nil
	}
	return err
}

// nvidiaParams is where NVIDIA's kernel module says what its user-space
// libraries may do; with modifyAllowed they make device nodes that are missing
// (nvidia-modprobe), which a container is not to do.
const (
	nvidiaParams  = "/proc/driver/nvidia/params"
	modifyAllowed = "ModifyDeviceFiles: 1\n"
	modifyDenied  = "ModifyDeviceFiles: 0\n"
	maxParams     = 64 << 10
)

// disableDeviceNodeModification lays a copy over the container's view of the
// driver's parameters that says no. Without the driver there is nothing to do.
func disableDeviceNodeModification(arguments []string, stdin io.Reader) error {
	if err := parseFlags(newFlags("disable-device-node-modification"), arguments); err != nil {
		return err
	}
	return within(patience, func() error {
		c, err := openContainer(stdin)
		if err != nil {
			return err
		}
		defer c.root.Close()
		params, err := c.readParams()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Contains(params, []byte(modifyAllowed)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s of the container: %w", nvidiaParams, err)
		}
		return c.mountOver(nvidiaParams, bytes.ReplaceAll(params, []byte(modifyAllowed), []byte(modifyDenied)))
	})
}

// readParams reads a file whose size the kernel does not say beforehand.
func (c *container) readParams() ([]byte, error) {
	fd, err := c.root.Open(nvidiaParams, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	data := make([]byte, maxParams)
	n := 0
	for n < len(data) {
		m, err := unix.Read(fd, data[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return data[:n], nil
}
