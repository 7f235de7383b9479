// SPDX-License-Identifier: Apache-2.0

package crypt_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
)

func TestKeyFilesThatAreNotRightAreRefusedWithoutShowingKeys(t *testing.T) {
	t.Parallel()
	canary := strings.ReplaceAll(key(1), "AQEB", "cana")
	for name, lines := range map[string][]string{
		"empty":             {""},
		"no current":        {"one " + canary},
		"current has none":  {"current two", "one " + canary},
		"two currents":      {"current one", "current one", "one " + canary},
		"twice":             {"current one", "one " + canary, "one " + canary},
		"short key":         {"current one", "one cana"},
		"long key":          {"current one", "one " + canary[:40] + canary},
		"not base64":        {"current one", "one " + canary[:42] + "!="},
		"id and key turned": {"current one", canary + " one"},
		"three words":       {"current one", "one " + canary + " x"},
		"one word":          {"current one", canary},
		"current is a key":  {"current " + canary},
		"id too long":       {"current one", strings.Repeat("x", 33) + " " + canary},
		"json":              {`{"one": "` + canary + `"}`},
		"huge":              {strings.Repeat("# cana\n", 10_000)},
	} {
		path := filepath.Join(t.TempDir(), "keys")
		writeKeys(t, path, lines...)
		_, err := crypt.LoadKeys(path)
		if !errors.Is(err, crypt.ErrKeyFile) {
			t.Errorf("%s: error is %v, want ErrKeyFile", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "cana") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if _, err := crypt.LoadKeys(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a key file that is not there was accepted")
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	k := keys(t, "current one", "one "+key('K'), "two "+key('L'))
	s := crypt.New(objstore.NewMem(), k)
	printed := fmt.Sprintf("%v %+v %#v %s %v", k, k, k, k, s)
	// Long enough that no address in memory looks like it.
	for _, secret := range []string{"KKKK", "75 75", key('K')[:8], "4b4b4b4b"} {
		if strings.Contains(printed, secret) {
			t.Errorf("a key is printed: %s", printed)
		}
	}
	if !strings.Contains(printed, "current is one") {
		t.Errorf("printed are %s", printed)
	}
}
