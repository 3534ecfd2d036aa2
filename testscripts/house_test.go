// SPDX-License-Identifier: Apache-2.0

// Package testscripts looks at the product from outside. The *.txtar files in
// its folders are scripts for the shipped programs, run by the test of the
// program that they are about (cmd/…/main_test.go); machines holds the recorded
// machines that stand for real ones; container_test.go starts real containers.
//
// house_test.go keeps the rules of the house that a program can check. Nothing
// here is part of the product.
package testscripts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tenon-runtime/tenon/"

// floor is the floor plan: which top folders a top folder may import. What is
// not here may import nothing of ours.
var floor = map[string][]string{
	"cmd":         {"host", "discover", "ldcache"},
	"host":        {"discover", "ldcache"},
	"modules":     {"sdk"},
	"discover":    {},
	"ldcache":     {},
	"sdk":         {},
	"testscripts": {"host", "discover", "ldcache", "sdk"},
}

// annexes are folders below a top folder that may import more than it may: the
// tool hands out the sdk's sources and replays its recorded machines.
var annexes = map[string][]string{"cmd/tenon": {"sdk"}}

// outside says which folders may use a dependency, and so have to change with
// it. Whatever is not here may be used by nobody; golang.org/x/sys by all.
var outside = map[string][]string{
	"github.com/tetratelabs/wazero":                    {"host/wasm"},
	"github.com/knadh/koanf":                           {"host/config"},
	"github.com/pelletier/go-toml":                     {"host/config", "cmd/tenon", "cmd/tenon-hook"},
	"github.com/opencontainers/runtime-spec":           {"discover", "cmd"},
	"tags.cncf.io/container-device-interface/specs-go": {"discover", "host", "cmd"},
	"tags.cncf.io/container-device-interface/pkg/cdi":  {}, // tests only: an oracle
	"github.com/lmittmann/tint":                        {"cmd"},
	"github.com/spf13/cobra":                           {"cmd/tenon"},
	"github.com/spf13/pflag":                           {"cmd/tenon"},
	"oras.land/oras-go":                                {"cmd/tenon"},
	"github.com/opencontainers/go-digest":              {"cmd/tenon"},
	"github.com/opencontainers/image-spec":             {"cmd/tenon"},
	"golang.org/x/mod":                                 {"cmd/tenon"},
	"github.com/rogpeppe/go-internal":                  {"cmd/tenon"},
	"golang.org/x/sys":                                 {"cmd", "host", "ldcache", "testscripts"},
	// A module of its own, so that none of it is a dependency of tenon.
	"k8s.io/cri-api":             {"testscripts/e2e/cri"},
	"google.golang.org/grpc":     {"testscripts/e2e/cri"},
	"google.golang.org/protobuf": {"testscripts/e2e/cri"},
}

// forbidden calls, each with the reason and what to do instead.
var forbidden = map[string]string{
	"os.Create":       "follows a planted link and truncates its target; write a new file and rename it",
	"os.IsNotExist":   "does not see wrapped errors; use errors.Is(err, fs.ErrNotExist)",
	"os.IsExist":      "does not see wrapped errors; use errors.Is(err, fs.ErrExist)",
	"os.IsPermission": "does not see wrapped errors; use errors.Is(err, fs.ErrPermission)",
	"os.Getwd":        "the working directory is the caller's; pass a path",
	"log.Fatal":       "skips deferred work and the --log file; return the error to main",
	"log.Fatalf":      "skips deferred work and the --log file; return the error to main",
	"slog.Default":    "hides where a line goes; pass a *slog.Logger",
}

// notLinked are the packages that the small programs must not contain, with
// whatever comes with them.
var notLinked = map[string][]string{
	"cmd/tenon-runtime": {"net", "net/http", "github.com/tetratelabs/wazero", "github.com/knadh/koanf", "github.com/pelletier/go-toml", "debug/elf", "crypto/rand", "github.com/spf13/cobra", "oras.land", "github.com/containerd/nri",
		"tags.cncf.io/container-device-interface/pkg", "github.com/fsnotify", "go.yaml.in", "github.com/lmittmann/tint", "os/user"},
	"cmd/tenon-engine": {"net/http", "github.com/spf13/cobra", "oras.land", "github.com/containerd/nri",
		"tags.cncf.io/container-device-interface/pkg", "github.com/fsnotify", "go.yaml.in", "github.com/lmittmann/tint"},
	"cmd/tenon-hook": {"net", "net/http", "os/exec", "os/user", "github.com/spf13/cobra", "github.com/tetratelabs/wazero",
		"github.com/knadh/koanf", "github.com/opencontainers/runtime-spec"},
}

const (
	maxLines     = 450 // of a file that is not a test
	maxTestLines = 900
)

// A source is one Go file of ours.
type source struct {
	path  string // relative to the top folder
	test  bool
	file  *ast.File
	lines int
}

// folder returns the path of the file's folder.
func (s source) folder() string { return filepath.ToSlash(filepath.Dir(s.path)) }

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	top := ".."
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != top && (name == "build" || name == "testdata" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(rel), strings.HasSuffix(name, "_test.go"), f, fset.File(f.FileStart).LineCount()})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files were found: the search is broken", len(all))
	}
	return all
}

