// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestAResultIsJSON(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := (&result{Took: time.Second}).Print(&text, "json"); err != nil || !strings.Contains(text.String(), `"took":"1s"`) {
		t.Errorf("got %s, %v", &text, err)
	}
}
