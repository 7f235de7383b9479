// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/api"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	want, err := api.Reference()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "reference", "http-api.md")
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run: go test ./engine/api -rewrite\n%s", diff)
	}
}
