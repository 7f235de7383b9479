// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// ConfigEnv is the environment variable that names the configuration file, for when --config is not given.
const ConfigEnv = EnvPrefix + "CONFIG"

// ConfigFlag is the flag that names the configuration file.
const ConfigFlag = "config"

// maxFileBytes bounds what is read as a configuration file.
const maxFileBytes = 1 << 20

// Sources is where Load looks, apart from the defaults.
type Sources struct {
	Flags   *pflag.FlagSet // with the flags that AddFlags has added, parsed; may be nil
	Environ []string       // as os.Environ gives it
}

// AddFlags adds a flag for every setting, and --config, to a command's flags. A value that cannot be parsed is
// refused by the flag set, as a usage error.
func AddFlags(fs *pflag.FlagSet) {
	fs.String(ConfigFlag, "", "`file` of settings in YAML")
	scratch := Default()
	for _, s := range Settings() {
		f := fs.VarPF(s.bind(scratch), s.Flag(), "", firstSentence(s.Doc))
		if s.Type == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// firstSentence keeps a flag's help to one line; the whole text is in the reference.
func firstSentence(doc string) string {
	if s, _, ok := strings.Cut(doc, ". "); ok {
		return s
	}
	return strings.TrimSuffix(doc, ".")
}

// Load returns the settings, each from the first of flag, environment, file, default. All problems are reported
// at once, as an *InvalidError; the configuration that comes with it has the default wherever a value was bad.
func Load(src Sources) (*Config, error) {
	l := &loader{c: Default()}
	env := environ(src.Environ)
	path, where := env[ConfigEnv], Origin{FromEnv, ConfigEnv}
	if src.Flags != nil && src.Flags.Changed(ConfigFlag) {
		path, where = src.Flags.Lookup(ConfigFlag).Value.String(), Origin{FromFlag, "--" + ConfigFlag}
	}
	if path != "" {
		l.file(path, where)
	}
	l.env(env)
	l.flags(src.Flags)
	return l.c, l.problems.err()
}

type loader struct {
	c        *Config
	problems problems
}

// set gives the named setting a value that stands at o.
func (l *loader) set(s Setting, text string, o Origin) {
	if err := s.bind(l.c).Set(text); err != nil {
		l.problems.add(s.Name, o, "%w", err)
		return
	}
	l.c.origins[s.Name] = o
}

func environ(pairs []string) map[string]string {
	m := map[string]string{}
	for _, kv := range pairs {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, EnvPrefix) {
			m[k] = v
		}
	}
	return m
}

// serviceLink matches the variables that Kubernetes gives to every pod for a Service whose name begins with
// "streamd". They are nobody's settings, and refusing them would break a pod because of its neighbour's name.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

func isServiceLink(key, value string) bool {
	return serviceLink.MatchString(key) || strings.HasSuffix(key, "_PORT") && strings.Contains(value, "://")
}

func (l *loader) env(env map[string]string) {
	byEnv, names := map[string]Setting{}, []string{ConfigEnv}
	for _, s := range Settings() {
		byEnv[s.Env()] = s
		names = append(names, s.Env())
	}
	for _, key := range sortedKeys(env) {
		s, ok := byEnv[key]
		switch {
		case ok:
			l.set(s, env[key], Origin{FromEnv, key})
		case key != ConfigEnv && !isServiceLink(key, env[key]):
			l.problems.add("", Origin{FromEnv, key}, "%w%s", errUnknown, didYouMean(key, names))
		}
	}
}

func (l *loader) flags(fs *pflag.FlagSet) {
	if fs == nil {
		return
	}
	for _, s := range Settings() {
		if f := fs.Lookup(s.Flag()); f != nil && f.Changed {
			l.set(s, f.Value.String(), Origin{FromFlag, "--" + s.Flag()})
		}
	}
}

var errUnknown = errors.New("there is no such setting")

func (l *loader) file(path string, where Origin) {
	doc, err := readFile(path)
	if err != nil {
		l.problems.add("", where, "read settings: %w", err)
		return
	}
	if doc == nil {
		return
	}
	byName, names := map[string]Setting{}, []string(nil)
	for _, s := range Settings() {
		byName[s.Name] = s
		names = append(names, s.Name)
	}
	seen := map[string]bool{}
	walk(doc, "", func(key string, node *yaml.Node) {
		o := Origin{FromFile, fmt.Sprintf("%s:%d", path, node.Line)}
		s, ok := byName[key]
		text, err := scalar(node)
		switch {
		case !ok:
			l.problems.add(key, o, "%w%s", errUnknown, didYouMean(key, names))
		case seen[key]:
			l.problems.add(key, o, "the file sets it twice")
		case err != nil:
			l.problems.add(key, o, "%w", err)
		default:
			l.set(s, text, o)
		}
		seen[key] = true
	})
}

// readFile returns the document's top mapping, nil for an empty file.
func readFile(path string) (*yaml.Node, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %s, so it is not a file of settings", path, FormatSize(maxFileBytes))
	}
	return parseYAML(path, b)
}

func parseYAML(path string, b []byte) (*yaml.Node, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s has more than one document", path)
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: expected settings as name: value", path, top.Line)
	}
	return top, nil
}

// walk calls visit for every leaf of nested mappings, with its dotted name.
func walk(m *yaml.Node, prefix string, visit func(key string, n *yaml.Node)) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, n := prefix+m.Content[i].Value, m.Content[i+1]
		if n.Kind == yaml.MappingNode {
			walk(n, key+".", visit)
			continue
		}
		visit(key, n)
	}
}

// scalar gives the text of a value: a scalar, or a list of them joined by commas.
func scalar(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", errors.New(`it has no value: remove the line, or write "" for an empty one`)
		}
		return n.Value, nil
	case yaml.SequenceNode:
		var parts []string
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode {
				return "", errors.New("expected a list of plain values")
			}
			parts = append(parts, e.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("expected a plain value or a list")
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
