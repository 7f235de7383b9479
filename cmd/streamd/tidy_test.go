// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// These tests hold the repository's own rules. They parse every Go file, also those that this machine's build tags
// leave out, and every failure says which rule it is about and what to do.

const (
	module      = "github.com/streamd/streamd"
	spdx        = "// SPDX-License-Identifier: Apache-2.0"
	maxFunction = 70
	maxFile     = 800
	maxParams   = 5
)

// exceptions are the places that may break a limit, as "path" for a file's length and "path: Function" for a
// function's length or parameters, each with its reason. An entry that is needed no more is a failure too: the list
// may only shrink.
var exceptions = map[string]string{
	"checkpoint/decide_test.go: TestDecide": "a table of cases, which is read by the line",
	"checkpoint/decide_test.go: checkPlan":  "the columns of that table",
}

// layers says which of our own packages the packages below a folder may import. The longest matching folder counts.
// What is below a folder may always import the rest of that folder. Tests may also import what is below test/.
var layers = map[string][]string{
	"partition":  nil,
	"statestore": {"partition"},
	"checkpoint": {"partition"},
	"operators":  {"partition", "statestore"},
	// The users' test kit runs the engine's own tasks.
	"operators/streamtest": {"partition", "statestore", "operators", "engine/task"},
	"engine":               {"partition", "statestore", "checkpoint", "operators", "deploy"},
	"cmd":                  {"partition", "statestore", "checkpoint", "operators", "engine"},
	"examples":             {"partition", "statestore", "checkpoint", "operators", "engine"},
	"bench":                {"partition", "statestore", "checkpoint", "operators", "engine", "examples", "test"},
	"test":                 {"partition", "statestore", "checkpoint", "operators", "engine", "examples", "cmd", "bench"},
	"deploy":               nil,
	"docs":                 nil,
}

// outside says where each module of others may be imported: the folders whose code may, and the folders whose tests
// may. "." is everywhere. A module that is not listed may not be imported at all: dependencies are chosen, not met.
// The longest matching path counts.
var outside = map[string]struct{ code, tests []string }{
	// bench/bare is what streamd is measured against, so it cannot use statestore.
	"github.com/cockroachdb/pebble/v2":     {[]string{"statestore", "bench/bare"}, []string{"statestore", "engine/sim", "bench", "test"}},
	"github.com/cockroachdb/pebble/v2/vfs": {[]string{"statestore", "engine/sim", "operators/streamtest"}, []string{"."}},
	"github.com/twmb/franz-go/pkg":         {[]string{"engine/kafka", "engine/devbroker", "engine/sim", "partition/groupbalance", "bench", "test", "examples"}, []string{"."}},
	"github.com/twmb/franz-go/pkg/kfake":   {[]string{"engine/devbroker", "engine/sim", "test"}, []string{"."}},
	// Codecs bring their libraries with them, each in a package of its own: who does not import it does not link it.
	"google.golang.org/protobuf":      {[]string{"operators/codec/protobuf"}, []string{"."}},
	"github.com/twmb/avro":            {[]string{"operators/codec/avro"}, []string{"."}},
	"github.com/twmb/franz-go/pkg/sr": {[]string{"operators/codec/registry"}, []string{"."}},
	"github.com/minio/minio-go/v7":    {[]string{"checkpoint/objstore/s3", "test"}, []string{"checkpoint/objstore/s3", "test"}},
	// Its credentials find an identity on AWS, for the brokers too.
	"github.com/minio/minio-go/v7/pkg/credentials": {[]string{"checkpoint/objstore/s3", "engine/kafka", "test"}, []string{"checkpoint/objstore/s3", "test"}},
	"golang.org/x/oauth2":                          {[]string{"engine/kafka"}, nil},
	"google.golang.org/api":                        {[]string{"checkpoint/objstore/gcs"}, nil},
	"cloud.google.com/go":                          {[]string{"checkpoint/objstore/gcs"}, nil},
	"github.com/Azure":                             {[]string{"checkpoint/objstore/azure"}, nil},
	"github.com/tink-crypto":                       {nil, []string{"checkpoint/objstore/crypt"}},
	"go.uber.org/zap":                              {[]string{"engine", "cmd", "bench", "test", "examples"}, []string{"."}},
	"github.com/spf13":                             {[]string{"engine", "cmd", "bench", "examples"}, []string{"."}},
	"github.com/prometheus":                        {[]string{"engine", "bench"}, []string{"engine", "bench", "test"}},
	"gopkg.in/yaml.v3":                             {[]string{"engine", "cmd", "test"}, []string{"engine", "cmd", "test", "deploy"}},
	"golang.org/x/term":                            {[]string{"engine/cli", "cmd", "examples"}, []string{"."}},
	"golang.org/x/sync":                            {[]string{"statestore", "checkpoint", "engine", "bench", "test"}, []string{"."}},
	"golang.org/x/sys":                             {[]string{"statestore", "engine", "test"}, []string{"."}},
	"github.com/cespare/xxhash/v2":                 {[]string{"statestore", "checkpoint", "operators", "engine"}, []string{"."}},
	"github.com/google/go-cmp":                     {testKits, []string{"."}},
	"go.uber.org/goleak":                           {testKits, []string{"."}},
	"pgregory.net/rapid":                           {testKits, []string{"."}},
	// The description of the HTTP API is held against what it answers.
	"github.com/pb33f": {nil, []string{"engine"}},
	// State is exported for other tools.
	"github.com/parquet-go/parquet-go": {[]string{"engine/inspect"}, []string{"engine"}},

	// The chart is rendered, and its values are checked, with the libraries that Helm uses.
	"sigs.k8s.io/yaml":                         {[]string{"deploy", "test/k8s"}, []string{"deploy", "engine/cli", "test/k8s"}},
	"github.com/santhosh-tekuri/jsonschema/v6": {[]string{"deploy"}, nil},
	"golang.org/x/text":                        {[]string{"deploy"}, nil},

	// What Kubernetes, Helm and Prometheus make of the chart is tested in a module of its own.
	"helm.sh/helm/v4":                  {nil, []string{"test/k8s"}},
	"k8s.io":                           {nil, []string{"test/k8s"}},
	"sigs.k8s.io/kustomize":            {nil, []string{"test/k8s"}},
	"github.com/yannh/kubeconform":     {nil, []string{"test/k8s"}},
	"github.com/prometheus/prometheus": {nil, []string{"test/k8s"}},
}

