// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	v, err := ParseValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMergeLaysValuesOverOthers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ under, over, want string }{
		{"a: 1", "b: 2", "{a: 1, b: 2}"},
		{"a: {b: 1, c: 2}", "a: {c: 3}", "a: {b: 1, c: 3}"},
		{"a: [1, 2]", "a: [3]", "a: [3]"},
		{"a: {b: 1}", "a: null", "{}"},
		{"a: {b: 1, c: 2}", "a: {b: null}", "a: {c: 2}"},
		{"a: {b: 1}", "a: text", "a: text"},
	} {
		under, over := parsed(t, tc.under), parsed(t, tc.over)
		if diff := cmp.Diff(parsed(t, tc.want), Merge(under, over)); diff != "" {
			t.Errorf("%s over %s: %s", tc.over, tc.under, diff)
		}
		if diff := cmp.Diff(parsed(t, tc.under), under); diff != "" {
			t.Errorf("%s was changed: %s", tc.under, diff)
		}
	}
}

func TestDefaultsFitTheSchemaAndLackOnlyTheImage(t *testing.T) {
	t.Parallel()
	values, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := Validate(values); err != nil {
		t.Error(err)
	}
	if _, err := Render(Release{Name: "app"}, values); !errors.Is(err, ErrRequired) || strings.Contains(err.Error(), "<") {
		t.Errorf("got: %v", err)
	}
	section, _ := values["image"].(map[string]any)
	section["repository"] = "app"
	manifests, err := Render(Release{Name: "app"}, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		if _, err := m.Object(); err != nil || strings.Contains(m.Text, "namespace:") {
			t.Errorf("%v in\n%s", err, m.Text)
		}
	}
}

func TestAllThatIsWrongIsSaidByName(t *testing.T) {
	t.Parallel()
	values, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	err = Validate(Merge(values, parsed(t, "replica: 1\nhttp: {port: 80}\nrollout: {maxSurge: half}")))
	for _, text := range []string{"replica: there is no such value", "http.port: ", "rollout.maxSurge: "} {
		if !errors.Is(err, ErrValues) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	if _, err := ParseValues([]byte("a: 1\na: 2")); err == nil {
		t.Error("a value that is set twice is taken")
	}
}

func TestImageIsBuiltByTheToolchainOfTheModuleForTheUserOfTheChart(t *testing.T) {
	t.Parallel()
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(filepath.Join("..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	toolchain := regexp.MustCompile(`(?m)^toolchain go(.+)$`).FindStringSubmatch(string(module))
	if toolchain == nil || !strings.Contains(string(dockerfile), "/golang:"+toolchain[1]+"-") {
		t.Errorf("go.mod says toolchain %v, the Dockerfile another", toolchain)
	}
	values, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	pod, _ := values["podSecurityContext"].(map[string]any)
	user := fmt.Sprintf("%v:%v", pod["runAsUser"], pod["runAsGroup"])
	state, _ := values["state"].(map[string]any)
	for _, want := range []string{"USER " + user, fmt.Sprintf("--chown=%s /out/state %v", user, state["path"])} {
		if !strings.Contains(string(dockerfile), want+"\n") {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
}
