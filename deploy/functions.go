// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"
)

// functions are those of Helm that the chart uses.
func functions(root *template.Template) template.FuncMap {
	return template.FuncMap{
		"default":       withDefault,
		"fromYamlArray": fromYAMLArray,
		"include":       include(root),
		"int":           toInt,
		"join":          join,
		"kindIs":        func(kind string, v any) bool { return v != nil && reflect.TypeOf(v).Kind().String() == kind },
		"lower":         strings.ToLower,
		"nindent":       nindent,
		"quote":         func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"replace":       func(from, to, s string) string { return strings.ReplaceAll(s, from, to) },
		"required":      required,
		"sha256sum":     sha256sum,
		"sub":           func(a, b int) int { return a - b },
		"ternary":       ternary,
		"toYaml":        toYAML,
		"trim":          strings.TrimSpace,
		"trimSuffix":    func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"trunc":         func(n int, s string) string { return s[:min(n, len(s))] },
	}
}

func include(root *template.Template) func(string, any) (string, error) {
	return func(name string, data any) (string, error) {
		var b strings.Builder
		err := root.ExecuteTemplate(&b, name, data)
		return b.String(), err
	}
}

// withDefault returns v unless it is empty.
func withDefault(def, v any) any {
	if truth, ok := template.IsTrue(v); ok && truth {
		return v
	}
	return def
}

func required(message string, v any) (any, error) {
	if v == nil || v == "" {
		return nil, &missingError{message}
	}
	return v, nil
}

func ternary(yes, no any, condition bool) any {
	if condition {
		return yes
	}
	return no
}

func toInt(v any) (int, error) {
	switch n := v.(type) {
	case int:
		return n, nil
	case int64:
		return int(n), nil
	case float64:
		return int(n), nil
	}
	return 0, fmt.Errorf("%v is not a number", v)
}

func join(separator string, v any) (string, error) {
	list, ok := v.([]any)
	if !ok {
		return "", fmt.Errorf("%v is not a list", v)
	}
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = fmt.Sprint(e)
	}
	return strings.Join(parts, separator), nil
}

// nindent begins a new line and indents all lines.
func nindent(spaces int, s string) string {
	pad := "\n" + strings.Repeat(" ", spaces)
	return pad + strings.ReplaceAll(s, "\n", pad)
}

func sha256sum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func toYAML(v any) (string, error) {
	b, err := yaml.Marshal(v)
	return strings.TrimSuffix(string(b), "\n"), err
}

func fromYAMLArray(s string) ([]any, error) {
	var list []any
	err := yaml.Unmarshal([]byte(s), &list)
	return list, err
}