// testKits are the folders whose ordinary code is there for tests.
var testKits = []string{"test", "engine/sim", "checkpoint/objstore/storetest", "operators/streamtest", "statestore/storetest"}

// pure are the folders and files that decide and do nothing else: no I/O, no clock, no goroutine.
var pure = []string{"partition", "engine/core", "operators/topology", "checkpoint/decide.go"}

// impure matches the packages that pure code may not import. partition/groupbalance is an adapter, not pure code.
var impure = regexp.MustCompile(`^(os|net|log|context|sync|syscall|math/rand|testing)(/|$)`)

// logs matches the packages that nothing below the engine may import: there one tells a listener.
var logs = regexp.MustCompile(`^log(/|$)`)

// printers are the folders whose code may print to the terminal.
var printers = []string{"cmd", "engine/cli", "examples", "bench", "test"}

// bannedNames say nothing about what is inside; bannedFolders neither, though a file may be called after a verb.
var (
	bannedNames   = strings.Fields("util utils common helper helpers type types manager managers misc shared v2")
	bannedFolders = append(strings.Fields("new old internal"), bannedNames...)
)

// source is one parsed Go file.
type source struct {
	path  string // from the repository's root, with slashes
	dir   string
	test  bool
	text  string
	lines int
	set   *token.FileSet
	ast   *ast.File
}

func (s *source) line(pos token.Pos) int { return s.set.Position(pos).Line }

func (s *source) at(pos token.Pos) string { return fmt.Sprintf("%s:%d", s.path, s.line(pos)) }

// imports yields the imported paths with their places.
func (s *source) imports(visit func(imported, at string)) {
	for _, spec := range s.ast.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			visit(imported, s.at(spec.Pos()))
		}
	}
}

