// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"sigs.k8s.io/yaml"
)

// ErrValues marks values that do not fit the chart.
var ErrValues = errors.New("the values are not valid")

// Defaults returns the chart's own values. The map is the caller's.
func Defaults() (map[string]any, error) { return readYAML(chartDir + "/values.yaml") }

// ParseValues reads a file of values.
func ParseValues(text []byte) (map[string]any, error) {
	var v map[string]any
	if err := yaml.UnmarshalStrict(text, &v); err != nil {
		return nil, err
	}
	return v, nil
}

// Merge lays values over others, as Helm does: maps are merged, all else is replaced, and null removes a default.
// Neither argument is changed.
func Merge(under, over map[string]any) map[string]any {
	merged := maps.Clone(under)
	if merged == nil {
		merged = map[string]any{}
	}
	for key, v := range over {
		if v == nil {
			delete(merged, key)
			continue
		}
		upper, isMap := v.(map[string]any)
		if lower, both := merged[key].(map[string]any); isMap && both {
			merged[key] = Merge(lower, upper)
			continue
		}
		merged[key] = v
	}
	return merged
}

// Schema returns the JSON schema of the values.
func Schema() ([]byte, error) { return chart.ReadFile(chartDir + "/values.schema.json") }

// Validate holds complete values against the schema and reports all that is wrong.
func Validate(values map[string]any) error {
	text, err := Schema()
	if err != nil {
		return fmt.Errorf("read the chart: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read the chart's schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("values.schema.json", doc); err != nil {
		return fmt.Errorf("read the chart's schema: %w", err)
	}
	schema, err := compiler.Compile("values.schema.json")
	if err != nil {
		return fmt.Errorf("read the chart's schema: %w", err)
	}
	err = schema.Validate(values)
	invalid, is := errors.AsType[*jsonschema.ValidationError](err)
	if !is {
		return err
	}
	var problems []string
	leaves(invalid, &problems)
	slices.Sort(problems)
	return fmt.Errorf("%w:\n  %s", ErrValues, strings.Join(slices.Compact(problems), "\n  "))
}

// leaves gathers what is wrong in the end, by the name of the value.
func leaves(e *jsonschema.ValidationError, problems *[]string) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			leaves(cause, problems)
		}
		return
	}
	at := strings.Join(e.InstanceLocation, ".")
	if extra, is := e.ErrorKind.(*kind.AdditionalProperties); is {
		for _, name := range extra.Properties {
			*problems = append(*problems, strings.TrimPrefix(at+"."+name, ".")+": there is no such value")
		}
		return
	}
	*problems = append(*problems, at+": "+e.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
}

// YAML writes values as a document.
func YAML(values map[string]any) (string, error) {
	b, err := yaml.Marshal(values)
	return string(b), err
}
