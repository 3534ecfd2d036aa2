// SPDX-License-Identifier: Apache-2.0

package host

import "os"

// OpenFolder opens a folder that, like the one that it is in, only the user that
// this process runs as may enter, and that nobody else can have put in its place:
// what leads there is held against the rules of [OpenTrusted]. With create the two
// are made where they are missing.
//
// path is absolute and in its shortest form. The folder can be read and locked;
// name its files by way of its descriptor. Errors begin with the folder at fault;
// where something is missing they wrap [io/fs.ErrNotExist].
func OpenFolder(path string, create bool) (*os.File, error) {
	s, err := openStore(path, create)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(s.fd), path), nil
}