func TestRepository(t *testing.T) {
	t.Parallel()
	files := sources(t)
	for name, check := range map[string]func(*testing.T, []*source){
		"PackagesImportOnlyDownwards":           checkPackagesImportOnlyDownwards,
		"ImportsOnlyChosenModulesInTheirPlaces": checkImportsOnlyChosenModulesInTheirPlaces,
		"PureCodeHasNoEffects":                  checkPureCodeHasNoEffects,
		"LogsOnlyInTheEngine":                   checkLogsOnlyInTheEngine,
		"PrintsOnlyInCommands":                  checkPrintsOnlyInCommands,
		"TestsDoNotSleep":                       checkTestsDoNotSleep,
		"FilesNameTheirLicense":                 checkFilesNameTheirLicense,
		"FilesAndFunctionsAreShort":             checkFilesAndFunctionsAreShort,
		"PackagesAreExplained":                  checkPackagesAreExplained,
		"ExportedNamesAreExplained":             checkExportedNamesAreExplained,
		"HasNoUnfinishedWork":                   checkHasNoUnfinishedWork,
		"LinksInDocumentsResolve":               checkLinksInDocumentsResolve,
		"NamesSayWhatIsInside":                  checkNamesSayWhatIsInside,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, files)
		})
	}
}

func checkPackagesImportOnlyDownwards(t *testing.T, files []*source) {
	for _, file := range files {
		layer, known := longest(slices.Sorted(maps.Keys(layers)), file.dir)
		if !known {
			t.Errorf("%s: no rule says what this folder may import; add it to layers in %s", file.path, thisFile)
			continue
		}
		file.imports(func(imported, at string) {
			target, ours := strings.CutPrefix(imported, module+"/")
			if !ours || inside(target, layer) || inAny(target, layers[layer]) || file.test && inside(target, "test") {
				return
			}
			t.Errorf("%s: %s may not import %s: what is below %s may import %s and itself", at, file.dir, target, layer,
				orNothing(layers[layer]))
		})
	}
}

func checkImportsOnlyChosenModulesInTheirPlaces(t *testing.T, files []*source) {
	rules := slices.Sorted(maps.Keys(outside))
	for _, file := range files {
		file.imports(func(imported, at string) {
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") || inside(imported, module) {
				return // the standard library, or ours
			}
			rule, known := longest(rules, imported)
			if !known {
				t.Errorf("%s: %s is not among the chosen modules; do without, or add it to outside in %s", at, imported, thisFile)
				return
			}
			allowed := outside[rule].code
			if file.test {
				allowed = outside[rule].tests
			}
			if !inAny(file.dir, allowed) {
				t.Errorf("%s: %s may be imported only in %s", at, imported, orNothing(allowed))
			}
		})
	}
}

func checkPureCodeHasNoEffects(t *testing.T, files []*source) {
	for _, file := range files {
		decides := inAny(file.dir, pure) || slices.Contains(pure, file.path)
		if file.test || !decides || inside(file.dir, "partition/groupbalance") {
			continue
		}
		file.imports(func(imported, at string) {
			if impure.MatchString(imported) {
				t.Errorf("%s: %s is pure and may not import %s: take the fact as an argument, return the deed", at, file.path, imported)
			}
		})
		ast.Inspect(file.ast, func(n ast.Node) bool {
			if g, is := n.(*ast.GoStmt); is {
				t.Errorf("%s: pure code starts no goroutine", file.at(g.Pos()))
			}
			if name := selected(file, n, "time"); name == "Now" || name == "Since" || name == "Until" {
				t.Errorf("%s: pure code does not look at the clock (time.%s): take the time as an argument", file.at(n.Pos()), name)
			}
			return true
		})
	}
}

func checkLogsOnlyInTheEngine(t *testing.T, files []*source) {
	for _, file := range files {
		if !inAny(file.dir, []string{"partition", "statestore", "checkpoint", "operators"}) {
			continue
		}
		file.imports(func(imported, at string) {
			if logs.MatchString(imported) {
				t.Errorf("%s: nothing below the engine logs (%s): call a listener", at, imported)
			}
		})
	}
}

func checkPrintsOnlyInCommands(t *testing.T, files []*source) {
	for _, file := range files {
		if file.test || inAny(file.dir, printers) {
			continue
		}
		ast.Inspect(file.ast, func(n ast.Node) bool {
			if name := selected(file, n, "fmt"); strings.HasPrefix(name, "Print") {
				t.Errorf("%s: fmt.%s writes to the terminal; only %s may", file.at(n.Pos()), name, strings.Join(printers, ", "))
			}
			return true
		})
	}
}