// within reports whether folder is one of list or below one.
func within(folder string, list []string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return folder == l || strings.HasPrefix(folder, l+"/") })
}

func TestFloorPlan(t *testing.T) {
	for _, s := range sources(t) {
		top, _, _ := strings.Cut(s.folder(), "/")
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if rest, ours := strings.CutPrefix(path, module); ours {
				to, _, _ := strings.Cut(rest, "/")
				if to != top && !slices.Contains(floor[top], to) && !slices.Contains(annexes[s.folder()], to) {
					t.Errorf("%s imports %s: %s may import only %v", s.path, rest, top, floor[top])
				}
				continue
			}
			if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") || s.test {
				continue // the standard library; tests may use any dependency
			}
			ok := false
			for dep, who := range outside {
				if path == dep || strings.HasPrefix(path, dep+"/") {
					ok = within(s.folder(), who)
					if !ok {
						t.Errorf("%s imports %s: only %v may", s.path, path, who)
						ok = true
					}
				}
			}
			if !ok {
				t.Errorf("%s imports %s, which the floor plan does not know", s.path, path)
			}
		}
	}
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || pkg.Obj != nil { // a local variable of that name
				return true
			}
			name := pkg.Name + "." + sel.Sel.Name
			if why, bad := forbidden[name]; bad {
				t.Errorf("%s calls %s, which %s", s.path, name, why)
			}
			if pkg.Name == "fmt" && strings.HasPrefix(sel.Sel.Name, "Print") && !within(s.folder(), []string{"cmd", "testscripts"}) {
				t.Errorf("%s calls %s: only cmd speaks to people", s.path, name)
			}
			return true
		})
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		key := s.folder() + " package " + s.file.Name.Name
		if strings.HasSuffix(s.file.Name.Name, "_test") {
			continue // the outside view of a package that has its own comment
		}
		comments[key] = append(comments[key], "")
		if s.file.Doc == nil {
			continue
		}
		comments[key] = append(comments[key], s.path)
		if want := map[bool]string{true: "Command ", false: "Package "}[s.file.Name.Name == "main" && strings.HasPrefix(s.path, "cmd/")]; !strings.HasPrefix(s.file.Doc.Text(), want) && s.file.Name.Name != "main" {
			t.Errorf("%s: the package comment does not begin with %q", s.path, want+s.file.Name.Name)
		}
	}
	for key, where := range comments {
		where = slices.DeleteFunc(slices.Clone(where), func(s string) bool { return s == "" })
		if len(where) != 1 {
			t.Errorf("%s has %d package comments, want one: %v", key, len(where), where)
		}
	}
}

func TestEveryExportedNameHasAComment(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no comment", s.path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch v := spec.(type) {
					case *ast.TypeSpec:
						if v.Name.IsExported() && d.Doc == nil && v.Doc == nil && v.Comment == nil {
							t.Errorf("%s: %s has no comment", s.path, v.Name.Name)
						}
					case *ast.ValueSpec:
						for _, n := range v.Names {
							if n.IsExported() && d.Doc == nil && v.Doc == nil && v.Comment == nil {
								t.Errorf("%s: %s has no comment", s.path, n.Name)
							}
						}
					}
				}
			}
		}
	}
}

// exportedReceiver reports whether f is no method, or one of an exported type.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return !ok || id.IsExported()
}

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		limit := maxLines
		if s.test {
			limit = maxTestLines
		}
		if s.lines > limit {
			t.Errorf("%s has %d lines, more than %d: part it by subject", s.path, s.lines, limit)
		}
	}
}

func TestEveryFileNamesItsLicence(t *testing.T) {
	for _, s := range sources(t) {
		data, err := os.ReadFile(filepath.Join("..", s.path))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(data), "// SPDX-License-Identifier: Apache-2.0\n\n") {
			t.Errorf("%s does not begin with the SPDX line and an empty one", s.path)
		}
	}
}

func TestSmallProgramsLinkLittle(t *testing.T) {
	for program, refused := range notLinked {
		cmd := exec.Command("go", "list", "-deps", "../"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", program, err)
		}
		deps := strings.Fields(string(out))
		if len(deps) < 30 {
			t.Fatalf("%s links only %d packages: the list is broken", program, len(deps))
		}
		for _, dep := range deps {
			for _, r := range refused {
				if dep == r || strings.HasPrefix(dep, r+"/") && strings.Contains(r, ".") {
					t.Errorf("%s links %s", program, dep)
				}
			}
		}
	}
}

func TestGoModNamesNoReplacement(t *testing.T) {
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"replace ", "tool ", "toolchain "} {
		if strings.Contains(string(data), "\n"+word) {
			t.Errorf("go.mod has a line %q", word)
		}
	}
	for _, dep := range []string{"k8s.io/", "google.golang.org/grpc "} {
		if strings.Contains(string(data), "\t"+dep) {
			t.Errorf("go.mod names %s, which a module below testscripts is for", dep)
		}
	}
	if !strings.Contains(string(data), "\ngo 1.26") {
		t.Error("go.mod does not ask for Go 1.26")
	}
}