func checkTestsDoNotSleep(t *testing.T, files []*source) {
	for _, file := range files {
		if !file.test || importName(file, "testing/synctest") != "" { // there time is virtual, and sleeping is exact
			continue
		}
		ast.Inspect(file.ast, func(n ast.Node) bool {
			if selected(file, n, "time") == "Sleep" {
				t.Errorf("%s: time.Sleep makes a test slow and flaky: wait for the event, or use testing/synctest", file.at(n.Pos()))
			}
			return true
		})
	}
}

func checkFilesNameTheirLicense(t *testing.T, files []*source) {
	for _, file := range files {
		if first, _, _ := strings.Cut(file.text, "\n"); strings.TrimRight(first, "\r") != spdx {
			t.Errorf("%s:1: the first line must be %q", file.path, spdx)
		}
	}
}

func checkFilesAndFunctionsAreShort(t *testing.T, files []*source) {
	used := map[string]bool{}
	over := func(place, at, what string, got, limit int) {
		if got <= limit {
			return
		}
		used[place] = true
		if exceptions[place] == "" {
			t.Errorf("%s: %d %s, the limit is %d: split it, or add %q with a reason to exceptions in %s", at, got, what, limit, place, thisFile)
		}
	}
	for _, file := range files {
		over(file.path, file.path, "lines", file.lines, maxFile)
		for _, decl := range file.ast.Decls {
			f, is := decl.(*ast.FuncDecl)
			if !is {
				continue
			}
			place := file.path + ": " + f.Name.Name
			over(place, file.at(f.Pos()), "lines", file.line(f.End())-file.line(f.Pos())+1, maxFunction)
			over(place, file.at(f.Pos()), "parameters", f.Type.Params.NumFields(), maxParams)
		}
	}
	for place := range exceptions {
		if !used[place] {
			t.Errorf("%s: the exception %q is needed no more: remove it", thisFile, place)
		}
	}
}

func checkPackagesAreExplained(t *testing.T, files []*source) {
	type pack struct{ main, documented, inDocFile bool }
	packs := map[string]pack{}
	for _, file := range files {
		if file.test {
			continue
		}
		p := packs[file.dir]
		p.main = file.ast.Name.Name == "main"
		if file.ast.Doc != nil {
			p.documented = true
			p.inDocFile = p.inDocFile || path.Base(file.path) == "doc.go"
		}
		packs[file.dir] = p
	}
	for _, dir := range slices.Sorted(maps.Keys(packs)) {
		switch p := packs[dir]; {
		case !p.documented:
			t.Errorf("%s: the package has no comment: say what it is for, its invariants, concurrency and failures in doc.go", dir)
		case !p.main && !p.inDocFile:
			t.Errorf("%s: the package's comment belongs into doc.go", dir)
		}
	}
}

func checkExportedNamesAreExplained(t *testing.T, files []*source) {
	for _, file := range files {
		if file.test || file.ast.Name.Name == "main" {
			continue
		}
		for _, decl := range file.ast.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%s: the exported %s has no comment: say what it does, units, errors and concurrency", file.at(name.Pos()), name.Name)
			}
		}
	}
}

func checkHasNoUnfinishedWork(t *testing.T, files []*source) {
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XXX|HACK)\b`)
	for _, file := range files {
		for _, group := range file.ast.Comments {
			for _, comment := range group.List {
				if found := unfinished.FindString(comment.Text); found != "" {
					t.Errorf("%s: %s in a comment: finish it, or open an issue", file.at(comment.Pos()), found)
				}
			}
		}
	}
	walk(t, func(name string) {
		if text, isText := textFile(name); isText {
			for i, line := range strings.Split(text, "\n") {
				if found := unfinished.FindString(line); found != "" {
					t.Errorf("%s:%d: %s: finish it, or open an issue", name, i+1, found)
				}
			}
		}
	})
}

func checkLinksInDocumentsResolve(t *testing.T, _ []*source) {
	link := regexp.MustCompile(`\]\(<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s+(\S+)`)
	elsewhere := regexp.MustCompile(`^([a-z]+:|#|/)`)
	code := regexp.MustCompile("`[^`]*`")
	walk(t, func(name string) {
		if path.Ext(name) != ".md" {
			return
		}
		text, _ := textFile(name)
		fenced := false
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
			}
			if fenced {
				continue
			}
			for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				target, _, _ := strings.Cut(match[1]+match[2], "#")
				if target == "" || elsewhere.MatchString(target) {
					continue
				}
				if _, err := os.Stat(filepath.Join(root, path.Dir(name), target)); err != nil {
					t.Errorf("%s:%d: the link to %s leads nowhere", name, i+1, target)
				}
			}
		}
	})
}

func checkNamesSayWhatIsInside(t *testing.T, _ []*source) {
	walk(t, func(name string) {
		parts := strings.Split(name, "/")
		file := strings.TrimSuffix(strings.TrimSuffix(parts[len(parts)-1], ".go"), "_test")
		for _, part := range parts[:len(parts)-1] {
			if slices.Contains(bannedFolders, part) {
				t.Errorf("%s: the folder %q says nothing about what is inside: name it by what it does", name, part)
			}
		}
		if slices.Contains(bannedNames, file) {
			t.Errorf("%s: the file's name says nothing about what is inside: name it by what it does", name)
		}
	})
}

// root is the repository's root as seen from this package, where its tests run.
const root = "../.."

// thisFile is where the lists of rules are.
const thisFile = "cmd/streamd/tidy_test.go"

// sources parses every Go file of the repository. A file that vanishes meanwhile is left out.
func sources(t *testing.T) []*source {
	t.Helper()
	var files []*source
	walk(t, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: does not parse: %v", name, err)
			return
		}
		files = append(files, &source{
			path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			text: string(text), lines: strings.Count(string(text), "\n"), set: set, ast: parsed,
		})
	})
	if len(files) == 0 {
		t.Fatalf("no Go files below %s", root)
	}
	return files
}

// walk visits the repository's files by their path from the root; not what is hidden, built or test data.
func walk(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(full string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted while we look
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, full)
		if err != nil || name == "." {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			base := entry.Name()
			if name == "build" || base == "testdata" || base == "node_modules" || base == "target" || strings.HasPrefix(base, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		visit(name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// textFile reads a file that people write but Go does not parse.
func textFile(name string) (string, bool) {
	switch path.Ext(name) {
	case ".md", ".sh", ".yaml", ".yml", ".toml", ".tmpl", ".properties", ".xml", ".js", ".css", ".html", ".sql":
	default:
		if path.Base(name) != "Makefile" && path.Base(name) != "Dockerfile" {
			return "", false
		}
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	return string(text), err == nil
}

// undocumented returns the exported names that a declaration leaves without a comment.
func undocumented(decl ast.Decl) []*ast.Ident {
	var names []*ast.Ident
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || receiverIsExported(d.Recv.List[0].Type)) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if d.Doc == nil && s.Doc == nil && s.Comment == nil && name.IsExported() {
						names = append(names, name)
					}
				}
			}
		}
	}
	return names
}

func receiverIsExported(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiverIsExported(e.X)
	case *ast.IndexExpr:
		return receiverIsExported(e.X)
	case *ast.IndexListExpr:
		return receiverIsExported(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

// selected returns Name when the node is pkg.Name of an imported standard package, and "" otherwise.
func selected(file *source, n ast.Node, pkg string) string {
	selector, is := n.(*ast.SelectorExpr)
	if !is {
		return ""
	}
	if x, is := selector.X.(*ast.Ident); !is || x.Name != importName(file, pkg) {
		return ""
	}
	return selector.Sel.Name
}

// importName returns the name under which the file imports a package, and "" when it does not.
func importName(file *source, pkg string) string {
	for _, spec := range file.ast.Imports {
		if spec.Path.Value == strconv.Quote(pkg) {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path.Base(pkg)
		}
	}
	return ""
}

// inside tells whether name is folder or below it.
func inside(name, folder string) bool {
	return folder == "." || name == folder || strings.HasPrefix(name, folder+"/")
}

func inAny(name string, folders []string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return inside(name, folder) })
}

// longest returns the longest of the folders that name is inside of.
func longest(folders []string, name string) (found string, ok bool) {
	for _, folder := range folders {
		if inside(name, folder) && len(folder) >= len(found) {
			found, ok = folder, true
		}
	}
	return found, ok
}

func orNothing(folders []string) string {
	if len(folders) == 0 {
		return "nothing"
	}
	return strings.Join(folders, ", ")
}
